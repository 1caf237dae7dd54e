"""A move takes everything along, goes on where it stopped, and leaves alone what is not its own."""

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from builders import NOON, an_identity
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.errors import StartRefused, StoreUnavailable
from mintmark.model import Identity, Resource, SealedSecret, StoredAccessKey, StoredSigningKey
from mintmark.sources import system
from mintmark.store import Store, moving, schema
from mintmark.store.backup import back_up
from mintmark.store.ledgers import PostgresLedger, SqliteLedger, connected
from mintmark.store.moving import Ledger, Moved, move
from mintmark.store.postgres import PostgresStore
from mintmark.store.postgres_address import parse_address
from mintmark.store.sqlite import SqliteStore
from running import MINTMARK

IDENTITIES = 257
OTHER = Resource(
    id="ffffffff-0000-4000-8000-000000000001", name="other", region="europe", hosts=("a.example", "b.example")
)
NAMES = ("plain", "with \0 and \\0 and \\", "名前", "\U0001f600")

pytestmark = pytest.mark.anyio


async def fill(store: Store) -> None:
    """Something of everything that a store holds."""
    await store.migrate(NOON)
    for resource in (DEVELOPMENT_RESOURCE, OTHER):
        keys = [StoredAccessKey(resource.id, slot, 0, SealedSecret("k", b"s")) for slot in ("primary", "secondary")]
        await store.add_resource(resource, (keys[0], keys[1]), NOON)
    await store.replace_access_key(OTHER.id, "primary", SealedSecret("k", b"t"), NOON + 1)
    await store.add_signing_key(StoredSigningKey("kid", "ES256", "{}", NOON, NOON, SealedSecret("k", b"u")), None)
    for number in range(IDENTITIES):
        await store.create_identity(an_identity(number))
    for number, name in enumerate(NAMES):
        named = an_identity(1000 + number)
        await store.create_or_get_identity(Identity(named.resource_id, named.suffix, NOON, custom_id=name))
    await store.issue(DEVELOPMENT_RESOURCE.id, an_identity(1).suffix, NOON + 2)
    await store.revoke_tokens(DEVELOPMENT_RESOURCE.id, an_identity(2).suffix, NOON + 3)
    await store.delete_identity(DEVELOPMENT_RESOURCE.id, an_identity(3).suffix, NOON + 4)


async def everything(store: Store) -> list[Any]:
    """All that a store answers."""
    numbers = [*range(IDENTITIES), *(1000 + number for number in range(len(NAMES)))]
    return [
        await store.resources(),
        await store.access_keys(),
        await store.signing_keys(),
        [await store.identity(DEVELOPMENT_RESOURCE.id, an_identity(number).suffix) for number in numbers],
        await store.newest_record_at(),
    ]


def mintmark(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*MINTMARK, *arguments], check=False, capture_output=True, text=True, timeout=60)


async def move_between(source: str | Path, target: str | Path) -> Moved:
    """As the command does."""
    return await _moved(source, target, "a-new-epoch")


async def _moved(source: str | Path, target: str | Path, epoch: str) -> Moved:
    if isinstance(source, str):
        async with connected(source) as connection:
            return await move(
                PostgresLedger(connection, NOON), SqliteLedger(Path(target), NOON), epoch, lambda *_: None
            )
    async with connected(str(target)) as connection:
        return await move(SqliteLedger(source, NOON), PostgresLedger(connection, NOON), epoch, lambda *_: None)


async def test_there_and_back_nothing_is_lost(tmp_path: Path, database: str) -> None:
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    original = SqliteStore(first)
    await fill(original)
    expected = await everything(original)
    await original.close()

    moved = await move_between(first, database)
    assert {"identity": IDENTITIES + len(NAMES), "resource": 2}.items() <= moved.rows.items()
    there = PostgresStore(parse_address(database))
    await there.migrate(NOON)
    assert expected == await everything(there)
    # What comes afterwards does not collide with what was there.
    await there.add_resource(
        Resource("00000000-0000-4000-8000-000000000009", "third", "local"), await keys_of(there), NOON
    )
    assert await there.revoke_tokens(DEVELOPMENT_RESOURCE.id, an_identity(4).suffix, NOON + 9)
    expected = await everything(there)
    await there.close()

    await move_between(database, second)
    await is_no_place_for_a_server(database, first)
    back = SqliteStore(second)
    await back.migrate(NOON)
    assert expected == await everything(back)
    assert await back.revoke_tokens(DEVELOPMENT_RESOURCE.id, an_identity(5).suffix, NOON + 9)
    await back.close()


async def is_no_place_for_a_server(database: str, file: Path) -> None:
    """What was moved away is not served again, nor moved, nor backed up."""
    old, older = PostgresStore(parse_address(database)), SqliteStore(file)
    with pytest.raises(StoreUnavailable) as unavailable:
        await old.migrate(NOON)
    assert "moved elsewhere" in unavailable.value.reason
    with pytest.raises(StartRefused, match="moved elsewhere"):
        await older.migrate(NOON)
    with pytest.raises(StartRefused, match="moved already"):
        await move_between(database, file.with_name("third.db"))
    (file.parent / "elsewhere").mkdir()
    with pytest.raises(StartRefused, match="moved elsewhere"):
        back_up(file, file.parent / "elsewhere" / "backup", system(), lambda *_: None, force=False)
    await old.close()
    await older.close()


async def keys_of(store: Store) -> tuple[StoredAccessKey, StoredAccessKey]:
    first, second, *_ = await store.access_keys()
    return first, second


class Interrupted(Exception):  # noqa: N818
    """As by Ctrl-C."""


class Fragile(SqliteLedger):
    """Breaks after so many pages."""

    pages = 3

    async def page(self, table: moving.Table, after: Sequence[Any] | None) -> list[Any]:
        self.pages -= table.name == "identity"
        if self.pages < 0:
            raise Interrupted
        return await super().page(table, after)


@pytest.fixture
def interrupted(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Awaitable[Path]]:
    """Fills a file, and begins to move it; answers the file."""
    monkeypatch.setattr("mintmark.store.ledgers.PAGE", 10)

    async def interrupt() -> Path:
        source = tmp_path / "source.db"
        original = SqliteStore(source)
        await fill(original)
        await original.close()
        async with connected(database) as connection:
            with suppress(Interrupted):
                await move(Fragile(source, NOON), PostgresLedger(connection, NOON), "new", lambda *_: None)
        return source

    return interrupt


@pytest.mark.long
async def test_an_interrupted_move_goes_on_and_no_server_starts_on_half_of_the_data(
    interrupted: Callable[[], Awaitable[Path]], database: str
) -> None:
    source = await interrupted()

    half = PostgresStore(parse_address(database))
    with pytest.raises(StartRefused, match="not complete"):
        await half.migrate(NOON)
    await half.close()
    moved = await move_between(source, database)

    assert moved.found > 20
    assert IDENTITIES + len(NAMES) == moved.rows["identity"]


class Unmarked(PostgresLedger):
    """Breaks before the last step, when the source is marked as moved and the target is not whole yet."""

    async def set_revision(self, revision: moving.Revision) -> None:
        if not revision.epoch.startswith(schema.UNFINISHED):
            raise Interrupted
        await super().set_revision(revision)


async def test_a_move_that_was_interrupted_just_before_its_end_goes_on(tmp_path: Path, database: str) -> None:
    source = tmp_path / "source.db"
    original = SqliteStore(source)
    await fill(original)
    await original.close()
    async with connected(database) as connection:
        with pytest.raises(Interrupted):
            await move(SqliteLedger(source, NOON), Unmarked(connection, NOON), "new", lambda *_: None)

    moved = await move_between(source, database)

    assert moved.found == sum(moved.rows.values())
    there = PostgresStore(parse_address(database))
    await there.migrate(NOON)
    await there.close()


@pytest.mark.long
async def test_a_source_that_changed_between_two_attempts_is_found_out(
    interrupted: Callable[[], Awaitable[Path]], database: str
) -> None:
    source = await interrupted()
    original = SqliteStore(source)
    await original.revoke_tokens(DEVELOPMENT_RESOURCE.id, an_identity(0).suffix, NOON)
    await original.close()

    with pytest.raises(StartRefused, match="differ"):
        await move_between(source, database)


async def test_a_target_with_data_of_its_own_is_left_alone(tmp_path: Path, database: str) -> None:
    source = tmp_path / "source.db"
    original, other = SqliteStore(source), PostgresStore(parse_address(database))
    await fill(original)
    await fill(other)
    await original.close()
    await other.close()

    with pytest.raises(StartRefused, match="other data"):
        await move_between(source, database)


async def test_a_server_that_is_about_to_give_up_its_connection_is_waited_for(tmp_path: Path, database: str) -> None:
    served = PostgresStore(parse_address(database))
    await fill(served)

    async def stop_soon() -> None:
        await asyncio.sleep(0.3)
        await served.close()

    moved, _ = await asyncio.gather(move_between(database, tmp_path / "moved.db"), stop_soon())

    assert IDENTITIES + len(NAMES) == moved.rows["identity"]


@pytest.mark.long
async def test_a_source_that_is_served_is_refused(tmp_path: Path, database: str) -> None:
    served = PostgresStore(parse_address(database))
    await fill(served)

    refused = mintmark("migrate", "--from", database, "--to", str(tmp_path / "data"))
    assert (2, True) == (refused.returncode, "A server is running on that database." in refused.stderr)
    await served.close()

    done = mintmark("migrate", "--from", database, "--to", str(tmp_path / "data"), "--json")
    assert 0 == done.returncode, done.stderr
    assert IDENTITIES + len(NAMES) == json.loads(done.stdout)["rows"]["identity"]
    db = apsw.Connection(str(tmp_path / "data" / "mintmark.db"))
    assert [(IDENTITIES + len(NAMES),)] == db.execute("select count(*) from identity").fetchall()
    db.close()


def test_ledgers_are_ledgers() -> None:
    _: tuple[type[Ledger], type[Ledger]] = (SqliteLedger, PostgresLedger)
