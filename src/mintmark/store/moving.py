"""Moves all data from one engine to the other: table by table, in the order of their keys, and then compares them.

What was copied stays when the move is interrupted, and the next attempt goes on behind it. Until the end the target is
marked, so that no server starts on half of the data; in the end the source is, so that none starts on what is out of
date.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from mintmark.errors import StartRefused
from mintmark.store.schema import MOVED, UNFINISHED

PAGE = 10_000  # rows that are read and written at once

Row = Sequence[Any]
Progress = Callable[[int, int], None]

_encode = msgspec.msgpack.Encoder().encode


class Table(Struct, frozen=True):
    """A table to be moved: its columns, of which the first `keys` are its primary key."""

    name: str
    columns: tuple[str, ...]
    keys: int = 1


TABLES = (
    Table("resource", ("number", "resource_id", "name", "region", "created_at")),
    Table("resource_host", ("host", "resource_id")),
    Table("removed_resource", ("resource_id", "removed_at")),
    Table(
        "access_key",
        ("resource_id", "slot", "generation", "sealed_by", "sealed", "changed_at", "changed_revision"),
        keys=2,
    ),
    Table("signing_key", ("kid", "algorithm", "public_jwk", "created_at", "signs_at", "sealed_by", "sealed")),
    Table(
        "identity",
        (
            "resource_id",
            "suffix",
            "created_at",
            "last_issued_at",
            "generation",
            "custom_id",
            "deleted_at",
            "changed_at",
            "changed_revision",
        ),
        keys=2,
    ),
)


class Revision(Struct, frozen=True):
    """The row that there is once: how often data were changed, whose they are, and in which steps generations go."""

    number: int
    epoch: str
    generation_step: int


class Ledger(Protocol):
    """The tables of one engine, with nobody else at them."""

    async def schema(self) -> int:
        """How many migrations were applied; 0 for an empty database."""

    async def migrate(self) -> None:
        """Makes the tables."""

    async def count(self, table: Table) -> int:
        """Of rows."""

    async def page(self, table: Table, after: Row | None) -> list[Row]:
        """The next rows after that key, in the order of the key's bytes; from the first for None."""

    async def last_key(self, table: Table) -> Row | None:
        """That of the last row; None where there is none."""

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        """Keeps rows, all or none."""

    async def revision(self) -> Revision:
        """The row of revisions."""

    async def set_revision(self, revision: Revision) -> None:
        """Replaces it, and has new rows numbered after those that were added."""


class Moved(Struct, frozen=True):
    """How many rows of each table there are now, by its name; and how many of them this attempt found there."""

    rows: dict[str, int]
    found: int


async def move(source: Ledger, target: Ledger, epoch: str, progress: Progress) -> Moved:
    """Copies everything and compares it; `epoch` becomes the target's.

    Raises:
        StartRefused: the source is empty, of another release or was moved before, the target has other data, or in the
            end the two differ.
    """
    if not await source.schema():
        raise StartRefused("There is nothing to move: the source has no data of Mintmark.")
    came_from = await source.revision()
    if came_from.epoch.startswith(UNFINISHED):
        raise StartRefused(
            "The source is itself the target of a move that was not finished.", "Finish that move first."
        )
    # With the source's own, so that an attempt goes on only with what came from there.
    was = came_from.epoch.removeprefix(MOVED)
    await _prepare(source, target, UNFINISHED + was, is_moved=was != came_from.epoch)
    total = sum([await source.count(table) for table in TABLES])
    found = done = sum([await target.count(table) for table in TABLES])
    progress(done, 2 * total)
    for table in TABLES:
        after = await target.last_key(table)
        while rows := await source.page(table, after):
            await target.add(table, rows)
            after = rows[-1][: table.keys]
            done += len(rows)
            progress(done, 2 * total)
    highest = came_from.number
    counts: dict[str, int] = {}
    for table in TABLES:
        counted = await _compare(source, target, table, lambda rows, done=done: progress(done + rows, 2 * total))  # type: ignore[misc]
        counts[table.name] = counted.rows
        done += counted.rows
        highest = max(highest, counted.highest_change)
    await source.set_revision(msgspec.structs.replace(came_from, epoch=MOVED + was))
    await target.set_revision(Revision(highest, epoch, came_from.generation_step))
    progress(2 * total, 2 * total)
    return Moved(counts, found)


async def _prepare(source: Ledger, target: Ledger, mark: str, *, is_moved: bool) -> None:
    """Makes the target's tables and marks it, unless that was done; `is_moved` tells that the source was moved."""
    if not await target.schema():
        await target.migrate()
    if await target.schema() != await source.schema():
        raise StartRefused(
            "Source and target were made by different releases.", "Start and stop this release once on the source."
        )
    if (await target.revision()).epoch == mark:
        return
    if is_moved:
        raise StartRefused(
            "The source was moved already: it may be out of date.",
            "Start the server on the place that it was moved to.",
        )
    if any([await target.count(table) for table in TABLES]):
        raise StartRefused("The target has other data.", "Choose an empty one.")
    await target.set_revision(msgspec.structs.replace(await target.revision(), epoch=mark))


async def _rows(ledger: Ledger, table: Table) -> AsyncIterator[list[Row]]:
    after: Row | None = None
    while rows := await ledger.page(table, after):
        yield rows
        after = rows[-1][: table.keys]


class _Compared(Struct, frozen=True):
    """How many rows both sides have, and the highest number of a change among them."""

    rows: int
    highest_change: int


async def _compare(source: Ledger, target: Ledger, table: Table, progress: Callable[[int], None]) -> _Compared:
    """Row by row; `progress` is told how many are done."""
    expected, there = hashlib.sha256(), hashlib.sha256()
    changes = table.columns.index("changed_revision") if "changed_revision" in table.columns else None
    count = found = highest = 0
    copies = _rows(target, table)
    async for rows in _rows(source, table):
        expected.update(_encode([list(row) for row in rows]))
        count += len(rows)
        copied: list[Row] = await anext(copies, [])
        there.update(_encode([list(row) for row in copied]))
        found += len(copied)
        if changes is not None:
            highest = max([highest, *(row[changes] or 0 for row in rows)])
        progress(count)
    async for rows in copies:
        found += len(rows)
    if count != found or expected.digest() != there.digest():
        size = f"{count:,} rows" if count == found else f"{count:,} rows in the source, {found:,} in the target"
        raise StartRefused(
            f"The copies of {table.name} differ ({size}): the source has changed since the move began.",
            "Empty the target, leave the source alone, and move again.",
        )
    return _Compared(count, highest)
