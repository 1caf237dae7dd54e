"""The timer that keeps the bounds of all connections."""

import asyncio
from collections.abc import Callable
from socket import socketpair
from typing import Any

import pytest
from msgspec import structs

from mintmark.http.connections import DEFAULT_BOUNDS, Connections, Phase

pytestmark = pytest.mark.anyio

QUICK = structs.replace(DEFAULT_BOUNDS, idle_seconds=0.02)  # for a look every few milliseconds
DEADLINE = 5  # seconds


class Looked:
    """A connection that notes how often it was looked at."""

    phase, is_answering = Phase.IDLE, False

    def __init__(self, transport: asyncio.Transport, looks: Callable[[], None]) -> None:
        self.loop, self.transport = asyncio.get_running_loop(), transport
        self.since = self.loop.time()
        self._looks = looks

    def look(self, _now: float) -> None:
        self._looks()


async def test_a_look_that_fails_costs_that_connection_only_and_not_the_bounds_of_the_others() -> None:
    loop, said, third = asyncio.get_running_loop(), list[Any](), asyncio.Event()
    loop.set_exception_handler(lambda _loop, context: said.append(context["exception"]))
    connections, counted = Connections(QUICK), list[None]()
    near, far = socketpair()
    far.setblocking(False)
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)

    def fail() -> None:
        raise ValueError("a fault")

    def count() -> None:
        counted.append(None)
        if len(counted) == 3:
            third.set()

    broken, good = Looked(transport, fail), Looked(transport, count)
    with far:
        connections.admit(broken)
        connections.admit(good)
        async with asyncio.timeout(DEADLINE):
            await third.wait()
            assert b"" == await loop.sock_recv(far, 1), "the one that failed is not closed"
        connections.discard(good)

    assert ["a fault"] == [str(each) for each in said]
