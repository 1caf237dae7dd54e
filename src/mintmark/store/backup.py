"""Copies of the store in one file, taken while others write, and what puts such a copy back.

A backup is the database with two numbers in its header that SQLite leaves to applications
(https://www.sqlite.org/fileformat2.html, section 1.3): the application id says that it is one, and the user version is
the CRC-32 of all other bytes. SQLite's own check looks at the structure only and does not see a changed value.
"""

import fcntl
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import apsw
from msgspec import Struct

from mintmark.errors import StartRefused
from mintmark.sources import Sources
from mintmark.store.schema import MIGRATIONS, check_epoch, migrate
from mintmark.store.sql import NEWEST_RECORD_AT
from mintmark.store.sqlite import BUSY_TIMEOUT, DAMAGED, check_version, damaged

APPLICATION_ID = 0x4D6E746B  # "Mntk"
PAGES_A_STEP = 256  # copied between two reports of progress: 1 MiB in pages of SQLite's usual size
PIECE = 1 << 20  # bytes
CHECK_STEPS = 10_000  # of SQLite's virtual machine; so often a long check lets Python look for signals
EPOCH_BYTES = 16
STEP_BYTES = 4  # so that hundreds of thousands of steps fit into what JSON can count exactly (RFC 8259, section 6)

_MAGIC, _HEADER_BYTES = b"SQLite format 3\0", 100
_CHECKSUM, _APPLICATION_ID = slice(60, 64), slice(68, 72)
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: its fsync stops at the drive's cache (fsync(2)).

_RESOURCES = "select count(*) from resource"
_LIVING = """
    select count(*) from identity where deleted_at is null and resource_id in (select resource_id from resource)
"""

Progress = Callable[[int, int], None]  # how much is done, of how much


class Contents(Struct, frozen=True):
    """What a copy holds.

    Attributes:
        size: bytes.
        identities: those that are not deleted, of resources that are there.
        resources: how many.
        newest_at: time of the newest record (see `NEWEST_RECORD_AT`), in milliseconds since 1970-01-01 00:00 UTC.
        sealed_by: ids of the key-encryption keys without which its secrets are lost.
    """

    size: int
    identities: int
    resources: int
    newest_at: int
    sealed_by: list[str]


def back_up(database: Path, file: Path, sources: Sources, progress: Progress, *, force: bool = False) -> Contents:
    """Copies a database to `file`, as it is at one moment; nobody has to wait, servers go on writing meanwhile.

    The file appears under its name when it is complete, checked and on disk, or not at all.

    Args:
        database: of a server that runs or not.
        file: outside the folder of the database.
        sources: for the name of the unfinished file.
        progress: told so many pages of how many.
        force: replace `file` if it exists.

    Raises:
        StartRefused: the database is missing, damaged or of a newer release, or the file cannot be written.
    """
    check_version()
    with _failing_plainly(database, file):
        _refuse_source(database)
        _refuse_target(database, file, force=force)
    with _failing_plainly(database, file), _unfinished(file, sources) as part:
        with closing(_open(database, apsw.SQLITE_OPEN_READONLY)) as source:
            source.execute("begin")  # One snapshot for all that follows: a copy starts anew only when its view changes.
            _check_schema(source, database)
            rows = _row_counts(source)
            _copy_pages(source, part, progress)
        with closing(_open(part)) as copy:
            copy.execute(f"pragma journal_mode = delete; pragma application_id = {APPLICATION_ID}").fetchall()
            _check_integrity(copy, database)
            if _row_counts(copy) != rows:
                raise StartRefused(f"The copy of {database} is not complete.", "Try again.")
            contents = _contents(copy, part)
        _write_checksum(part)
        _refuse_target(database, file, force=force)  # Again: what is there by now may be a link.
        _put_in_place(part, file, force=force)
    return contents


def check_file(file: Path) -> None:
    """Looks at the first bytes of a file.

    Raises:
        StartRefused: it cannot be read, or is no backup.
    """
    if file.exists() and not file.is_file():
        raise StartRefused(f"{file} is not a plain file.", "Name a file that mintmark backup made.")
    try:
        with file.open("rb") as opened:
            header = opened.read(_HEADER_BYTES)
    except OSError as error:
        raise StartRefused(f"{file} cannot be read: {error.strerror}.", "Check its name and its rights.") from error
    if not header.startswith(_MAGIC) or header[_APPLICATION_ID] != APPLICATION_ID.to_bytes(4, "big"):
        raise StartRefused(f"{file} is no backup of Mintmark.", "Name a file that mintmark backup made.")


def restore(file: Path, database: Path, sources: Sources, progress: Progress) -> Contents:
    """Puts a backup in the place of a database, with its tables up to date and a new epoch of the revocation feed.

    The caller holds the folder. The database appears when it is complete, checked and on disk, or not at all.

    Args:
        file: a backup.
        database: where there is none.
        sources: the time, for migrations, and chance, for the epoch.
        progress: told so many bytes of how many.

    Raises:
        StartRefused: the file is no backup, damaged or of a newer release, or the database exists or cannot be written.
    """
    check_version()
    check_file(file)
    refuse_database(database)
    with _failing_plainly(file, database), _unfinished(database, sources) as part:
        _copy_bytes(file, part, progress)
        with closing(_open(part)) as copy:
            copy.execute("pragma journal_mode = memory; pragma synchronous = off").fetchall()
            _check_integrity(copy, file)
            _check_schema(copy, file)
            contents = _contents(copy, part)
            with copy:
                migrate(copy, sources.now())
                # Steps of another size, so that no generation comes again that was given away after the backup.
                step = 1 + int.from_bytes(sources.random(STEP_BYTES), "big")
                row = (sources.random(EPOCH_BYTES).hex(), step)
                copy.execute("update revision set epoch = ?, generation_step = ?", row)
                copy.execute("pragma application_id = 0; pragma user_version = 0")
        _put_in_place(part, database)
    return contents


def refuse_database(database: Path) -> None:
    """Refuses a place where a database is, or a part of one: SQLite would replay an old log into the new file.

    Raises:
        StartRefused: there is one.
    """
    names = [database.name + end for end in ("", "-wal", "-shm", "-journal")]
    if found := [name for name in names if os.path.lexists(database.with_name(name))]:
        raise StartRefused(
            f"The folder {database.parent} has a database already: {', '.join(found)}.",
            "Choose another folder with --data, or move all of these away.",
        )


def _refuse_source(database: Path) -> None:
    if not database.is_file():
        raise StartRefused(
            f"There is no database {database}.",
            "Name the server's data folder with --data. Data in PostgreSQL are backed up by pg_dump.",
        )


def _refuse_target(database: Path, file: Path, *, force: bool) -> None:
    if file.parent.resolve() == database.parent.resolve():
        raise StartRefused(f"{file} is in the data folder.", "Keep backups elsewhere, best on another machine.")
    if file.name == "-" or file.is_symlink() or (file.exists() and not file.is_file()):
        raise StartRefused(f"{file} is not a plain file.", "Choose another name.")
    if file.exists() and not force:
        raise StartRefused(f"{file} exists already.", "Choose another name, or replace it with --force.")


@contextmanager
def _failing_plainly(source: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        raise damaged(source, str(error)) from error
    except (apsw.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StartRefused(
            f"{source} cannot be copied to {target}: {reason}.",
            "Check that the one can be read, and that there are room and rights to write the other.",
        ) from error


@contextmanager
def _unfinished(target: Path, sources: Sources) -> Iterator[Path]:
    """A file beside `target`, private and of a name that nobody else takes; removed unless it was put in its place."""
    part = target.with_name(f"{target.name}.{sources.random(4).hex()}.part")
    try:
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        yield part
    finally:
        for end in ("", "-journal", "-wal", "-shm"):
            part.with_name(part.name + end).unlink(missing_ok=True)


def _open(path: Path, flags: int = apsw.SQLITE_OPEN_READWRITE) -> apsw.Connection:
    connection = apsw.Connection(os.fspath(path), flags=flags)
    connection.set_busy_timeout(BUSY_TIMEOUT)
    connection.set_progress_handler(lambda: False, CHECK_STEPS)
    return connection


def _copy_pages(source: apsw.Connection, part: Path, progress: Progress) -> None:
    with closing(_open(part)) as target:
        target.execute("pragma journal_mode = off; pragma synchronous = off").fetchall()  # Synced as a whole later.
        with target.backup("main", source, "main") as copy:
            while not copy.done:
                copy.step(PAGES_A_STEP)
                progress(copy.page_count - copy.remaining, copy.page_count)


def _copy_bytes(file: Path, part: Path, progress: Progress) -> None:
    with file.open("rb") as source, part.open("r+b") as target:
        size, expected = os.fstat(source.fileno()).st_size, source.read(_HEADER_BYTES)[_CHECKSUM]
        source.seek(0)
        checksum = 0
        for piece, checked in _pieces(source):
            target.write(piece)
            checksum = zlib.crc32(checked, checksum)
            progress(target.tell(), size)
    if checksum.to_bytes(4, "big") != expected:
        raise damaged(file, "its checksum is not the one that it was made with")


def _write_checksum(part: Path) -> None:
    checksum = 0
    with part.open("r+b") as file:
        for _, checked in _pieces(file):
            checksum = zlib.crc32(checked, checksum)
        file.seek(_CHECKSUM.start)
        file.write(checksum.to_bytes(4, "big"))


def _pieces(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The bytes of a file; and the same with zeros where the checksum stands."""
    first = file.read(PIECE)
    yield first, first[: _CHECKSUM.start] + bytes(4) + first[_CHECKSUM.stop :]
    while piece := file.read(PIECE):
        yield piece, piece


def _check_integrity(connection: apsw.Connection, path: Path) -> None:
    found = connection.execute("pragma integrity_check(1)").get
    if found != "ok":
        raise damaged(path, str(found))


def _check_schema(connection: apsw.Connection, path: Path) -> None:
    known = [hashlib.sha256(text.encode()).hexdigest() for text in MIGRATIONS]
    try:
        applied = [checksum for (checksum,) in connection.execute("select checksum from migration order by number")]
    except apsw.SQLError:
        applied = []
    if len(applied) > len(known):
        raise StartRefused(
            f"A newer release wrote {path}: its schema is {len(applied)}, this release knows {len(known)}.",
            "Use the newer release.",
        )
    if not applied or applied != known[: len(applied)]:
        raise StartRefused(f"{path} is no database of this release.", "Use the release that made it.")
    if len(applied) == len(known):
        check_epoch(str(connection.execute("select epoch from revision").get))


def _row_counts(connection: apsw.Connection) -> dict[str, int]:
    tables = connection.execute("select name from sqlite_schema where type = 'table' order by name").fetchall()
    return {str(name): int(str(connection.execute(f'select count(*) from "{name}"').get)) for (name,) in tables}  # noqa: S608  a table's own name


def _contents(connection: apsw.Connection, file: Path) -> Contents:
    identities, resources, newest_at = (
        int(str(connection.execute(query).get)) for query in (_LIVING, _RESOURCES, NEWEST_RECORD_AT)
    )
    keys = connection.execute("select sealed_by from access_key union select sealed_by from signing_key order by 1")
    return Contents(file.stat().st_size, identities, resources, newest_at, [str(key) for (key,) in keys])


def _put_in_place(part: Path, target: Path, *, force: bool = False) -> None:
    _sync(part)  # What a name leads to is on disk before the name is.
    if force:
        part.replace(target)
    else:
        _take_name(part, target)
    _sync(target.parent)


def _take_name(part: Path, target: Path) -> None:
    """Renames a file unless there is one of the new name, however late that came: a rename would replace it."""
    try:
        try:
            os.link(part, target)
        except FileExistsError:
            raise
        except OSError:  # A file system without hard links, such as exFAT.
            _take_name_unlinked(part, target)
        else:
            part.unlink()
    except FileExistsError as error:
        raise StartRefused(f"{target} exists already.", "It came meanwhile: see what it is, and try again.") from error


def _take_name_unlinked(part: Path, target: Path) -> None:
    """The same, by an empty file that stays if the process is killed just then."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        part.replace(target)
    except BaseException:
        target.unlink()
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _FULL_SYNC is not None:
            with suppress(OSError):  # Some file systems do not have it.
                fcntl.fcntl(descriptor, _FULL_SYNC)
                return
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
