"""The tables of both engines as a move reads and writes them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from asyncpg.exceptions import InterfaceError, InternalClientError, PostgresError

from mintmark.errors import StoreUnavailable
from mintmark.store import postgres_schema, schema
from mintmark.store.moving import PAGE, Revision, Row, Table
from mintmark.store.postgres_address import check_files, parse_address, unusable
from mintmark.store.postgres_link import Primary, refuse_to_wait_in_vain, said
from mintmark.store.postgres_text import from_text, to_text
from mintmark.store.sqlite import check_version, connect


class SqliteLedger:
    """A SQLite file."""

    def __init__(self, path: Path, now: int) -> None:
        check_version()
        self._db = connect(path)
        self._now = now

    async def schema(self) -> int:
        """See `Ledger.schema`."""
        if not self._db.execute("select 1 from sqlite_schema where name = 'migration'").fetchall():
            return 0
        return int(str(self._db.execute("select count(*) from migration").get))

    async def migrate(self) -> None:
        """See `Ledger.migrate`."""
        with self._db:
            schema.migrate(self._db, self._now)

    async def count(self, table: Table) -> int:
        """See `Ledger.count`."""
        return int(str(self._db.execute(f"select count(*) from {table.name}").get))  # noqa: S608  names of our own

    async def page(self, table: Table, after: Row | None) -> list[Row]:
        """See `Ledger.page`."""
        return list(self._db.execute(_page(table, after, ["?"] * table.keys), (*(after or ()), PAGE)).fetchall())

    async def last_key(self, table: Table) -> Row | None:
        """See `Ledger.last_key`."""
        rows = self._db.execute(_last_key(table)).fetchall()
        return rows[0] if rows else None

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        """See `Ledger.add`."""
        places = ", ".join("?" * len(table.columns))
        with self._db:
            self._db.executemany(f"insert into {table.name} ({', '.join(table.columns)}) values ({places})", rows)  # noqa: S608

    async def revision(self) -> Revision:
        """See `Ledger.revision`."""
        ((number, epoch, step),) = self._db.execute("select number, epoch, generation_step from revision").fetchall()
        return Revision(int(str(number)), str(epoch), int(str(step)))

    async def set_revision(self, revision: Revision) -> None:
        """See `Ledger.set_revision`."""
        row = (revision.number, revision.epoch, revision.generation_step)
        self._db.execute("update revision set number = ?, epoch = ?, generation_step = ?", row)

    def close(self) -> None:
        """Lets go of the file."""
        self._db.close()


class PostgresLedger:
    """A PostgreSQL database, through one connection."""

    def __init__(self, connection: Any, now: int) -> None:
        self._connection = connection
        self._now = now

    async def schema(self) -> int:
        """See `Ledger.schema`."""
        if await self._connection.fetchval("select to_regclass('migration')") is None:
            return 0
        count: int = await self._connection.fetchval("select count(*) from migration")
        return count

    async def migrate(self) -> None:
        """See `Ledger.migrate`."""
        await postgres_schema.migrate(self._connection, self._now)

    async def count(self, table: Table) -> int:
        """See `Ledger.count`."""
        count: int = await self._connection.fetchval(f"select count(*) from {table.name}")  # noqa: S608
        return count

    async def page(self, table: Table, after: Row | None) -> list[Row]:
        """See `Ledger.page`."""
        query = _page(table, after, [f"${number}" for number in range(1, table.keys + 1)])
        query = query.replace("limit ?", f"limit ${1 if after is None else table.keys + 1}")
        rows = await self._connection.fetch(query, *(after or ()), PAGE)
        return [_with_text(table, row, from_text) for row in rows]

    async def last_key(self, table: Table) -> Row | None:
        """See `Ledger.last_key`."""
        row = await self._connection.fetchrow(_last_key(table))
        return None if row is None else tuple(row)

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        """See `Ledger.add`."""
        records = [_with_text(table, row, to_text) for row in rows]
        await self._connection.copy_records_to_table(table.name, records=records, columns=table.columns)

    async def revision(self) -> Revision:
        """See `Ledger.revision`."""
        row = await self._connection.fetchrow("select number, epoch, generation_step from revision")
        return Revision(*row)

    async def set_revision(self, revision: Revision) -> None:
        """See `Ledger.set_revision`."""
        # First: once the mark is gone a server may start.
        await self._connection.execute(
            "select setval(pg_get_serial_sequence('resource', 'number'), max(number)) from resource having count(*) > 0"
        )
        await self._connection.execute(
            "update revision set number = $1, epoch = $2, generation_step = $3",
            revision.number,
            revision.epoch,
            revision.generation_step,
        )


def _page(table: Table, after: Row | None, places: Sequence[str]) -> str:
    keys = ", ".join(table.columns[: table.keys])
    behind = "" if after is None else f" where ({keys}) > ({', '.join(places)})"
    return f"select {', '.join(table.columns)} from {table.name}{behind} order by {keys} limit ?"  # noqa: S608


def _last_key(table: Table) -> str:
    keys = table.columns[: table.keys]
    order = ", ".join(f"{key} desc" for key in keys)
    return f"select {', '.join(keys)} from {table.name} order by {order} limit 1"  # noqa: S608


def _with_text(table: Table, row: Row, convert: Any) -> Row:
    """With its custom id as the other side has it."""
    if "custom_id" not in table.columns:
        return tuple(row)
    place = table.columns.index("custom_id")
    return (*row[:place], None if row[place] is None else convert(row[place]), *row[place + 1 :])


@asynccontextmanager
async def connected(place: str) -> AsyncIterator[Any]:
    """A connection to the primary at that address, with no server on its database for as long as it lasts.

    Raises:
        StartRefused: a server runs there, it cannot be reached, or no package for PostgreSQL is installed.
    """
    address = parse_address(place)
    check_files(address)
    primary = Primary(address)
    try:
        connection = await primary.connect()
        await refuse_to_wait_in_vain(connection)
        await postgres_schema.take(connection)
        yield connection
    except StoreUnavailable as error:
        raise unusable(address, error.reason) from error
    except (PostgresError, InterfaceError, InternalClientError) as error:
        raise unusable(address, said(error)) from error
    finally:
        primary.drop_all()
