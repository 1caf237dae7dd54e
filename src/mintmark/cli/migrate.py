"""`mintmark migrate`: all data from SQLite to PostgreSQL, or back."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mintmark.cli.backup import cleaning_up, progress_bar
from mintmark.cli.output import SIGNALLED, print_json, print_rows

if TYPE_CHECKING:
    from mintmark.store.moving import Ledger, Moved

_SHOWN = {
    "Resources": "resource",
    "Access keys": "access_key",
    "Signing keys": "signing_key",
    "Identities": "identity",
}
_PLACE = "a data folder, or an address such as postgresql://mintmark@db1/mintmark"


@click.command()
@click.option("--from", "source", metavar="PLACE", required=True, help=f"Where the data are: {_PLACE}.")
@click.option("--to", "target", metavar="PLACE", required=True, help="Where they shall be; nothing of it is used yet.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def migrate(source: str, target: str, as_json: bool) -> None:
    """Move all data to PostgreSQL, or from PostgreSQL to a data folder.

    No server may run on either. Tokens that were issued go on being valid: the new server needs the same
    key-encryption key and the same --issuer. A move that was interrupted goes on where it was. In the end both
    sides are compared, row by row; the source keeps its data, and no server starts on them again.
    """
    os.umask(0o077)
    try:
        with cleaning_up(), progress_bar("Moving") as progress:
            moved = asyncio.run(_migrate(source, target, progress))
    except KeyboardInterrupt:
        click.echo("\nInterrupted. Give the same command again: it goes on where it was.", err=True)
        sys.exit(SIGNALLED + signal.SIGINT)
    if as_json:
        print_json({"rows": moved.rows, "foundAtStart": moved.found, "compared": True})
        return
    rows = [(label, f"{moved.rows[table]:,}") for label, table in _SHOWN.items()]
    print_rows([*rows, ("Compared", "every row, no difference")])
    click.echo(
        "\nStart the server on the new place with the same key-encryption key. None starts on the old one again."
    )


async def _migrate(source: str, target: str, progress: Callable[[int, int], None]) -> "Moved":
    from mintmark.errors import StartRefused
    from mintmark.sources import system
    from mintmark.store.moving import move

    if source.rstrip("/") == target.rstrip("/"):
        raise StartRefused("Source and target are the same place.", "Name two.")
    sources = system()
    async with AsyncExitStack() as stack:
        came_from = await stack.enter_async_context(_opened(source, sources.now(), is_source=True))
        going_to = await stack.enter_async_context(_opened(target, sources.now(), is_source=False))
        return await move(came_from, going_to, sources.random(16).hex(), progress)


@asynccontextmanager
async def _opened(place: str, now: int, *, is_source: bool) -> "AsyncIterator[Ledger]":
    """The place's tables, with no server at them."""
    from mintmark.data_folder import DataFolder, hold
    from mintmark.errors import StartRefused
    from mintmark.store.postgres_address import driver_missing, parse_address

    try:
        from mintmark.store.ledgers import PostgresLedger, SqliteLedger, connected
    except ImportError as error:
        raise driver_missing(error) from error

    if "://" in place:
        if parse_address(place).has_password:
            raise StartRefused(
                "The address has a password in it, which others on this machine can read.",
                "Put it into a file, and name that by PGPASSFILE.",
            )
        async with connected(place) as connection:
            yield PostgresLedger(connection, now)
        return
    if is_source and not os.path.exists(DataFolder(Path(place)).database):  # noqa: ASYNC240, PTH110  nobody waits
        raise StartRefused(f"There are no data of Mintmark in {place}.", "Name the server's data folder.")
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(hold(place, ephemeral=False))
        except StartRefused as refused:
            raise StartRefused(refused.message, "Stop the server there, or name another folder.") from refused
        yield stack.enter_context(closing(SqliteLedger(folder.database, now)))
