"""Stores of many identities, filled as months of Create would leave them, and mended after each round of load.

What an identity is follows from its number, so that any of them can be asked for without reading the store.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.measure import wait_until_ready
from bench.server import Place, Server, free_port
from bench.subjects import SUBJECTS
from mintmark.model import SUFFIX_RANDOM_BYTES, guid, new_suffix

MINTMARK = SUBJECTS[0]
FIRST = 1_672_531_200_000  # 2023-01-01 00:00 UTC in milliseconds: the first identity was made then
SPAN = 2 * 365 * 24 * 3600 * 1000  # milliseconds until the last one was
BATCH = 250_000  # rows in a transaction
CHUNK = 1 << 24  # bytes


@dataclass(frozen=True)
class Store:
    """A store filled with `size` identities in a server's folder; its database then had `filled` bytes."""

    folder: Path
    size: int
    filled: int = 0

    @property
    def resource_id(self) -> str:
        return str(json.loads((self.folder / "resource.json").read_bytes())["id"])

    @property
    def resource(self) -> bytes:
        """The resource as the database has it."""
        return bytes.fromhex(self.resource_id.replace("-", ""))

    def created_at(self, number: int) -> int:
        return FIRST + number * SPAN // self.size

    def suffix(self, number: int) -> bytes:
        """Of the identity with that number, counted from 0 in the order of creation."""
        chance = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=SUFFIX_RANDOM_BYTES).digest()
        return new_suffix(self.created_at(number), chance)

    def identity(self, resource_id: str, number: int) -> str:
        """Its id, as clients know it."""
        return f"8:acs:{resource_id}_{guid(self.suffix(number))}"

    def batches(self) -> Iterator[tuple[int, Iterator[tuple[object, ...]]]]:
        """All rows, in the order of their keys, a transaction each; and how many rows there are with its own."""
        for first in range(0, self.size, BATCH):
            last = min(first + BATCH, self.size)
            yield last, self._rows(first, last)

    def _rows(self, first: int, last: int) -> Iterator[tuple[object, ...]]:
        """In the order of `INSERT_IDENTITY`."""
        resource = self.resource
        for number in range(first, last):
            created_at = self.created_at(number)
            yield resource, self.suffix(number), created_at, created_at, 0, None


@dataclass(frozen=True)
class Mended:
    """What a round had left in a store, in identities."""

    created: int
    deleted: int


class Engine(Protocol):
    """A database that stores are kept in. Between its calls nothing runs."""

    @property
    def title(self) -> str:
        """For headings."""

    def serving(self, place: Place) -> AbstractContextManager[Server]:
        """Mintmark over the store in the place's folder; in an empty one it makes the tables. Raises StartError."""

    def fill(self, store: Store) -> int:
        """Writes all identities; returns the bytes of the database that hold them."""

    def mend(self, store: Store) -> Mended:
        """Takes back what was created and deleted under load, so that each round begins with the same identities."""

    def files(self, store: Store) -> Iterator[Path]:
        """Those that the identities are in."""

    def describe(self, machine: str) -> str:
        """The same, where the last line is on the database."""


def open_or_fill(engine: Engine, folder: Path, size: int) -> Store:
    """The store in that folder; it is filled unless it was, by an earlier run. Raises StartError."""
    done = folder / "filled"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with engine.serving(Place(folder.resolve(), free_port(), 1)) as server:
            wait_until_ready(MINTMARK, server)  # It makes the tables, and a resource with its keys.
        done.write_text(str(engine.fill(Store(folder, size))))
    store = Store(folder, size, int(done.read_text()))
    engine.mend(store)
    _drop_from_memory(engine, store)
    read_once(engine, store)
    return store


def tell(store: Store, number: int, filled: int) -> None:
    """Says how far the filling is: `number` identities in so many bytes."""
    print(f"filled {number:,} of {store.size:,} identities, {filled / number:.1f} bytes each", file=sys.stderr)


def read_once(engine: Engine, store: Store) -> None:
    """The operating system has the files in memory then, as those of a used store; a virtual machine can lose them."""
    for path in engine.files(store):
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            while file.read(CHUNK):
                pass


def _drop_from_memory(engine: Engine, store: Store) -> None:
    """So that what is read next, before any server has read a part, is kept in folios of one page.

    That is how a server leaves a file that it reads and writes by the page. Of one that was copied, or read in large
    pieces, Linux keeps larger folios, and writes one page of those more slowly.
    """
    for path in engine.files(store):
        with path.open("rb", buffering=0) as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
