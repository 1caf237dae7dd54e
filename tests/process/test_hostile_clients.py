"""Clients that send too much, too slowly or in too great a number: bounded, while others are served as ever."""

import contextlib
import itertools
import json
import resource
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from calls import create, create_bytes
from mintmark.development import make_tls_files
from mintmark.http.connections import RESERVE
from mintmark.sources import system
from process.bounded_server import LARGE, SECONDS, BoundedServer, bounded_server
from process.raw import GET, connect, read_statuses, read_to_end, send, statuses
from process.watching import children, eventually
from running import RunningServer

KIB, MIB = 1024, 1024 * 1024
CROWD = 2000
PARTIAL = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n123"
CHUNKED = b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
WHOLE = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


def header_of(size: int) -> bytes:
    """A request of that many bytes without a body."""
    rest = size - len(GET + b"x: \r\n\r\n")
    return GET + b"x: " + b"y" * rest + b"\r\n\r\n"


def code(received: bytes) -> str:
    """The error's code in an answer."""
    found: str = json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"]
    return found


@pytest.mark.parametrize(("size", "status"), [(32 * KIB, 200), (32 * KIB + 1, 431)], ids=["32 KiB", "and a byte"])
def test_a_header_has_at_most_32_kib(server: RunningServer, size: int, status: int) -> None:
    with connect(server) as connected:
        send(connected, header_of(size))

        assert [status] == read_statuses(connected, 1)


@pytest.mark.parametrize(("count", "status"), [(100, 200), (101, 431)])
def test_a_request_has_at_most_100_fields(server: RunningServer, count: int, status: int) -> None:
    with connect(server) as connected:
        send(connected, GET + b"".join(b"x%d: y\r\n" % number for number in range(count - 1)) + b"\r\n")

        assert [status] == read_statuses(connected, 1)


def test_what_is_too_large_is_answered_in_the_envelope_and_closed(server: RunningServer) -> None:
    with connect(server) as connected:
        send(connected, header_of(40 * KIB))
        received = read_to_end(connected)

    assert [431] == statuses(received)
    assert "RequestHeaderFieldsTooLarge" == code(received)
    assert b"\r\nconnection: close\r\n" in received


def resident(server: RunningServer) -> int:
    """Bytes of memory that the server's workers hold."""
    pids = ",".join(str(pid) for pid in children(server.process.pid))
    listing = subprocess.run(["ps", "-o", "rss=", "-p", pids], capture_output=True, text=True, check=True)
    return sum(int(line) for line in listing.stdout.split()) * KIB


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (b"GET /", b"x" * 65536),
        (GET, b"x" * 65536),
        (GET + b"x: ", b"y" * 65536),
        (GET, b"x: y\r\n" * 10000),
        (GET, b"x:\r\n" * 10000),
        (CHUNKED + b"5;", b"x" * 65536),
        (CHUNKED, b"1;" + b"x" * 1000 + b"\r\ny\r\n"),
        (CHUNKED + b"0\r\nx: ", b"y" * 65536),
        (CHUNKED + b"0\r\n", b"x: y\r\n" * 10000),
    ],
    ids=["target", "name", "value", "fields", "empty fields", "extension", "extensions", "trailer", "trailers"],
)
def test_what_never_ends_is_cut_off_and_takes_no_memory(server: RunningServer, begin: bytes, again: bytes) -> None:
    create(server)
    before = resident(server)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(8)]
        for connected in clients:
            send(connected, begin)
            with contextlib.suppress(ConnectionError):
                for _ in range(2 * MIB // len(again)):
                    connected.sendall(again)
        after = resident(server)
        answers = [statuses(read_to_end(connected)) for connected in clients]

    assert after - before < 8 * MIB
    # Where the application had refused the request before, nothing is left to be said; it may also see a reset.
    assert {status for answer in answers for status in answer} <= {431, 400, 404, 405}
    assert 201 == create(server).status


def test_requests_that_wait_for_their_turn_are_not_read(server: RunningServer) -> None:
    """A client that asks and asks, and never reads: the server stops reading too."""
    some = create_bytes(server.http_endpoint) * 100
    before = resident(server)
    with connect(server) as connected:
        connected.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connected.sendall(some * (256 * MIB // len(some)))

        assert resident(server) - before < 16 * MIB
    assert 201 == create(server).status


def test_many_requests_at_once_are_all_answered_in_their_order(server: RunningServer) -> None:
    with connect(server) as connected:
        send(connected, (GET + b"\r\n" + b"PUT / HTTP/1.1\r\nhost: x\r\n\r\n") * 300)

        assert [200, 404] * 300 == read_statuses(connected, 600)


@pytest.fixture(scope="module")
def hasty() -> Iterator[BoundedServer]:
    """A server with little time."""
    with bounded_server(header_seconds=0.3, body_seconds=0.4, write_seconds=0.5, idle_seconds=0.6) as started:
        yield started


def drip(connected: socket.socket, first: bytes, each: bytes) -> bytes:
    """Sends a little every now and then, until the server answers or closes."""
    send(connected, first)
    connected.settimeout(0.02)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            part = connected.recv(65536)
        except TimeoutError:
            send(connected, each)
        else:
            connected.settimeout(SECONDS)
            return part + read_to_end(connected)
    raise AssertionError("the server neither answers nor closes")


@pytest.mark.parametrize(
    ("first", "each"),
    [
        (b"", b""),
        (b"GET / HT", b""),
        (b"GET / HTTP/1.1\r\nx: ", b"y"),
        (PARTIAL[:-3], b""),
        (PARTIAL.replace(b": 5", b": 5000"), b"4"),
        (CHUNKED, b"1\r\nx\r\n"),
        (CHUNKED + b"5;", b"x"),
    ],
    ids=["nothing", "half a line", "a dripping header", "no body", "a dripping body", "chunks", "an extension"],
)
def test_a_request_that_is_not_complete_in_time_is_answered_408(
    hasty: BoundedServer, first: bytes, each: bytes
) -> None:
    with hasty.connect() as connected:
        received = drip(connected, first, each)

    assert [408] == statuses(received)
    assert "RequestTimeout" == code(received)


def test_an_idle_connection_is_closed_without_a_word(hasty: BoundedServer) -> None:
    with hasty.connect() as connected:
        send(connected, WHOLE)

        assert [200] == statuses(read_to_end(connected))


@pytest.mark.long
def test_a_client_that_reads_slowly_is_served_and_one_that_does_not_read_is_left(hasty: BoundedServer) -> None:
    request = b"GET /large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    with hasty.connect() as slow, hasty.connect() as stuck:
        send(slow, request)
        send(stuck, request)
        received, began = 0, time.monotonic()
        while part := slow.recv(256 * KIB):
            received += len(part)
            if time.monotonic() - began < 1.5:  # Three times as long as a client may take nothing at all.
                time.sleep(0.01)
        rest = len(read_to_end(stuck))

    assert received > LARGE
    assert rest < LARGE


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Its file and its key's."""
    files = make_tls_files(tmp_path_factory.mktemp("certificate") / "tls", None, (), system().now())
    return files.certificate, files.private_key


def test_tls_has_to_be_established_in_time(certificate: tuple[Path, Path]) -> None:
    with bounded_server(certificate=certificate, handshake_seconds=0.3, header_seconds=0.3) as started:
        with started.connect() as connected:
            assert b"" == drip(connected, bytes.fromhex("1603010200"), b"")

        trusting = ssl._create_unverified_context()
        with started.connect() as plain, trusting.wrap_socket(plain) as secure:
            assert [408] == statuses(drip(secure, b"GET", b" "))


def served(connected: socket.socket) -> bool:
    """Whether a request on it is answered; False if it was closed."""
    received = b""
    with contextlib.suppress(ConnectionError):
        connected.sendall(WHOLE)
        while not received.endswith(b"\r\n\r\n0") and (part := connected.recv(65536)):
            received += part
    return statuses(received) == [200]


def begin(connected: socket.socket) -> None:
    """Sends a request but for two bytes of its body, and waits until its handler is under way."""
    send(connected, PARTIAL[:-7] + b"\r\nexpect: 100-continue\r\n\r\n")
    assert [100] == read_statuses(connected, 1)
    send(connected, b"123")


def test_at_the_bound_the_connection_that_is_idle_for_longest_makes_room() -> None:
    with bounded_server(connections=3) as started, ExitStack() as stack:
        first, older, busy = (stack.enter_context(started.connect()) for _ in range(3))
        assert served(older)
        asked = time.monotonic()
        while time.monotonic() < asked + 0.01:  # The server's clock has milliseconds.
            assert served(first)
        begin(busy)

        assert served(stack.enter_context(started.connect()))
        assert b"" == older.recv(1)
        assert served(first)
        send(busy, b"45")
        assert [200] == read_statuses(busy, 1)


def test_if_none_is_idle_the_one_that_sends_its_header_for_longest_makes_room() -> None:
    with bounded_server(connections=3) as started, ExitStack() as stack:
        sending = [stack.enter_context(started.connect()) for _ in range(2)]
        for connected in sending:
            assert served(connected)
        send(sending[0], b"GET / HT")
        assert served(sending[1])
        send(sending[1], b"GET / HT")
        busy = stack.enter_context(started.connect())
        begin(busy)

        assert served(stack.enter_context(started.connect()))
        assert b"" == sending[0].recv(1)
        send(sending[1], b"TP/1.1\r\nhost: localhost\r\n\r\n")
        assert [200] == read_statuses(sending[1], 1)
        send(busy, b"45")
        assert [200] == read_statuses(busy, 1)


def test_if_none_can_make_room_the_newcomer_is_told_to_come_again() -> None:
    with bounded_server(connections=2) as started, ExitStack() as stack:
        busy = [stack.enter_context(started.connect()) for _ in range(2)]
        for connected in busy:
            begin(connected)
        newcomer = stack.enter_context(started.connect())
        send(newcomer, WHOLE)
        received = read_to_end(newcomer)

        assert [503] == statuses(received)
        assert "ServiceUnavailable" == code(received)
        assert b"\r\nretry-after: 1\r\n" in received
        send(busy[0], b"45")
        assert [200] == read_statuses(busy[0], 1)
        eventually("a newcomer is served", lambda: served(stack.enter_context(started.connect())))


def test_a_crowd_of_newcomers_is_turned_away_without_holding_files() -> None:
    with bounded_server(connections=1) as started, ExitStack() as stack:
        busy = stack.enter_context(started.connect())
        begin(busy)
        newcomers = [stack.enter_context(started.connect()) for _ in range(300)]
        answers = [statuses(read_to_end(connected)) for connected in newcomers]
        send(busy, b"45")

        assert [200] == read_statuses(busy, 1)
        assert {(503,), ()} == {tuple(answer) for answer in answers}


def test_the_bound_of_connections_fits_the_limit_of_open_files() -> None:
    with bounded_server(open_files=RESERVE + 20) as started, ExitStack() as stack:
        newest = [stack.enter_context(started.connect()) for _ in range(100)][-1]
        assert served(newest)
    assert f"Of 8192 connections a worker takes 20: the limit of open files (ulimit -n) is {RESERVE + 20}.\n" == (
        started.said
    )


@pytest.mark.long
def test_a_crowd_that_idles_and_drips_keeps_nobody_from_being_served(server: RunningServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * CROWD)), hard))
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(server)) for _ in range(CROWD)]
        dripping = crowd[::2]
        answers = []
        for byte in itertools.islice(itertools.cycle(GET[:6]), 6):
            for connected in dripping:
                send(connected, bytes([byte]))
            answers += [create(server).status for _ in range(5)]
        for connected in crowd:
            connected.setblocking(False)
        still_open = sum(is_open(connected) for connected in crowd)

    assert [201] * 30 == answers
    assert CROWD == still_open


def is_open(connected: socket.socket) -> bool:
    """Whether the other side has neither said anything nor closed; the socket does not block."""
    try:
        connected.recv(1)
    except BlockingIOError:
        return True
    return False
