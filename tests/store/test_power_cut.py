"""Nothing acknowledged is lost or undone when the power is cut, wherever it is cut.

All that the store keeps here are numbers that only grow: whether an identity exists, its generation, whether it was
deleted, when a token was last issued, an access key's generation. A scripted load runs on a recording layer under
SQLite; then the power is cut after every single event of the record: every write, every sync, every request and every
acknowledgement. Each time the disk is rebuilt as the cut left it, and a plain store is opened on it. See
`store.power_cut` for what such a disk keeps.
"""

import asyncio
import itertools
import os
import random  # noqa: TID251  with a fixed seed
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import pytest
from msgspec import Struct

import mintmark.store.sqlite
from builders import NOON, an_identity
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.errors import ResourceExists
from mintmark.model import SealedSecret, StoredAccessKey
from mintmark.store.sqlite import SqliteStore
from store.power_cut import Disk, DiskEvent, RecordingVfs

WAVES = (1, 2, 3, 5, 8, 2, 1)  # so many clients at once, each with an identity of its own
PRAGMAS = mintmark.store.sqlite.PRAGMAS
CHECKPOINT_OFTEN = "pragma wal_autocheckpoint = 10"  # pages; a usual load would take megabytes to get there

pytestmark = pytest.mark.anyio


Thing = tuple[str, bytes]  # what is numbered, and whose it is
Facts = Mapping[Thing, int]


class Asked(Struct, frozen=True):
    """Numbers that shall become so large, no larger."""

    facts: Facts


class Acknowledged(Struct, frozen=True):
    """The caller has heard that they are so large."""

    facts: Facts


Event = DiskEvent | Asked | Acknowledged


class Recovered(Struct, frozen=True):
    """What a store finds after a cut: SQLite's own check, and the numbers."""

    integrity: str
    facts: Facts


class Verdict(Struct):
    """What all cuts of a record came to."""

    cuts: int = 0
    disks: int = 0
    lost: int = 0
    invented: int = 0
    damaged: int = 0

    @property
    def faults(self) -> int:
        return self.lost + self.invented + self.damaged


@pytest.fixture
def checkpoints_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mintmark.store.sqlite, "PRAGMAS", (*PRAGMAS, CHECKPOINT_OFTEN))


@pytest.mark.usefixtures("checkpoints_often")
async def test_what_is_acknowledged_survives_when_every_unsynced_write_is_lost(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    verdict = await cut_everywhere(await record_load(tmp_path), tmp_path, survives=lambda: False)

    report("nothing unsynced kept", verdict, record_property)
    assert verdict.faults == 0
    assert verdict.cuts > 500


# How much of what was not synced survives all the same; `make test-all` tries more.
SHARES = [float(share) for share in os.environ.get("MINTMARK_POWER_CUT_SHARES", "0.5").split(",")]


@pytest.mark.usefixtures("checkpoints_often")
@pytest.mark.long
@pytest.mark.parametrize("share", SHARES)
async def test_what_is_acknowledged_survives_when_some_unsynced_sectors_are_lost(
    share: float, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(2)

    verdict = await cut_everywhere(await record_load(tmp_path), tmp_path, survives=lambda: chance.random() < share)

    report(f"{share:.0%} of unsynced sectors kept", verdict, record_property)
    assert verdict.faults == 0
    assert verdict.cuts > 500


@pytest.mark.parametrize("synchronous", ["off", "normal"])
async def test_these_cuts_do_lose_what_is_not_synced_before_it_is_acknowledged(
    synchronous: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """The proof that the tests above can fail."""
    weaker = tuple(pragma.replace("synchronous = full", f"synchronous = {synchronous}") for pragma in PRAGMAS)
    assert weaker != PRAGMAS
    monkeypatch.setattr(mintmark.store.sqlite, "PRAGMAS", (*weaker, CHECKPOINT_OFTEN))

    verdict = await cut_everywhere(await record_load(tmp_path), tmp_path, survives=lambda: False)

    report(f"synchronous {synchronous}", verdict, record_property)
    assert verdict.lost > 0


async def record_load(tmp_path: Path) -> list[Event]:
    """Two stores, as two workers have them, serve clients in waves; twice, with a clean stop in between."""
    events: list[Event] = []
    with registered(RecordingVfs("recording", events.append)), TemporaryDirectory(dir=tmp_path) as folder:
        await load(Path(folder) / "mintmark.db", events)
    return events


class Client:
    """Asks a store for one thing after the other, and writes down what it asked and heard."""

    # Spread over the index, so that a batch touches several pages.
    numbers = (number * 0x9E3779B97F4A7C15 % 2**64 for number in itertools.count(1))

    def __init__(self, store: SqliteStore, events: list[Event], regenerations: Iterator[int]) -> None:
        self._store, self._events, self._regenerations = store, events, regenerations

    async def live_a_life(self) -> None:
        """All that can happen to an identity; every second one stays."""
        identity = an_identity(number := next(self.numbers))
        whose = identity.resource_id, identity.suffix
        steps: list[tuple[str, int, Awaitable[object]]] = [
            ("exists", 1, self._store.create_identity(identity)),
            ("issued", NOON + 1, self._store.issue(*whose, NOON + 1)),
            ("generation", 1, self._store.revoke_tokens(*whose, NOON + 2)),
            ("issued", NOON + 3, self._store.issue(*whose, NOON + 3)),
            ("generation", 2, self._store.revoke_tokens(*whose, NOON + 4)),
        ]
        if number % 2:
            steps.append(("deleted", 1, self._store.delete_identity(*whose, NOON + 5)))
        for name, value, done in steps:
            await self._do({(name, identity.suffix): value}, done)

    async def regenerate(self) -> None:
        """Another access key; which generation it has is known once it is there."""
        key: Thing = ("access key", b"primary")
        number = next(self._regenerations)
        self._events.append(Asked({key: number}))
        sealed = SealedSecret("a-key-encryption-key", b"%d" % number)
        generation = await self._store.replace_access_key(DEVELOPMENT_RESOURCE.id, "primary", sealed, NOON)
        assert generation is not None
        self._events.append(Acknowledged({key: generation}))

    async def _do(self, facts: Facts, done: Awaitable[object]) -> None:
        self._events.append(Asked(facts))
        await done
        self._events.append(Acknowledged(facts))


async def load(path: Path, events: list[Event]) -> None:
    regenerations = itertools.count(1)
    for _ in range(2):
        stores = [SqliteStore(path, vfs="recording") for _ in range(2)]
        await stores[0].migrate(NOON)
        with suppress(ResourceExists):
            await stores[0].add_resource(DEVELOPMENT_RESOURCE, access_keys(), NOON)
        for size in WAVES:
            clients = [Client(stores[number % 2], events, regenerations) for number in range(size + 1)]
            await asyncio.gather(clients[0].regenerate(), *(client.live_a_life() for client in clients[1:]))
        for store in stores:
            await store.close()


async def cut_everywhere(events: list[Event], tmp_path: Path, survives: Callable[[], bool]) -> Verdict:
    """Cuts the power after each event and looks at what is left."""
    verdict, disk = Verdict(), Disk()
    asked: dict[Thing, int] = {}
    acknowledged: dict[Thing, int] = {}
    seen: tuple[Mapping[str, bytes], Recovered] | None = None
    for event in events:
        match event:
            case Asked():
                grow(asked, event.facts)
            case Acknowledged():
                grow(acknowledged, event.facts)
            case _:
                disk.do(event)
        files = disk.after_cut(survives)
        # Often nothing reached the disk since the cut before: to recover the same files again would show nothing new.
        if seen is None or seen[0] != files:
            seen = files, await recover(files, tmp_path)
            verdict.disks += 1
        verdict.cuts += 1
        verdict.lost += not holds(acknowledged, seen[1].facts)
        verdict.invented += not holds(seen[1].facts, asked)
        verdict.damaged += seen[1].integrity != "ok"
    return verdict


def access_keys() -> tuple[StoredAccessKey, StoredAccessKey]:
    sealed = SealedSecret("a-key-encryption-key", b"first")
    return (
        StoredAccessKey(DEVELOPMENT_RESOURCE.id, "primary", 0, sealed),
        StoredAccessKey(DEVELOPMENT_RESOURCE.id, "secondary", 0, sealed),
    )


def grow(numbers: dict[Thing, int], facts: Facts) -> None:
    for thing, value in facts.items():
        numbers[thing] = max(value, numbers.get(thing, 0))


def holds(least: Facts, facts: Facts) -> bool:
    return all(value <= facts.get(thing, 0) for thing, value in least.items())


async def recover(files: Mapping[str, bytes], tmp_path: Path) -> Recovered:
    """Starts on these files as a server does, and works on."""
    with TemporaryDirectory(dir=tmp_path) as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        path = Path(folder) / "mintmark.db"
        store = SqliteStore(path)
        for connection in (store._db, store._reader):  # No cut follows: to sync would only take time.
            connection.execute("pragma synchronous = off")
        await store.migrate(NOON)
        facts = await stored(store)
        await store.create_identity(an_identity(2**64 - 1))
        await store.close()
        db = apsw.Connection(str(path))
        integrity = str(db.execute("pragma integrity_check").get)
        db.close()
    return Recovered(integrity, facts)


async def stored(store: SqliteStore) -> Facts:
    identities = await store._read("select suffix, last_issued_at, generation, deleted_at from identity")
    keys = await store._read("select slot, generation from access_key")
    return {
        **{("exists", suffix): 1 for suffix, *_ in identities},
        **{("issued", suffix): issued_at or 0 for suffix, issued_at, _, _ in identities},
        **{("generation", suffix): generation for suffix, _, generation, _ in identities},
        **{("deleted", suffix): int(deleted_at is not None) for suffix, *_, deleted_at in identities},
        **{("access key", slot.encode()): generation for slot, generation in keys},
    }


@contextmanager
def registered(vfs: apsw.VFS) -> Iterator[None]:
    try:
        yield
    finally:
        vfs.unregister()


def report(disk: str, verdict: Verdict, record_property: Callable[[str, object], None]) -> None:
    print(f"\n{disk}: {verdict.cuts} power cuts, {verdict.disks} disks recovered, {verdict.lost} with losses")  # noqa: T201
    record_property("power cuts", verdict.cuts)
    record_property("disks recovered", verdict.disks)
