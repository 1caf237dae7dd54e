"""Nothing acknowledged is lost when the server is killed with SIGKILL under load, again and again on the same data.

Every round kills the parent, a worker (the rest goes on and is killed a little later) or all processes at once.
`MINTMARK_KILL_ROUNDS` sets how many rounds; a soak takes some hundreds.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import apsw
import pytest

from builders import signed_headers
from mintmark.sources import system
from process.watching import children
from running import FREE_PORTS, MINTMARK, STOP_SECONDS, RunningServer, _read_variables

ROUNDS = int(os.environ.get("MINTMARK_KILL_ROUNDS", "3"))
LOAD = 0.7  # seconds from the first request to the last kill of a round
CONNECTIONS = 8
TARGET = "/identities?api-version=2023-10-01"
BODY = b'{"createTokenWithScopes":["chat"]}'
CREATED = b"HTTP/1.1 201 "

pytestmark = pytest.mark.anyio


class Load:
    """Clients that create identities as fast as they can, each on a connection of its own, until the server is gone."""

    def __init__(self, server: RunningServer) -> None:
        self.acknowledged: list[str] = []
        self._host = server.http_endpoint.removeprefix("http://")
        self._stopping = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        clients = [asyncio.ensure_future(self._client()) for _ in range(CONNECTIONS)]
        try:
            yield
        finally:
            self._stopping = True
            await asyncio.wait_for(asyncio.gather(*clients), STOP_SECONDS)

    async def _client(self) -> None:
        name, _, port = self._host.partition(":")
        while not self._stopping:
            # Broken off by the kill: whether the request was served is not known.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(name, int(port))
                try:
                    await self._create_on(reader, writer)
                finally:
                    writer.close()
            await asyncio.sleep(0.01)

    async def _create_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            headers = signed_headers("POST", TARGET, BODY, now=system().now(), host=self._host)
            lines = [f"POST {TARGET} HTTP/1.1".encode(), *(b": ".join(header) for header in headers), b"", BODY]
            writer.write(b"\r\n".join(lines))
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(CREATED), answer
            body = await reader.readexactly(_content_length(answer))
            self.acknowledged.append(json.loads(body)["identity"]["id"])


def _content_length(head: bytes) -> int:
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    return int(fields[b"content-length"])


async def kill_parent(server: RunningServer) -> None:
    os.kill(server.process.pid, signal.SIGKILL)


async def kill_all(server: RunningServer) -> None:
    os.killpg(server.process.pid, signal.SIGKILL)


async def kill_worker_then_all(server: RunningServer) -> None:
    os.kill(min(children(server.process.pid)), signal.SIGKILL)
    await asyncio.sleep(LOAD / 2)
    os.killpg(server.process.pid, signal.SIGKILL)


KILLS = (kill_parent, kill_worker_then_all, kill_all)


@pytest.mark.long
async def test_every_acknowledged_identity_is_there_after_kill_upon_kill(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    data = tmp_path / "data"
    acknowledged: list[str] = []
    for number in range(ROUNDS):
        with server_in_a_session_of_its_own(data) as server:
            load = Load(server)
            async with load.running():
                await asyncio.sleep(LOAD / 2 + LOAD / 2 * number / ROUNDS)
                await KILLS[number % len(KILLS)](server)
            assert server.process.wait(STOP_SECONDS) == -signal.SIGKILL
        await until_nobody_holds(data)
        assert load.acknowledged, f"round {number} acknowledged nothing"
        acknowledged += load.acknowledged
    with server_in_a_session_of_its_own(data) as server:  # It recovers from the last kill by itself.
        assert server.stop() == 0

    identities = stored(data / "mintmark.db")
    lost = set(acknowledged) - identities
    print(f"\n{ROUNDS} kills, {len(acknowledged)} identities acknowledged, {len(lost)} lost")  # noqa: T201
    for name, count in (("kills", ROUNDS), ("acknowledged", len(acknowledged)), ("lost", len(lost))):
        record_property(name, count)
    assert not lost
    assert len(acknowledged) == len(set(acknowledged))


@contextmanager
def server_in_a_session_of_its_own(data: Path) -> Iterator[RunningServer]:
    """Two workers on `data`; in the end nothing of it runs any more."""
    flags = ("--data", str(data), "--workers", "2", "--quiet")
    command = [*MINTMARK, "dev", *FREE_PORTS, *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield RunningServer(process, _read_variables(process))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


async def until_nobody_holds(data: Path) -> None:
    """Workers that were left alone finish what they do; they hold the folder's lock until then."""
    lock = os.open(data / "lock", os.O_RDWR)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                await asyncio.sleep(0.01)
    finally:
        os.close(lock)


def stored(database: Path) -> set[str]:
    """The ids of all identities, once the file has been checked."""
    db = apsw.Connection(str(database))
    assert db.execute("pragma integrity_check").get == "ok"
    rows = db.execute("select lower(hex(resource_id)), lower(hex(suffix)) from identity").fetchall()
    db.close()
    return {f"8:acs:{_guid(str(resource_id))}_{_guid(str(suffix))}" for resource_id, suffix in rows}


def _guid(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
