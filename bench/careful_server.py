"""Starts a PostgreSQL of its own with its defaults, then the command it is given; stops both when it is told to stop.

`DATA` in the environment names the folder for the data, `POSTGRES` the one with PostgreSQL's programs. The command
finds the folder of PostgreSQL's socket in `POSTGRES_SOCKETS`, and Mintmark the database in `MINTMARK_DATABASE`.
"""

import asyncio
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncpg

STARTING = 15.0  # seconds
TABLE = """
    CREATE TABLE identities (
        id text PRIMARY KEY,
        created_at timestamptz NOT NULL,
        last_issued_at timestamptz
    )
"""


def main(command: Sequence[str]) -> int:
    """Returns the command's exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # An exception, so that all is stopped on the way out.
    data, programs = Path(os.environ["DATA"]), Path(os.environ["POSTGRES"])
    # Not below DATA: a socket's path may have about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as sockets, postgres(data, programs, Path(sockets)):
        asyncio.run(make_table(sockets))
        database = f"postgresql://postgres@/postgres?host={sockets}"
        found = {"POSTGRES_SOCKETS": sockets, "MINTMARK_DATABASE": database}
        with subprocess.Popen(command, env={**os.environ, **found}) as server:
            try:
                return server.wait()
            finally:
                server.terminate()


@contextmanager
def postgres(data: Path, programs: Path, sockets: Path) -> Iterator[None]:
    """PostgreSQL, from before to after. It refuses to run as root, and then runs as nobody."""
    cluster, who = data / "postgres", None
    cluster.mkdir()
    if os.geteuid() == 0:
        who = pwd.getpwnam("nobody")
        data.chmod(0o711)
        for folder in (cluster, sockets):
            os.chown(folder, who.pw_uid, who.pw_gid)
    user, group = (who.pw_uid, who.pw_gid) if who else (None, None)
    initialise = [str(programs / "initdb"), "--auth", "trust", "--username", "postgres", "--pgdata", str(cluster)]
    subprocess.run(initialise, check=True, cwd="/", user=user, group=group, stdout=subprocess.DEVNULL)
    serve = [str(programs / "postgres"), "-D", str(cluster), "-k", str(sockets), "-c", "listen_addresses="]
    server = subprocess.Popen(serve, cwd="/", user=user, group=group)
    try:
        yield
    finally:
        server.send_signal(signal.SIGINT)  # Its fast shutdown: it does not wait for clients.
        server.wait()


async def make_table(sockets: str) -> None:
    """As soon as PostgreSQL answers."""
    deadline = time.monotonic() + STARTING
    while True:
        try:
            connection = await asyncpg.connect(host=sockets, user="postgres")
        except (OSError, asyncpg.CannotConnectNowError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            await connection.execute(TABLE)
            await connection.close()
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
