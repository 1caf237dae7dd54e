"""Power cuts: a layer under SQLite that writes down what the disk is asked to do, and the disk as a cut leaves it.

The layer lets everything through to real files; the disk is played afterwards from the record, and can be cut anywhere.
What it takes for durable is as little as a disk must keep:

* of a file, what was there at its last sync;
* of the folder (which names there are), what was there when it was last synced. SQLite's Unix layer, below ours, syncs
  the folder together with the first sync of a new journal or WAL, and after a deletion where SQLite asks for it.

The WAL index (`-shm`) is memory that processes share, not data: SQLite makes it anew after a cut, so it is left out.
"""

# ruff: noqa: N802  the methods of a layer have SQLite's names

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apsw
from msgspec import Struct

SECTOR = 512  # bytes, aligned: what a disk writes whole or not at all; smaller than on most disks, so harsher

_SYNCS_FOLDER = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL


class Created(Struct, frozen=True):
    """A new file; with `syncs_folder` its first sync syncs the folder too."""

    name: str
    syncs_folder: bool


class Written(Struct, frozen=True):
    """`data` was written at `offset`."""

    name: str
    offset: int
    data: bytes


class Truncated(Struct, frozen=True):
    """The file now has `size` bytes."""

    name: str
    size: int


class Synced(Struct, frozen=True):
    """The file was synced."""

    name: str


class Deleted(Struct, frozen=True):
    """The file was deleted, and the folder synced or not."""

    name: str
    syncs_folder: bool


Change = Written | Truncated
DiskEvent = Created | Change | Synced | Deleted


class RecordingVfs(apsw.VFS):
    """Real files, all in one folder, and a call of `record` for everything that is done to them."""

    def __init__(self, name: str, record: Callable[[DiskEvent], None]) -> None:
        self.record = record
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        if name is None:
            return apsw.VFSFile("", name, flags)  # A temporary file: nothing of it is meant to last.
        path = _path(name)
        if not path.exists():  # SQLite's own xAccess takes an empty file for none.
            self.record(Created(path.name, bool(flags[0] & _SYNCS_FOLDER)))
        return _RecordingFile(name, flags, self.record)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001  apsw's signature
        super().xDelete(filename, syncdir)
        self.record(Deleted(Path(filename).name, syncdir))


class _RecordingFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename, flags: list[int], record: Callable[[DiskEvent], None]) -> None:
        self._name, self._record = _path(name).name, record
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._record(Written(self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._record(Truncated(self._name, newsize))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._record(Synced(self._name))


class Disk:
    """A folder on a disk, which knows what it has been asked to do and what of that is durable."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}

    def do(self, event: DiskEvent) -> None:
        """Plays one event."""
        match event:
            case Created():
                self._files[event.name] = _File(syncs_folder=event.syncs_folder)
            case Written() | Truncated():
                self._files[event.name].unsynced.append(event)
            case Synced():
                file = self._files[event.name]
                file.durable, file.unsynced = _changed(file.durable, file.unsynced), []
                if file.syncs_folder:
                    file.syncs_folder = False
                    self._sync_names()
            case Deleted():
                del self._files[event.name]
                if event.syncs_folder:
                    self._sync_names()

    def after_cut(self, survives: Callable[[], bool]) -> dict[str, bytes]:
        """The files that are found when the power is back.

        Args:
            survives: asked once for each sector that is not synced, each truncation and each name.
        """
        found = {}
        for name in sorted({*self._files, *self._durable_names}):
            file = (self._files if survives() else self._durable_names).get(name)
            if file is not None:
                pieces = [piece for change in file.unsynced for piece in _sectors(change)]
                found[name] = _changed(file.durable, [piece for piece in pieces if survives()])
        return found

    def _sync_names(self) -> None:
        self._durable_names = dict(self._files)


class _File:
    def __init__(self, *, syncs_folder: bool) -> None:
        self.syncs_folder = syncs_folder
        self.durable = b""
        self.unsynced: list[Change] = []


def _changed(content: bytes, changes: Sequence[Change]) -> bytes:
    result = bytearray(content)
    for change in changes:
        if isinstance(change, Truncated):
            del result[change.size :]
            result.extend(bytes(change.size - len(result)))
        else:
            result.extend(bytes(max(change.offset - len(result), 0)))
            result[change.offset : change.offset + len(change.data)] = change.data
    return bytes(result)


def _sectors(change: Change) -> Iterator[Change]:
    if isinstance(change, Truncated):
        yield change
        return
    start, end = change.offset, change.offset + len(change.data)
    while start < end:
        stop = min(start - start % SECTOR + SECTOR, end)
        yield Written(change.name, start, change.data[start - change.offset : stop - change.offset])
        start = stop


def _path(name: str | apsw.URIFilename) -> Path:
    return Path(name if isinstance(name, str) else name.filename())
