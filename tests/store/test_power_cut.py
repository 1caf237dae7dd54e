"""Nothing acknowledged is lost when the power is cut, wherever it is cut.

A scripted load runs on a recording layer under SQLite; then the power is cut after every single event of the record:
every write, every sync, every request and every acknowledgement. Each time the disk is rebuilt as the cut left it, and
a plain store is opened on it. See `store.power_cut` for what such a disk keeps.
"""

import asyncio
import itertools
import random  # noqa: TID251  with a fixed seed
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import pytest
from msgspec import Struct

import mintmark.store.sqlite
from builders import NOON, an_identity
from mintmark.store.sqlite import SqliteStore
from store.power_cut import Disk, DiskEvent, RecordingVfs

WAVES = (1, 1, 2, 3, 5, 8, 13, 21, 5, 3, 2, 1)  # so many requests at once, each for two identities one after the other
PRAGMAS = mintmark.store.sqlite.PRAGMAS
CHECKPOINT_OFTEN = "pragma wal_autocheckpoint = 10"  # pages; a usual load would take megabytes to get there

pytestmark = pytest.mark.anyio


class Asked(Struct, frozen=True):
    """An identity with that suffix shall be created."""

    suffix: bytes


class Acknowledged(Struct, frozen=True):
    """The caller has heard that it is."""

    suffix: bytes


Event = DiskEvent | Asked | Acknowledged


class Recovered(Struct, frozen=True):
    """What a store finds after a cut: SQLite's own check, and the identities."""

    integrity: str
    suffixes: frozenset[bytes]


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


@pytest.mark.usefixtures("checkpoints_often")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
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
    """Two stores, as two workers have them, create identities in waves; twice, with a clean stop in between."""
    events: list[Event] = []
    with registered(RecordingVfs("recording", events.append)), TemporaryDirectory(dir=tmp_path) as folder:
        await load(Path(folder) / "mintmark.db", events)
    return events


async def load(path: Path, events: list[Event]) -> None:
    # Spread over the index, so that a batch touches several pages.
    numbers = (number * 0x9E3779B97F4A7C15 % 2**64 for number in itertools.count(1))

    async def two_requests(store: SqliteStore) -> None:
        for number in itertools.islice(numbers, 2):
            identity = an_identity(number)
            events.append(Asked(identity.suffix))
            await store.create_identity(identity)
            events.append(Acknowledged(identity.suffix))

    for _ in range(2):
        stores = [SqliteStore(path, vfs="recording") for _ in range(2)]
        await stores[0].migrate(NOON)
        for size in WAVES:
            await asyncio.gather(*(two_requests(stores[number % 2]) for number in range(size)))
        for store in stores:
            await store.close()


async def cut_everywhere(events: list[Event], tmp_path: Path, survives: Callable[[], bool]) -> Verdict:
    """Cuts the power after each event and looks at what is left."""
    verdict, disk = Verdict(), Disk()
    asked: set[bytes] = set()
    acknowledged: set[bytes] = set()
    seen: tuple[Mapping[str, bytes], Recovered] | None = None
    for event in events:
        match event:
            case Asked():
                asked.add(event.suffix)
            case Acknowledged():
                acknowledged.add(event.suffix)
            case _:
                disk.do(event)
        files = disk.after_cut(survives)
        # Often nothing reached the disk since the cut before: to recover the same files again would show nothing new.
        if seen is None or seen[0] != files:
            seen = files, await recover(files, tmp_path)
            verdict.disks += 1
        verdict.cuts += 1
        verdict.lost += not acknowledged <= seen[1].suffixes
        verdict.invented += not seen[1].suffixes <= asked
        verdict.damaged += seen[1].integrity != "ok"
    return verdict


async def recover(files: Mapping[str, bytes], tmp_path: Path) -> Recovered:
    """Starts on these files as a server does, and works on."""
    with TemporaryDirectory(dir=tmp_path) as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        path = Path(folder) / "mintmark.db"
        store = SqliteStore(path)
        await store._read("pragma synchronous = off")  # No cut follows: to sync would only take time.
        await store.migrate(NOON)
        suffixes = frozenset(row[0] for row in await store._read("select suffix from identity"))
        await store.create_identity(an_identity(2**64 - 1))
        await store.close()
        db = apsw.Connection(str(path))
        integrity = str(db.execute("pragma integrity_check").get)
        db.close()
    return Recovered(integrity, suffixes)


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
