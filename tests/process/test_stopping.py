"""How `mintmark dev` ends: asked to, killed, and worker by worker."""

import errno
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from calls import ask, create, create_bytes, holds
from process.watching import alive, await_end, await_pause, children, eventually
from running import FREE_PORTS, MINTMARK, RunningServer, running_server

SECONDS = 20
SOON = 5  # seconds, well below those that requests in flight are given


@contextmanager
def connection(server: RunningServer, address: str) -> Iterator[socket.socket]:
    """A connection to a listener, with TLS where it asks for that."""
    parts = urlsplit(address)
    assert parts.hostname
    with socket.create_connection((parts.hostname, parts.port or 0), SECONDS) as plain:
        if parts.scheme == "http":
            yield plain
            return
        trusting = ssl.create_default_context(cafile=server.ca)
        with trusting.wrap_socket(plain, server_hostname=parts.hostname) as secure:
            yield secure


def receive_answer(connected: socket.socket) -> bytes:
    """One answer with the body that it announces."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _more(connected)
    head, _, body = answer.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length:")]
    while len(body) < sum(lengths):
        body += _more(connected)
    return head + b"\r\n\r\n" + body


def _more(connected: socket.socket) -> bytes:
    part = connected.recv(65536)
    assert part, "the connection ended within an answer"
    return part


def begin_create(connected: socket.socket, address: str) -> bytes:
    """Sends a Create but for the end of its body, waits until its handler asks for that, and answers it."""
    head, _, body = create_bytes(address).partition(b"\r\n\r\n")
    connected.sendall(head + b"\r\nexpect: 100-continue\r\n\r\n")
    assert receive_answer(connected).startswith(b"HTTP/1.1 100 ")
    connected.sendall(body[:10])
    return body[10:]


@pytest.fixture(scope="module", autouse=True)
def stubborn() -> Iterator[RunningServer]:
    """A server asked to stop that has a request in flight which never ends: asked first, since it takes its time."""
    with running_server("--ephemeral") as server, connection(server, server.http_endpoint) as never_ending:
        begin_create(never_ending, server.http_endpoint)
        server.process.send_signal(signal.SIGTERM)
        yield server


def test_a_server_that_finishes_requests_takes_no_new_connections(stubborn: RunningServer) -> None:
    """Else a proxy would wait for an answer that never comes, instead of asking another node."""
    parts = urlsplit(stubborn.http_endpoint)

    def is_refused() -> bool:
        with socket.socket() as connecting:
            return connecting.connect_ex((parts.hostname or "", parts.port or 0)) == errno.ECONNREFUSED

    assert stubborn.process.poll() is None
    eventually("connections are refused", is_refused, SOON)


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.long)],
    ids=lambda number: number.name,
)
def test_a_stop_leaves_no_process_and_no_ephemeral_data(number: signal.Signals, tmp_path: Path) -> None:
    with running_server("--ephemeral", "--workers", "2", environ={"TMPDIR": str(tmp_path)}) as server:
        assert 201 == create(server).status
        workers = children(server.process.pid)
        status = server.stop(number)

    assert 0 == status
    assert 2 == len(workers)
    assert set() == alive(workers)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_stop_during_the_start_leaves_nothing_either(number: signal.Signals, tmp_path: Path) -> None:
    command = [*MINTMARK, "dev", *FREE_PORTS, "--ephemeral", "--workers", "2"]
    with subprocess.Popen(
        command,
        env={"PATH": "", "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        _, said = process.communicate(timeout=SECONDS)

    assert "Traceback" not in said
    assert ["home"] == [path.name for path in tmp_path.iterdir()]


# A parent that is told to stop just as it begins to listen to signals.
TOLD_EARLY = """
import os, signal, sys
from mintmark.supervisor import Supervisor

def worker(number, alive, ready):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    os.write(ready, b"1")
    while True:
        signal.pause()

def wake_late(descriptor, **options):
    signal.set_wakeup_fd = set_wakeup_fd
    os.kill(os.getpid(), signal.SIGTERM)
    return set_wakeup_fd(descriptor, **options)

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
set_wakeup_fd, signal.set_wakeup_fd = signal.set_wakeup_fd, wake_late
Supervisor(worker, 1).run(lambda: None)
"""


def test_a_signal_is_not_lost_between_one_handler_and_the_next() -> None:
    ended = subprocess.run([sys.executable, "-c", TOLD_EARLY], check=False, timeout=SECONDS, capture_output=True)

    assert (0, b"") == (ended.returncode, ended.stderr)


def test_requests_in_flight_are_finished(tmp_path: Path) -> None:
    with running_server("--data", str(tmp_path / "data")) as server, ExitStack() as stack:
        addresses = [server.http_endpoint, server.https_endpoint] * 4
        connections = [stack.enter_context(connection(server, address)) for address in addresses]
        rests = [begin_create(connected, address) for connected, address in zip(connections, addresses, strict=True)]
        idle = stack.enter_context(connection(server, server.http_endpoint))
        idle.sendall(create_bytes(server.http_endpoint))
        receive_answer(idle)

        server.process.send_signal(signal.SIGTERM)
        assert b"" == idle.recv(1), "the stop has begun when idle connections are closed"
        for connected, rest in zip(connections, rests, strict=True):
            connected.sendall(rest)
        answers = [receive_answer(connected) for connected in connections]
        stack.close()
        status = server.process.wait(SECONDS)

    assert [b"HTTP/1.1 201"] * 8 == [answer[:12] for answer in answers]
    assert all(b'"accessToken"' in answer for answer in answers)
    assert 0 == status


@pytest.mark.parametrize("scheme", [pytest.param("http", marks=pytest.mark.long), "https"])
def test_idle_connections_do_not_hold_up_the_stop(scheme: str) -> None:
    """As a program that keeps its SDK's connections open has them while it does something else."""
    with running_server("--ephemeral") as server, ExitStack() as stack:
        address = server.http_endpoint if scheme == "http" else server.https_endpoint
        for _ in range(3):
            idle = stack.enter_context(connection(server, address))
            idle.sendall(create_bytes(address))
            assert receive_answer(idle).startswith(b"HTTP/1.1 201")
        asked = time.monotonic()
        status = server.stop()
        took = time.monotonic() - asked

    assert 0 == status
    assert took < SOON


def _wants_more(step: Callable[[], object]) -> bool:
    try:
        step()
    except ssl.SSLWantReadError:
        return True
    return False


def test_a_tls_handshake_that_ends_during_the_stop_does_not_hold_it_up() -> None:
    with running_server("--ephemeral", "--workers", "1") as server, ExitStack() as stack:
        busy, idle = (stack.enter_context(connection(server, server.http_endpoint)) for _ in range(2))
        rest = begin_create(busy, server.http_endpoint)
        idle.sendall(create_bytes(server.http_endpoint))
        receive_answer(idle)
        parts = urlsplit(server.https_endpoint)
        plain = stack.enter_context(socket.create_connection((parts.hostname, parts.port or 0), SECONDS))
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        trusting = ssl.create_default_context(cafile=server.ca)
        late = trusting.wrap_bio(incoming, outgoing, server_hostname=parts.hostname)
        with pytest.raises(ssl.SSLWantReadError):
            late.do_handshake()
        plain.sendall(outgoing.read())
        incoming.write(plain.recv(65536))  # The server has taken up the handshake.

        server.process.send_signal(signal.SIGTERM)
        assert b"" == idle.recv(1), "the stop has begun when idle connections are closed"
        while _wants_more(late.do_handshake):
            incoming.write(_more(plain))
        plain.sendall(outgoing.read())
        asked = time.monotonic()
        while _wants_more(lambda: late.read(1)):
            incoming.write(_more(plain))
        assert b"" == late.read(1)
        busy.sendall(rest)
        assert receive_answer(busy).startswith(b"HTTP/1.1 201")
        busy.close()
        status = server.process.wait(SECONDS)
        took = time.monotonic() - asked

    assert 0 == status
    assert took < SOON


def test_asked_twice_it_stops_at_once() -> None:
    with running_server("--ephemeral") as server, ExitStack() as stack:
        stuck, idle = (stack.enter_context(connection(server, server.http_endpoint)) for _ in range(2))
        begin_create(stuck, server.http_endpoint)
        idle.sendall(create_bytes(server.http_endpoint))
        receive_answer(idle)
        asked = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert b"" == idle.recv(1), "the stop has begun when idle connections are closed"
        status = server.stop(signal.SIGINT)
        took = time.monotonic() - asked

    assert 0 == status
    assert took < SOON


def test_a_killed_parent_leaves_no_worker_and_sound_data(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"), "--workers", "2")
    with running_server(*data) as first:
        token = create(first).json["accessToken"]["token"]
        published = ask(first.http_endpoint, "/.well-known/jwks.json").json
        workers = children(first.process.pid)
        first.stop(signal.SIGKILL)
        await_end(workers)
    with running_server(*data) as second:
        assert published == ask(second.http_endpoint, "/.well-known/jwks.json").json
        assert holds(second, token)
        assert 201 == create(second).status

    assert 2 == len(workers)


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server("--ephemeral", "--workers", "2", stderr=tmp_path / "log") as server:
        assert 200 == ask(server.admin_endpoint, "/_mintmark/ready").status
        eventually("two workers run", lambda: len(children(server.process.pid)) == 2)
        yield server


def test_a_killed_worker_is_replaced_and_requests_go_on(two_workers: RunningServer, tmp_path: Path) -> None:
    parent = two_workers.process.pid
    for victim in sorted(children(parent)):
        os.kill(victim, signal.SIGKILL)
        await_end({victim})
        assert [201] * 3 == [create(two_workers).status for _ in range(3)]
        eventually("another takes its place", lambda: len(children(parent)) == 2)

    assert 200 == ask(two_workers.admin_endpoint, "/_mintmark/ready").status
    log = (tmp_path / "log").read_text()
    assert "Worker 0 ended (SIGKILL); starting another.\n" in log
    assert "Worker 1 ended (SIGKILL); starting another.\n" in log
    assert 0 == two_workers.stop()


def test_each_worker_serves_both_listeners(two_workers: RunningServer) -> None:
    """While one is stopped, only the other can answer."""
    for worker in children(two_workers.process.pid):
        os.kill(worker, signal.SIGSTOP)
        try:
            await_pause(worker)
            assert 201 == create(two_workers).status
            assert 201 == create(two_workers, two_workers.https_endpoint).status
        finally:
            os.kill(worker, signal.SIGCONT)


def test_a_request_that_never_ends_does_not_hold_up_the_stop_for_ever(stubborn: RunningServer) -> None:
    assert 0 == stubborn.process.wait(SECONDS)
