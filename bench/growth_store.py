"""Stores of many identities, filled as months of Create would leave them, and mended after each round of load.

What an identity is follows from its number, so that any of them can be asked for without reading the store.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import apsw

from bench.measure import wait_until_ready
from bench.server import Place, free_port, running
from bench.subjects import SUBJECTS
from mintmark.model import SUFFIX_RANDOM_BYTES, guid, new_suffix
from mintmark.store.sql import INSERT_IDENTITY

MINTMARK = SUBJECTS[0]
FIRST = 1_672_531_200_000  # 2023-01-01 00:00 UTC in milliseconds: the first identity was made then
SPAN = 2 * 365 * 24 * 3600 * 1000  # milliseconds until the last one was
BATCH = 250_000  # rows in a transaction
CHUNK = 1 << 24  # bytes

_REVIVE = """
    update identity set deleted_at = null, changed_at = null, changed_revision = null
    where changed_revision is not null
"""
_FORGET_CREATED = "delete from identity where resource_id = ? and suffix > ?"


@dataclass(frozen=True)
class Store:
    """A store filled with `size` identities in a server's folder; its database then had `filled` bytes."""

    folder: Path
    size: int
    filled: int = 0

    @property
    def database(self) -> Path:
        return self.folder / "data" / "mintmark.db"

    @property
    def resource_id(self) -> str:
        return str(json.loads((self.folder / "resource.json").read_bytes())["id"])

    def created_at(self, number: int) -> int:
        return FIRST + number * SPAN // self.size

    def suffix(self, number: int) -> bytes:
        """Of the identity with that number, counted from 0 in the order of creation."""
        chance = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=SUFFIX_RANDOM_BYTES).digest()
        return new_suffix(self.created_at(number), chance)

    def identity(self, resource_id: str, number: int) -> str:
        """Its id, as clients know it."""
        return f"8:acs:{resource_id}_{guid(self.suffix(number))}"


@dataclass(frozen=True)
class Mended:
    """What a round had left in a store, in identities."""

    created: int
    deleted: int


def open_or_fill(folder: Path, size: int) -> Store:
    """The store in that folder; it is filled unless it was, by an earlier run."""
    done = folder / "filled"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        place = Place(folder.resolve(), free_port(), 1)
        with running(MINTMARK.start(place), place) as server:
            wait_until_ready(MINTMARK, server)  # It makes the tables, and a resource with its keys.
        fill(Store(folder, size))
        done.write_text(str(Store(folder, size).database.stat().st_size))
    store = Store(folder, size, int(done.read_text()))
    mend(store)
    read_once(store)
    return store


def fill(store: Store) -> None:
    """Writes all identities, without a server, by the product's own statement; says how far it is."""
    with closing(apsw.Connection(str(store.database))) as db:
        for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -200000"):
            db.execute(f"pragma {pragma}").fetchall()
        for first in range(0, store.size, BATCH):
            last = min(first + BATCH, store.size)
            with db:
                db.executemany(INSERT_IDENTITY, _rows(store, first, last))
            each = store.database.stat().st_size / last
            print(f"filled {last:,} of {store.size:,} identities, {each:.1f} bytes each", file=sys.stderr)
        db.execute("pragma journal_mode = wal").fetchall()
    with store.database.open("rb") as file:
        os.fsync(file.fileno())  # Else it would be written to disk while something else is measured.


def _rows(store: Store, first: int, last: int) -> Iterator[tuple[object, ...]]:
    resource = bytes.fromhex(store.resource_id.replace("-", ""))
    for number in range(first, last):
        created_at = store.created_at(number)
        yield resource, store.suffix(number), created_at, created_at, 0, None


def mend(store: Store) -> Mended:
    """Takes back what was created and deleted under load, so that each round begins with the same identities."""
    with closing(apsw.Connection(str(store.database))) as db:
        with db:
            db.execute(_REVIVE)
            deleted = db.changes()
            resource = bytes.fromhex(store.resource_id.replace("-", ""))
            db.execute(_FORGET_CREATED, (resource, store.suffix(store.size - 1)))
            created = db.changes()
        db.execute("pragma wal_checkpoint(truncate)").fetchall()
    return Mended(created, deleted)


def read_once(store: Store) -> None:
    """The operating system keeps the file in memory then: a used store would be there too."""
    with store.database.open("rb") as file:
        while file.read(CHUNK):
            pass
