"""The store on SQLite, for one machine: one writer thread a process, and processes that take turns.

Through apsw, which carries its own SQLite: releases before 3.51.3 can lose acknowledged writes when two connections
write and checkpoint at once (the WAL-reset bug, fixed in 3.51.3, 3.50.7 and 3.44.6).
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import apsw
import msgspec
from msgspec import Struct

from mintmark.errors import ResourceExists, StartRefused, StoreUnavailable
from mintmark.model import Identity, KeySlot, Resource, SealedSecret, StoredAccessKey, StoredSigningKey
from mintmark.store import rows, sql
from mintmark.store.batch import Take, ThreadBatcher
from mintmark.store.schema import MOVED, migrate

Write = Callable[[apsw.Connection], Any]
_Kind = TypeVar("_Kind")

# What fails one write and no other: a constraint, or a value that cannot be bound, and then nothing was executed.
_REFUSED = (apsw.ConstraintError, OverflowError, TypeError, ValueError)
_decode_issued = msgspec.json.Decoder(list[tuple[int, int, int, int, str | None]]).decode

PRAGMAS = (
    "pragma journal_mode = wal",
    "pragma synchronous = full",  # An acknowledged write must survive a power cut.
    "pragma fullfsync = on",  # On macOS: through the drive's cache too. Means nothing elsewhere.
    "pragma foreign_keys = on",
)
DAMAGED = (apsw.CorruptError, apsw.NotADBError)
SWEEP_BATCH = 1000  # rows that are forgotten in one transaction, so that others wait little
STATEMENT_SIZES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # rows: so few that each statement stays prepared
BUSY_TIMEOUT = 5000  # milliseconds; only other programs hold the lock, such as a backup: workers take turns


def is_safe(version: str) -> bool:
    """Whether that release of SQLite is free of the WAL-reset bug."""
    numbers = tuple(int(part) for part in version.split("."))
    return numbers >= (3, 51, 3) or (3, 50, 7) <= numbers < (3, 51) or (3, 44, 6) <= numbers < (3, 45)


def check_version() -> None:
    """Refuses an SQLite that can lose acknowledged writes.

    Raises:
        StartRefused: the SQLite linked into apsw has the WAL-reset bug.
    """
    version = apsw.sqlite_lib_version()
    if not is_safe(version):
        raise StartRefused(
            f"SQLite {version} can lose acknowledged writes (the WAL-reset bug).",
            "Install apsw 3.51.3 or later: it carries an SQLite with the fix.",
        )


class SqliteStore:
    """A `Store` in one SQLite file; see there for what it promises. Belongs to one process and one event loop."""

    def __init__(
        self, path: Path, *, vfs: str | None = None, on_commit: Callable[[int, float], None] | None = None
    ) -> None:
        """Opens the file, or makes it; `vfs` names another file system layer of SQLite.

        `on_commit` is told of each batch: how many writes it had, and how long its commit took, in seconds.

        Raises:
            StartRefused: the file cannot be opened, is damaged or is not a database.
        """
        check_version()
        try:
            self._turn = os.open(path.with_name(path.name + ".turn"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Two that make one new file WAL refuse each other at once: SQLite does not wait there.
            with self._own_turn():
                self._db, self._reader = connect(path, vfs), connect(path, vfs)
        except DAMAGED as error:
            raise damaged(path, str(error)) from error
        except (apsw.Error, OSError) as error:
            raise StartRefused(
                f"The database {path} cannot be opened: {error}.", "Check the file and its rights."
            ) from error
        # SQLite does not complain: it stays with a rollback journal, which loses commits when the power is cut.
        if self._db.execute("pragma journal_mode").get != "wal":
            raise StartRefused(
                f"The database {path} cannot have a WAL: its file system has no shared memory.",
                "Put the data on a local disk.",
            )
        self._path, self._inode = path, path.stat().st_ino
        self._last_commit_failed = False
        self._on_commit = on_commit
        self._batcher: ThreadBatcher[Write] = ThreadBatcher(self._commit)
        self._closed = False

    changes_elsewhere = None

    async def migrate(self, now: int) -> None:
        """Makes or updates the tables; `now` is in milliseconds.

        Raises:
            StartRefused: see `mintmark.store.schema.migrate`.
        """
        await self._batcher.run(lambda: self._migrate(now))

    async def check_durability(self) -> None:
        """See `Store.check_durability`; each connection sets its own when it is opened."""

    async def create_identity(self, identity: Identity) -> None:
        """See `Store.create_identity`."""
        await self._batcher.submit(_Insert(rows.identity_row(identity)))

    async def create_or_get_identity(self, identity: Identity) -> tuple[Identity, bool]:
        """See `Store.create_or_get_identity`."""
        row = rows.identity_row(identity)

        def write(db: apsw.Connection) -> tuple[Identity, bool]:
            if db.execute(sql.INSERT_IDENTITY_UNLESS_KNOWN, row).fetchall():
                return identity, True
            known = (identity.last_issued_at, row[0], identity.custom_id)
            (found,) = db.execute(sql.TOUCH_IDENTITY_BY_CUSTOM_ID, known).fetchall()
            return _identity(identity.resource_id, found), False

        result: tuple[Identity, bool] = await self._batcher.submit(write)
        return result

    async def identity(self, resource_id: str, suffix: bytes) -> Identity | None:
        """See `Store.identity`."""
        # In the event loop: a look-up takes some ten microseconds, less than a thread's turn.
        with _failing_plainly():
            found = self._reader.execute(sql.SELECT_IDENTITY, (rows.blob(resource_id), suffix)).fetchall()
        return _identity(resource_id, found[0]) if found else None

    async def identities(
        self, resource_id: str, after: bytes, before: bytes, limit: int, custom_id: str | None = None
    ) -> list[Identity]:
        """See `Store.identities`."""
        if custom_id is None:
            found = await self._read(sql.LIST_IDENTITIES, (rows.blob(resource_id), after, before, limit))
        else:
            found = await self._read(sql.FIND_IDENTITY_BY_CUSTOM_ID, (rows.blob(resource_id), custom_id))
        return [_identity(resource_id, row) for row in found if after < row[0] < before]

    async def issue(self, resource_id: str, suffix: bytes, now: int) -> Identity | None:
        """See `Store.issue`."""
        identity: Identity | None = await self._batcher.submit(_Issue(resource_id, suffix, now))
        return identity

    async def revoke_tokens(self, resource_id: str, suffix: bytes, now: int) -> bool:
        """See `Store.revoke_tokens`."""

        def write(db: apsw.Connection) -> bool:
            row = (now, _next_revision(db), rows.blob(resource_id), suffix)
            return bool(db.execute(sql.REVOKE_TOKENS, row).fetchall())

        found: bool = await self._batcher.submit(write)
        return found

    async def delete_identity(self, resource_id: str, suffix: bytes, now: int) -> None:
        """See `Store.delete_identity`."""

        def write(db: apsw.Connection) -> None:
            db.execute(sql.DELETE_IDENTITY, (now, _next_revision(db), rows.blob(resource_id), suffix))

        await self._batcher.submit(write)

    async def forget_changes(self, before: int) -> int:
        """See `Store.forget_changes`."""

        def write(db: apsw.Connection) -> int:
            forgotten = 0
            for query in (sql.FORGET_DELETED, sql.FORGET_REVOKED):
                db.execute(query, (before, SWEEP_BATCH))
                forgotten += db.changes()
            for (resource_id,) in db.execute(sql.SELECT_REMOVED_RESOURCES).fetchall():
                db.execute(sql.DELETE_IDENTITIES_OF_RESOURCE, (resource_id, SWEEP_BATCH))
                forgotten += db.changes()
            if not forgotten:
                db.execute(sql.FORGET_REMOVED_RESOURCE, (before,))
            return forgotten

        count: int = await self._batcher.submit(write)
        return count

    async def add_resource(self, resource: Resource, keys: tuple[StoredAccessKey, StoredAccessKey], now: int) -> None:
        """See `Store.add_resource`."""
        resource_id = rows.blob(resource.id)

        def write(db: apsw.Connection) -> None:
            with db:  # A savepoint: all of its rows or none.
                # Left by a Create that was under way when a resource of that id was removed.
                db.execute(sql.DELETE_IDENTITIES_OF_RESOURCE, (resource_id, -1))
                db.execute(sql.INSERT_RESOURCE, (resource_id, resource.name, resource.region, now))
                for host in resource.hosts:
                    db.execute(sql.INSERT_HOST, (host, resource_id))
                for key in keys:
                    sealed = key.sealed
                    row = (resource_id, key.slot, key.generation, sealed.key_id, sealed.ciphertext)
                    db.execute(sql.INSERT_ACCESS_KEY, row)

        try:
            await self._batcher.submit(write)
        except apsw.ConstraintError as error:
            raise ResourceExists from error

    async def remove_resource(self, resource_id: str, now: int) -> bool:
        """See `Store.remove_resource`."""
        row = rows.blob(resource_id)

        def write(db: apsw.Connection) -> bool:
            if not db.execute(sql.DELETE_RESOURCE, (row,)).fetchall():
                return False
            db.execute(sql.MARK_KEYS_OF_RESOURCE, (now, _next_revision(db), row))
            db.execute(sql.INSERT_REMOVED_RESOURCE, (row, now))
            return True

        found: bool = await self._batcher.submit(write)
        return found

    async def resources(self) -> list[Resource]:
        """See `Store.resources`."""
        hosts = await self._read(sql.SELECT_HOSTS)
        return rows.resources(await self._read(sql.SELECT_RESOURCES), hosts)

    async def access_keys(self) -> list[StoredAccessKey]:
        """See `Store.access_keys`."""
        return rows.access_keys(await self._read(sql.SELECT_ACCESS_KEYS))

    async def replace_access_key(self, resource_id: str, slot: KeySlot, sealed: SealedSecret, now: int) -> int | None:
        """See `Store.replace_access_key`."""

        def write(db: apsw.Connection) -> int | None:
            row = (sealed.key_id, sealed.ciphertext, now, _next_revision(db), rows.blob(resource_id), slot)
            found = db.execute(sql.REPLACE_ACCESS_KEY, row).fetchall()
            return int(str(found[0][0])) if found else None

        generation: int | None = await self._batcher.submit(write)
        return generation

    async def add_signing_key(self, key: StoredSigningKey, after: str | None) -> bool:
        """See `Store.add_signing_key`."""
        row = (*rows.signing_key_row(key), after)
        added: bool = await self._batcher.submit(lambda db: bool(db.execute(sql.INSERT_SIGNING_KEY, row).fetchall()))
        return added

    async def remove_signing_key(self, kid: str) -> bool:
        """See `Store.remove_signing_key`."""
        row = (kid,)
        removed: bool = await self._batcher.submit(lambda db: bool(db.execute(sql.DELETE_SIGNING_KEY, row).fetchall()))
        return removed

    async def signing_keys(self) -> list[StoredSigningKey]:
        """See `Store.signing_keys`."""
        return rows.signing_keys(await self._read(sql.SELECT_SIGNING_KEYS))

    async def reseal_access_key(self, key: StoredAccessKey, sealed: SealedSecret) -> None:
        """See `Store.reseal_access_key`."""
        row = (sealed.key_id, sealed.ciphertext, rows.blob(key.resource_id), key.slot, key.sealed.ciphertext)
        await self._batcher.submit(_Statement(sql.RESEAL_ACCESS_KEY, row))

    async def reseal_signing_key(self, key: StoredSigningKey, sealed: SealedSecret) -> None:
        """See `Store.reseal_signing_key`."""
        row = (sealed.key_id, sealed.ciphertext, key.kid, key.sealed.ciphertext)
        await self._batcher.submit(_Statement(sql.RESEAL_SIGNING_KEY, row))

    async def newest_record_at(self) -> int:
        """See `Store.newest_record_at`."""
        ((newest,),) = await self._read(sql.NEWEST_RECORD_AT)
        return newest or 0

    async def is_ready(self) -> bool:
        """See `Store.is_ready`."""
        try:
            if self._last_commit_failed:
                await self._batcher.submit(_Statement(sql.PROBE, ()))  # A write tells whether writes succeed.
            self._check_in_place()
            await self._read(sql.SELECT_MIGRATIONS)
        except StoreUnavailable:
            return False
        return True

    async def close(self) -> None:
        """See `Store.close`."""
        if self._closed:
            return
        self._closed = True
        await self._batcher.close()
        self._db.close()
        self._reader.close()
        os.close(self._turn)

    async def _read(self, query: str, row: Sequence[Any] = ()) -> list[Any]:
        def read() -> list[Any]:
            with _failing_plainly():
                return self._db.execute(query, row).fetchall()

        found: list[Any] = await self._batcher.run(read)
        return found

    def _migrate(self, now: int) -> None:
        with _failing_plainly(), self._own_turn(), self._transaction():
            migrate(self._db, now)

    def _commit(self, take: Take[Write]) -> list[Any]:
        """One commit for all that wait at our turn: a constraint undoes one write and not the others."""
        started = perf_counter()
        try:
            with _failing_plainly(), self._own_turn():
                writes = take()  # Now: who came while others had their turn is in, and need not wait again.
                try:
                    outcomes = self._write_together(writes)
                except _REFUSED:  # One of many is, and they were all undone: then each has to be tried by itself.
                    with self._transaction():
                        outcomes = [self._attempt(write) for write in writes]
            self._check_in_place()
        except BaseException:
            self._last_commit_failed = True
            raise
        self._last_commit_failed = False
        if self._on_commit is not None:
            self._on_commit(len(writes), perf_counter() - started)
        return outcomes

    def _write_together(self, writes: Sequence[Write]) -> list[Any]:
        """The usual writes in one statement for many of them, the others one by one.

        Each statement gives up the interpreter's lock and has to get it back from a thread that is busy.
        """
        inserts: list[_Insert] = []
        issues: list[tuple[int, _Issue]] = []
        others: list[tuple[int, Write]] = []
        for number, write in enumerate(writes):
            if isinstance(write, _Insert):
                inserts.append(write)
            elif isinstance(write, _Issue):
                issues.append((number, write))
            else:
                others.append((number, write))
        outcomes: list[Any] = [None] * len(writes)
        # Where a single statement does all of the writing, it is a transaction by itself; unless another was left open,
        # which then is what to fail at.
        is_of_one_kind = len(writes) in (len(inserts), len(issues))
        is_single = is_of_one_kind and len(writes) <= STATEMENT_SIZES[-1] and not self._db.in_transaction
        with nullcontext() if is_single else self._transaction():
            for some in _in_parts(inserts):
                self._insert_together(some)
            for those in _in_parts(issues):
                issued = self._issue_together([issue for _, issue in those])
                for (number, _), identity in zip(those, issued, strict=True):
                    outcomes[number] = identity
            # Last: a revocation that shares the batch of an Issue ends its token, whichever came first.
            for number, write in others:
                outcomes[number] = self._attempt(write)
        return outcomes

    def _insert_together(self, writes: "Sequence[_Insert]") -> None:
        if len(writes) == 1:
            writes[0](self._db)
        else:
            size, values = _filled_up([write.row for write in writes])
            self._db.execute(sql.insert_identities(size), values)

    def _issue_together(self, writes: "Sequence[_Issue]") -> list[Identity | None]:
        if len(writes) == 1:
            return [writes[0](self._db)]
        size, values = _filled_up([(number, *write.row) for number, write in enumerate(writes)])
        # Read first, maybe without a transaction: no worker writes in our turn. If another program revoked in between,
        # it would be as if Issue had come before.
        ((text,),) = self._db.execute(sql.issued(size), values).fetchall()
        self._db.execute(sql.issue(size), values)
        identities: list[Identity | None] = [None] * len(writes)
        for number, *columns in _decode_issued(str(text)):
            write = writes[number]
            identities[number] = _identity(write.resource_id, (write.suffix, *columns))
        return identities

    def _check_in_place(self) -> None:
        """Refuses to acknowledge what goes into a file that somebody removed or replaced."""
        try:
            in_place = self._path.stat().st_ino == self._inode
        except OSError:
            in_place = False
        if not in_place:
            raise StoreUnavailable(f"{self._path} was removed or replaced while the server runs")

    def _attempt(self, write: Write) -> Any:
        try:
            return write(self._db)
        except _REFUSED as error:
            return error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
            self._db.execute("commit")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise

    @contextmanager
    def _own_turn(self) -> Iterator[None]:
        # Workers wait for one another in the kernel: SQLite's own busy handler sleeps, which measured worse.
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)


@contextmanager
def _failing_plainly() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise StoreUnavailable(str(error), is_damaged=isinstance(error, DAMAGED)) from error


def was_moved(path: Path) -> bool:
    """Whether the file's data were moved elsewhere by `mintmark migrate`.

    Raises:
        StartRefused: it cannot be opened, or is damaged.
    """
    try:
        with closing(apsw.Connection(os.fspath(path))) as db:
            return str(db.execute("select epoch from revision").get).startswith(MOVED)
    except apsw.SQLError:  # without tables, or with those of an older release
        return False
    except apsw.Error as error:
        raise damaged(path, str(error)) from error


def damaged(path: Path, reason: str) -> StartRefused:
    """The refusal of a file that does not hold together."""
    return StartRefused(f"{path} is damaged: {reason}.", "Use the last good backup.")


def connect(path: Path, vfs: str | None = None) -> apsw.Connection:
    """A connection that keeps what it acknowledges."""
    connection = apsw.Connection(os.fspath(path), vfs=vfs)
    connection.set_busy_timeout(BUSY_TIMEOUT)
    for pragma in PRAGMAS:
        connection.execute(pragma).fetchall()
    return connection


def _identity(resource_id: str, row: Sequence[Any]) -> Identity:
    """From a row whose columns stand in the order of the fields."""
    return Identity(resource_id, *row)


def _next_revision(db: apsw.Connection) -> int:
    ((number,),) = db.execute(sql.NEXT_REVISION).fetchall()
    return int(str(number))


class _Statement(Struct, frozen=True):
    """A write that is one statement and answers nothing."""

    query: str
    row: Sequence[Any]

    def __call__(self, db: apsw.Connection) -> None:
        """Executes it."""
        db.execute(self.query, self.row)


class _Insert(Struct, frozen=True):
    """A new identity without a custom id."""

    row: Sequence[Any]

    def __call__(self, db: apsw.Connection) -> None:
        """Keeps it."""
        db.execute(sql.INSERT_IDENTITY, self.row)


class _Issue(Struct, frozen=True):
    """A token that is issued."""

    resource_id: str
    suffix: bytes
    now: int

    @property
    def row(self) -> tuple[int, bytes, bytes]:
        """As `sql.ISSUE` takes it."""
        return self.now, rows.blob(self.resource_id), self.suffix

    def __call__(self, db: apsw.Connection) -> Identity | None:
        """Notes it."""
        found = db.execute(sql.ISSUE, self.row).fetchall()
        return _identity(self.resource_id, found[0]) if found else None


def _in_parts(writes: Sequence[_Kind]) -> Iterator[Sequence[_Kind]]:
    largest = STATEMENT_SIZES[-1]
    return (writes[begin : begin + largest] for begin in range(0, len(writes), largest))


def _filled_up(given: Sequence[Sequence[Any]]) -> tuple[int, list[Any]]:
    """For how many rows the statement is to be, and all values of them: the given ones, and then nulls."""
    size = next(size for size in STATEMENT_SIZES if size >= len(given))
    values = [value for row in given for value in row]
    return size, values + [None] * (len(given[0]) * size - len(values))
