"""Several processes write to one file, as workers do; and other programs may hold it for a while, as a backup does."""

import asyncio
from pathlib import Path

import apsw
import pytest

import mintmark.store.sqlite
from builders import NOON, an_identity
from mintmark.errors import StoreUnavailable
from mintmark.store.sqlite import SqliteStore
from store.process import migrate, run_together

PROCESSES = 3
CREATES = 2000  # in each process

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    path = tmp_path / "mintmark.db"
    await migrate(path)
    return path


async def test_processes_that_write_at_once_lose_and_double_nothing_and_see_no_error(database: Path) -> None:
    commands = [("create", str(number * CREATES), str(CREATES)) for number in range(PROCESSES)]

    acknowledged = [suffix for printed in run_together(database, commands) for suffix in printed]

    assert len(acknowledged) == PROCESSES * CREATES
    assert sorted(acknowledged) == suffixes(database)


async def test_a_write_waits_while_another_program_holds_the_file(database: Path) -> None:
    store, identity = SqliteStore(database), an_identity(1)
    other = apsw.Connection(str(database))
    other.execute("begin immediate")

    writing = asyncio.ensure_future(store.create_identity(identity))
    done, _ = await asyncio.wait([writing], timeout=0.1)
    assert not done
    other.execute("rollback")

    await writing
    assert await store.identity(identity.resource_id, identity.suffix) == identity
    await store.close()
    other.close()


async def test_a_store_that_cannot_write_for_long_says_so_and_recovers(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mintmark.store.sqlite, "BUSY_TIMEOUT", 50)
    store = SqliteStore(database)
    refused, later = [an_identity(number) for number in range(3)], an_identity(3)
    other = apsw.Connection(str(database))
    other.execute("begin immediate")

    outcomes = await asyncio.gather(*(store.create_identity(each) for each in refused), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    assert not await store.is_ready()  # It can still be read, but requests would fail.
    other.execute("rollback")
    assert await store.is_ready()
    await store.create_identity(later)
    assert suffixes(database) == [later.suffix.hex()]
    await store.close()
    other.close()


async def test_a_store_that_waits_for_another_process_s_turn_does_not_hold_up_its_event_loop(database: Path) -> None:
    first, second = SqliteStore(database), SqliteStore(database)
    turns = 0

    async def count_turns_of_the_loop() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with first._own_turn():
        counting = asyncio.ensure_future(count_turns_of_the_loop())
        writing = asyncio.ensure_future(second.create_identity(an_identity(1)))
        done, _ = await asyncio.wait([writing], timeout=0.1)
        assert not done
        assert turns > 10

    await writing
    counting.cancel()
    await first.close()
    await second.close()


async def test_writes_that_come_while_another_process_has_its_turn_share_the_next_commit(database: Path) -> None:
    commits: list[int] = []
    first, second = SqliteStore(database), SqliteStore(database, on_commit=lambda writes, _: commits.append(writes))

    with first._own_turn():
        writing = [asyncio.ensure_future(second.create_identity(an_identity(1)))]
        await asyncio.wait(writing, timeout=0.1)  # Its commit has begun, and waits.
        writing += [asyncio.ensure_future(second.create_identity(an_identity(number))) for number in (2, 3)]
        await asyncio.wait(writing, timeout=0.1)

    await asyncio.gather(*writing)
    assert commits == [3]
    await first.close()
    await second.close()


async def test_a_revocation_that_shares_a_batch_with_an_issue_ends_its_token(database: Path) -> None:
    first, second, identity = SqliteStore(database), SqliteStore(database), an_identity(1)
    whose = identity.resource_id, identity.suffix
    await second.create_identity(identity)

    with first._own_turn():
        issuing = asyncio.ensure_future(second.issue(*whose, NOON))
        revoking = asyncio.ensure_future(second.revoke_tokens(*whose, NOON))
        again = asyncio.ensure_future(second.issue(*whose, NOON))
        await asyncio.wait([issuing, revoking, again], timeout=0.1)

    issued = [await issuing, await again]
    assert await revoking
    now = await second.identity(*whose)
    assert now is not None
    assert [each.generation for each in issued if each is not None] == [now.generation - 1] * 2
    await first.close()
    await second.close()


def suffixes(database: Path) -> list[str]:
    """Of all identities in the file, in hexadecimal digits."""
    db = apsw.Connection(str(database))
    found = [str(row[0]) for row in db.execute("select lower(hex(suffix)) from identity order by suffix")]
    db.close()
    return found


async def test_nothing_is_acknowledged_while_a_transaction_was_left_open(database: Path) -> None:
    """A lone insert would be a part of it, and lost with it."""
    store, identity = SqliteStore(database), an_identity(1)
    store._db.execute("begin immediate")

    for write in (
        store.create_identity(identity),
        store.issue(identity.resource_id, identity.suffix, NOON),
        store.delete_identity(identity.resource_id, identity.suffix, NOON),
    ):
        with pytest.raises(StoreUnavailable):
            await write
    await store.close()

    assert suffixes(database) == []
