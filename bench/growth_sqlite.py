"""Stores of many identities in SQLite: one file each, in the server's data folder."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from bench.growth_store import MINTMARK, Mended, Store, tell
from bench.server import Place, Server, running
from mintmark.store.sql import INSERT_IDENTITY

_REVIVE = """
    update identity set deleted_at = null, changed_at = null, changed_revision = null
    where changed_revision is not null
"""
_FORGET_CREATED = "delete from identity where resource_id = ? and suffix > ?"


class Sqlite:
    """The engine, see `bench.growth_store.Engine`."""

    title = "SQLite"

    @contextmanager
    def serving(self, place: Place) -> Iterator[Server]:
        with running(MINTMARK.start(place), place) as server:
            yield server

    def fill(self, store: Store) -> int:
        """By the product's own statement, without a server."""
        path = database(store)
        with closing(apsw.Connection(str(path))) as db:
            for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -200000"):
                db.execute(f"pragma {pragma}").fetchall()
            for last, rows in store.batches():
                with db:
                    db.executemany(INSERT_IDENTITY, rows)
                tell(store, last, path.stat().st_size)
            db.execute("pragma journal_mode = wal").fetchall()
        with path.open("rb") as file:
            os.fsync(file.fileno())  # Else it would be written to disk while something else is measured.
        return path.stat().st_size

    def mend(self, store: Store) -> Mended:
        with closing(apsw.Connection(str(database(store)))) as db:
            with db:
                db.execute(_REVIVE)
                deleted = db.changes()
                db.execute(_FORGET_CREATED, (store.resource, store.suffix(store.size - 1)))
                created = db.changes()
            db.execute("pragma wal_checkpoint(truncate)").fetchall()
        return Mended(created, deleted)

    def files(self, store: Store) -> Iterator[Path]:
        yield database(store)

    def describe(self, machine: str) -> str:
        return machine


def database(store: Store) -> Path:
    return store.folder / "data" / "mintmark.db"
