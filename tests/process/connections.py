"""Many connections to a server at once, and connections of which it is known which worker serves them."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from builders import signed_headers
from calls import Answer
from mintmark.development import DEVELOPMENT_KEYS
from mintmark.sources import system
from process.watching import await_pause, children, eventually
from running import RunningServer

VERSION = "2023-10-01"
SECONDS = 20
TRIES = 20  # to open connections to one worker


class Connection:
    """One connection over plain HTTP that stays open: requests on it go to the same worker, one after the other."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host, self._reader, self._writer = host, reader, writer

    async def ask(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request as it is."""
        given = {"host": self._host, "content-length": str(len(body)), "content-type": "application/json"}
        lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in {**given, **(headers or {})}.items())]
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        async with asyncio.timeout(SECONDS):
            return await self._answer()

    async def sign(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: bytes = DEVELOPMENT_KEYS[0],
        now: int | None = None,
        version: str = VERSION,
    ) -> Answer:
        """One request of the ACS surface, signed with `key` at `now` (milliseconds; real time if not said)."""
        target, content = f"{path}?api-version={version}", b"" if body is None else json.dumps(body).encode()
        when = system().now() if now is None else now
        signed = signed_headers(method, target, content, now=when, host=self._host, key=key)
        return await self.ask(method, target, content, {name.decode(): value.decode() for name, value in signed})

    async def _answer(self) -> Answer:
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(status.split()[1]), headers, body)

    def close(self) -> None:
        """Ends it."""
        self._writer.close()


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Connection]:
    """A connection to a listener's address, closed in the end."""
    host = urlsplit(address).netloc
    name, _, port = host.rpartition(":")
    connection = Connection(host, *await asyncio.open_connection(name, int(port)))
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def paused(pids: set[int]) -> Iterator[None]:
    """Those processes stand still meanwhile."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            await_pause(pid)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def connected_to_each(
    server: RunningServer, workers: int, count: int
) -> AsyncIterator[dict[int, list[Connection]]]:
    """`count` connections to each of so many workers, by process: while they open, the other workers stand still."""
    eventually(f"there are {workers} workers", lambda: len(children(server.process.pid)) == workers)
    pids = children(server.process.pid)
    async with AsyncExitStack() as stack:
        yield {pid: await _connected_to(server, pids - {pid}, count, stack) for pid in sorted(pids)}


async def _connected_to(server: RunningServer, others: set[int], count: int, stack: AsyncExitStack) -> list[Connection]:
    for _ in range(TRIES):
        async with AsyncExitStack() as opening:
            # A worker stopped while it starts may hold the store's turn, for which the one that shall answer waits.
            with paused(others), suppress(TimeoutError):
                async with asyncio.timeout(SECONDS / TRIES):
                    opened = [await opening.enter_async_context(connected(server.http_endpoint)) for _ in range(count)]
                    for connection in opened:
                        assert 200 == (await connection.ask("GET", "/.well-known/jwks.json")).status
                await stack.enter_async_context(opening.pop_all())
                return opened
    raise AssertionError(f"no worker answers while {others} stand still")


class Admin:
    """The admin listener of a server, over a connection of its own for each request."""

    def __init__(self, server: RunningServer) -> None:
        self._address = server.admin_endpoint

    async def __call__(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of an answer that must succeed; None where there is none."""
        content = b"" if body is None else json.dumps(body).encode()
        async with connected(self._address) as connection:
            answer = await connection.ask(method, f"/_mintmark/{path}", content)
        assert answer.status < 300, answer
        return answer.json if answer.body else None

    async def lives(self, token: str) -> bool:
        """Whether the server says that a token lives."""
        active: bool = (await self("POST", "introspect", {"token": token}))["active"]
        return active
