"""The store on SQLite, for one machine: one writer thread a process, and processes that take turns.

Through apsw, which carries its own SQLite: releases before 3.51.3 can lose acknowledged writes when two connections
write and checkpoint at once (the WAL-reset bug, fixed in 3.51.3, 3.50.7 and 3.44.6).
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from mintmark.errors import StartRefused, StoreUnavailable
from mintmark.model import Identity, Resource, SealedSecret, StoredAccessKey, StoredSigningKey, guid
from mintmark.store import sql
from mintmark.store.batch import Batcher
from mintmark.store.schema import migrate

Write = Callable[[apsw.Connection], Any]

PRAGMAS = (
    "pragma journal_mode = wal",
    "pragma synchronous = full",  # An acknowledged write must survive a power cut.
    "pragma fullfsync = on",  # On macOS: through the drive's cache too. Means nothing elsewhere.
    "pragma foreign_keys = on",
)
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

    def __init__(self, path: Path, *, vfs: str | None = None) -> None:
        """Opens the file, or makes it; `vfs` names another file system layer of SQLite.

        Raises:
            StartRefused: the file cannot be opened or is not a database.
        """
        check_version()
        try:
            self._turn = os.open(path.with_name(path.name + ".turn"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Two that make one new file WAL refuse each other at once: SQLite does not wait there.
            with self._own_turn():
                self._db = _connect(path, vfs)
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
        self._batcher: Batcher[Write] = Batcher(self._commit)
        self._closed = False

    async def migrate(self, now: int) -> None:
        """Makes or updates the tables; `now` is in milliseconds.

        Raises:
            StartRefused: see `mintmark.store.schema.migrate`.
        """
        await self._batcher.run(lambda: self._migrate(now))

    async def create_identity(self, identity: Identity) -> None:
        """See `Store.create_identity`."""
        row = (
            _blob(identity.resource_id),
            identity.suffix,
            identity.created_at,
            identity.last_issued_at,
            identity.generation,
        )
        await self._batcher.submit(_statement(sql.INSERT_IDENTITY, row))

    async def identity(self, resource_id: str, suffix: bytes) -> Identity | None:
        """See `Store.identity`."""
        rows = await self._read(sql.SELECT_IDENTITY, (_blob(resource_id), suffix))
        return Identity(resource_id, suffix, *rows[0]) if rows else None

    async def add_resource(self, resource: Resource, keys: tuple[StoredAccessKey, StoredAccessKey], now: int) -> None:
        """See `Store.add_resource`."""
        resource_id = _blob(resource.id)

        def write(db: apsw.Connection) -> None:
            with db:  # A savepoint: all three rows or none.
                db.execute(sql.INSERT_RESOURCE, (resource_id, resource.name, resource.region, now))
                for key in keys:
                    db.execute(
                        sql.INSERT_ACCESS_KEY,
                        (resource_id, key.slot, key.generation, key.sealed.key_id, key.sealed.ciphertext),
                    )

        await self._batcher.submit(write)

    async def resources(self) -> list[Resource]:
        """See `Store.resources`."""
        return [Resource(guid(row[0]), *row[1:]) for row in await self._read(sql.SELECT_RESOURCES)]

    async def access_keys(self) -> list[StoredAccessKey]:
        """See `Store.access_keys`."""
        return [
            StoredAccessKey(guid(resource_id), slot, generation, SealedSecret(*sealed))
            for resource_id, slot, generation, *sealed in await self._read(sql.SELECT_ACCESS_KEYS)
        ]

    async def add_first_signing_key(self, key: StoredSigningKey) -> None:
        """See `Store.add_first_signing_key`."""
        row = (key.kid, key.algorithm, key.public_jwk, key.created_at, key.sealed.key_id, key.sealed.ciphertext)
        await self._batcher.submit(_statement(sql.INSERT_FIRST_SIGNING_KEY, row))

    async def signing_keys(self) -> list[StoredSigningKey]:
        """See `Store.signing_keys`."""
        return [
            StoredSigningKey(kid, algorithm, public_jwk, created_at, SealedSecret(*sealed))
            for kid, algorithm, public_jwk, created_at, *sealed in await self._read(sql.SELECT_SIGNING_KEYS)
        ]

    async def is_ready(self) -> bool:
        """See `Store.is_ready`."""
        try:
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
        os.close(self._turn)

    async def _read(self, query: str, row: Sequence[Any] = ()) -> list[Any]:
        def read() -> list[Any]:
            with _failing_plainly():
                return self._db.execute(query, row).fetchall()

        rows: list[Any] = await self._batcher.run(read)
        return rows

    def _migrate(self, now: int) -> None:
        with _failing_plainly(), self._transaction():
            migrate(self._db, now)

    def _commit(self, writes: Sequence[Write]) -> list[Any]:
        """One transaction for all: a constraint undoes one statement and leaves the transaction to the others."""
        with _failing_plainly(), self._transaction():
            return [self._attempt(write) for write in writes]

    def _attempt(self, write: Write) -> Any:
        try:
            return write(self._db)
        except apsw.ConstraintError as error:
            return error
        except (OverflowError, TypeError, ValueError) as error:  # A value that cannot be bound: nothing was executed.
            return error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._own_turn():
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
        raise StoreUnavailable from error


def _connect(path: Path, vfs: str | None) -> apsw.Connection:
    connection = apsw.Connection(os.fspath(path), vfs=vfs)
    connection.set_busy_timeout(BUSY_TIMEOUT)
    for pragma in PRAGMAS:
        connection.execute(pragma).fetchall()
    return connection


def _statement(query: str, row: Sequence[Any]) -> Write:
    def write(db: apsw.Connection) -> None:
        db.execute(query, row)

    return write


def _blob(resource_id: str) -> bytes:
    return bytes.fromhex(resource_id.replace("-", ""))
