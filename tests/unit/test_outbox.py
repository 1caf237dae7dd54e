"""Answers leave together, and nothing that a connection does meanwhile overtakes one or loses it."""

import asyncio
from collections.abc import AsyncIterator
from socket import socketpair
from typing import Any, cast

import pytest
import uvicorn
from msgspec import structs
from uvicorn.server import ServerState

from mintmark.http.connections import DEFAULT_BOUNDS, Connections
from mintmark.http.outbox import Outbox
from mintmark.http.protocol import Protocol, Strangers
from mintmark.http.waiting import WaitingLine

pytestmark = pytest.mark.anyio

DEADLINE = 5  # seconds
GET = b"GET /%d HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST /%d HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n"


class Events:
    """An outbox that says when it writes, and an application that says when it works; answers are bare paths."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.outbox = _Telling(asyncio.get_running_loop(), self.said)
        self.connections = Connections(DEFAULT_BOUNDS)
        self.line = WaitingLine(asyncio.get_running_loop())

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        self.said.append(f"worked on {scope['path']}")
        body = scope["path"].encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


class _Telling(Outbox):
    def __init__(self, loop: asyncio.AbstractEventLoop, said: list[str]) -> None:
        super().__init__(loop)
        self._said = said
        self.taken = asyncio.Event()

    def write(self, transport: asyncio.Transport, answer: bytes) -> None:
        self.taken.set()  # First: who waits for it then comes before the flush.
        super().write(transport, answer)

    def flush(self) -> None:
        self._said.append("flushed")
        super().flush()


class Client:
    """One connection, its client's end and the server's."""

    def __init__(self, events: Events) -> None:
        self._config = uvicorn.Config(events.app, interface="asgi3", ws="none", lifespan="off", log_config=None)
        self._config.load()
        self._events = events
        self.far, self._near = socketpair()
        self.far.setblocking(False)

    async def connect(self) -> "Client":
        events, config = self._events, self._config
        self.transport, self.protocol = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Protocol(config, ServerState(), events.connections, Strangers(), events.outbox, events.line),
            self._near,
        )
        return self

    def waiting(self) -> bytes:
        """What has left the server so far and was not read."""
        try:
            return self.far.recv(65536)
        except BlockingIOError:
            return b""

    async def read(self, last: bytes) -> bytes:
        """All until that."""
        received = b""
        async with asyncio.timeout(DEADLINE):
            while not received.endswith(last):
                piece = await asyncio.get_running_loop().sock_recv(self.far, 65536)
                assert piece, f"closed after {received!r}"
                received += piece
        return received

    async def until_answered(self) -> None:
        """Until an answer is in the outbox, and not a turn longer."""
        async with asyncio.timeout(DEADLINE):
            await self._events.outbox.taken.wait()


@pytest.fixture
async def events() -> Events:
    return Events()


@pytest.fixture
async def client(events: Events) -> AsyncIterator[Client]:
    client = await Client(events).connect()
    yield client
    client.far.close()


async def test_requests_that_come_together_are_all_worked_on_before_the_first_answer_leaves(events: Events) -> None:
    clients = [await Client(events).connect() for _ in range(3)]
    events.said.clear()
    for number, client in enumerate(clients):
        client.far.send(GET % number)

    for number, client in enumerate(clients):
        assert (await client.read(b"/%d" % number)).startswith(b"HTTP/1.1 200 ")
        client.far.close()

    assert events.said == ["worked on /0", "worked on /1", "worked on /2", "flushed"]


class _Wire:
    """A transport as uvloop's: closed, it raises when it is written to."""

    def __init__(self, *, is_closed: bool, has_ended: bool = False) -> None:
        self.is_closed, self.written = is_closed, b""
        self._has_ended = has_ended

    def is_closing(self) -> bool:
        return self.is_closed

    def write(self, data: bytes) -> None:
        if self.is_closed or self._has_ended:
            raise RuntimeError("the handler is closed, or its end was announced")
        self.written += data

    def abort(self) -> None:
        self.is_closed = True


async def test_a_client_that_has_gone_costs_the_others_nothing() -> None:
    outbox, gone, there = Outbox(asyncio.get_running_loop()), _Wire(is_closed=True), _Wire(is_closed=False)
    outbox.write(cast("asyncio.Transport", gone), b"one")
    outbox.write(cast("asyncio.Transport", there), b"two")

    outbox.flush()

    assert there.written == b"two"


async def test_a_connection_that_cannot_be_written_to_is_ended_and_costs_the_others_nothing() -> None:
    outbox, there = Outbox(asyncio.get_running_loop()), _Wire(is_closed=False)
    broken = _Wire(is_closed=False, has_ended=True)
    outbox.write(cast("asyncio.Transport", broken), b"one")
    outbox.write(cast("asyncio.Transport", there), b"two")

    outbox.flush()

    assert there.written == b"two"
    assert broken.is_closed


async def test_the_answer_leaves_before_its_connection_makes_room_for_another(events: Events, client: Client) -> None:
    another = await Client(events).connect()
    events.connections.discard(another.protocol)
    events.connections.bounds = structs.replace(DEFAULT_BOUNDS, connections=1)
    client.protocol.data_received(GET % 1)
    await client.until_answered()

    another.protocol.connection_made(another.transport)

    assert client.transport.is_closing()
    assert client.waiting().endswith(b"/1")
    another.far.close()


async def test_a_late_request_is_refused_when_its_client_has_taken_the_answers_before(client: Client) -> None:
    client.protocol.data_received(POST % 1 + b"\r\n")
    client.protocol.pause_writing()
    client.protocol._refuse_late = lambda _scope: (503, [(b"content-length", b"4")], b"late")

    client.protocol._start_in_turn(client.protocol.cycle, is_in_time=False)
    await asyncio.sleep(0)
    assert client.waiting() == b""
    client.protocol.resume_writing()

    assert (await client.read(b"late")).startswith(b"HTTP/1.1 503 ")


async def test_a_refusal_that_fails_ends_its_connection(client: Client) -> None:
    client.protocol.data_received(POST % 1 + b"\r\n")
    client.protocol._refuse_late = lambda _scope: (503, [], b"without its length")

    client.protocol._start_in_turn(client.protocol.cycle, is_in_time=False)

    async with asyncio.timeout(DEADLINE):
        assert await asyncio.get_running_loop().sock_recv(client.far, 1) == b""


async def test_the_answer_leaves_before_a_connection_whose_client_has_finished_is_closed(client: Client) -> None:
    client.protocol.data_received(GET % 1)
    await client.until_answered()

    assert client.protocol.eof_received() is False

    assert client.waiting().endswith(b"/1")


async def test_the_answer_leaves_before_the_stop_closes_its_connection(client: Client) -> None:
    client.protocol.data_received(GET % 1)
    await client.until_answered()

    client.protocol.shutdown()

    assert client.waiting().endswith(b"/1")


async def test_the_answer_leaves_before_a_refusal_of_what_follows(client: Client) -> None:
    client.protocol.data_received(GET % 7)
    await client.until_answered()

    client.protocol.data_received(b"no HTTP\r\n\r\n")

    first, refusal = client.waiting().split(b"/7")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert refusal.startswith(b"HTTP/1.1 400 ")


async def test_an_answer_that_came_early_leaves_before_its_broken_body_ends_the_connection(client: Client) -> None:
    client.protocol.data_received(POST.replace(b"content-length: 2", b"transfer-encoding: chunked") % 1 + b"\r\n")
    client.protocol.cycle.message_event.set()
    client.protocol.data_received(b"1\r\na\r\n")
    await client.until_answered()

    client.protocol.data_received(b"no chunk\r\n")

    assert client.waiting().endswith(b"/1")


async def test_the_word_to_go_on_does_not_overtake_the_answer_before(client: Client) -> None:
    client.far.send(GET % 1 + POST % 2 + b"expect: 100-continue\r\n\r\n")
    received = await client.read(b"\r\n\r\n")
    while b" 100 " not in received:
        received += await client.read(b"\r\n\r\n")
    client.far.send(b"{}")

    received += await client.read(b"/2")
    assert [b"HTTP/1.1 200 ", b"HTTP/1.1 100 ", b"HTTP/1.1 200 "] == [
        received[at : at + 13] for at in range(len(received)) if received.startswith(b"HTTP/1.1 ", at)
    ]


async def test_a_request_whose_body_is_broken_is_not_told_to_go_on(events: Events, client: Client) -> None:
    head = POST.replace(b"content-length: 2", b"transfer-encoding: chunked") % 1
    client.far.send(head + b"expect: 100-continue\r\n\r\nno chunk\r\n")

    received = await client.read(b"}}")

    assert [b"HTTP/1.1 400"] == [received[:12]]
    assert 1 == received.count(b"HTTP/1.1 ")
    assert "worked on /1" in events.said


async def test_an_answer_that_ends_its_connection_leaves_at_once(client: Client) -> None:
    client.far.send((GET % 1).replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))

    assert (await client.read(b"/1")).startswith(b"HTTP/1.1 200 ")
    async with asyncio.timeout(DEADLINE):
        assert await asyncio.get_running_loop().sock_recv(client.far, 1) == b""
