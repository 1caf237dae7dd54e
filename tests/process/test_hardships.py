"""What the world does to a server: its output is not read, its files vanish, its disk fills, clients hang up."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

import apsw
import pytest

from builders import signed_headers
from calls import ask, create
from disks import small_disk
from mintmark.sources import system
from process.calling import signed
from process.watching import children, eventually
from running import FREE_PORTS, MINTMARK, RunningServer, _read_variables, running_server

TARGET = "/identities?api-version=2023-10-01"


def ready(server: RunningServer) -> int:
    return ask(server.admin_endpoint, "/_mintmark/ready").status


@pytest.fixture
def unread() -> Iterator[RunningServer]:
    """A server whose standard error is a pipe that nobody reads."""
    process = subprocess.Popen(
        [*MINTMARK, "dev", *FREE_PORTS, "--ephemeral"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    yield RunningServer(process, _read_variables(process))
    process.terminate()
    process.communicate(timeout=20)


@pytest.mark.long
def test_output_that_nobody_reads_does_not_stop_the_server(unread: RunningServer) -> None:
    address = urlsplit(unread.http_endpoint)
    connection = HTTPConnection("127.0.0.1", address.port or 0, timeout=5)
    for _ in range(3000):  # More lines than a pipe holds.
        connection.request("GET", "/.well-known/jwks.json")
        assert connection.getresponse().read()
    connection.close()

    assert 0 == unread.stop()


def test_a_request_from_a_client_that_has_finished_sending_is_answered(server: RunningServer) -> None:
    address = urlsplit(server.http_endpoint)
    host = f"localhost:{address.port}"
    headers = signed_headers("POST", TARGET, now=system().now(), host=host)
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", address.port or 0), timeout=5) as connection:
            connection.sendall(f"POST {TARGET} HTTP/1.1\r\n".encode() + head + b"\r\n")
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while piece := connection.recv(65536):
                received += piece

        assert received.startswith(b"HTTP/1.1 201 ")


def test_data_removed_under_a_running_server_is_not_acknowledged_into(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_server("--data", str(tmp_path / "data"), stderr=log) as started:
        assert 201 == create(started).status
        shutil.rmtree(tmp_path / "data")

        refused = create(started)

        assert 503 == refused.status
        assert "1" == refused.headers["retry-after"]
        eventually("it is logged", lambda: "was removed or replaced" in log.read_text())


def test_what_is_damaged_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    database, log = tmp_path / "data" / "mintmark.db", tmp_path / "log"
    with running_server("--data", str(tmp_path / "data")) as started:
        path = f"/identities/{quote(create(started).json['identity']['id'], safe='')}"
    with closing(apsw.Connection(os.fspath(database))) as opened:
        root, size = opened.execute(
            "select rootpage, page_size from sqlite_schema, pragma_page_size where name = 'identity_changed'"
        ).get
    with database.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)

    with running_server("--data", str(tmp_path / "data"), stderr=log) as started:
        assert 503 == signed(started, "DELETE", path).status
        assert 201 == create(started).status
        eventually("it is logged", lambda: "malformed" in log.read_text())
        assert "Traceback" not in log.read_text()


@pytest.mark.long
def test_a_worker_that_cannot_start_does_not_stop_the_others_and_is_tried_again(tmp_path: Path) -> None:
    log, tls = tmp_path / "log", tmp_path / "data" / "tls"
    with running_server("--data", str(tmp_path / "data"), "--workers", "2", stderr=log) as started:
        eventually("ready", lambda: ready(started) == 200)
        tls.rename(tmp_path / "away")
        other = max(children(started.process.pid))  # The first one has the admin listener.
        os.kill(other, signal.SIGKILL)

        eventually("it is tried", lambda: log.read_text().count("Worker 1 ended (exit status 1)") > 1)
        assert 201 == create(started).status
        (tmp_path / "away").rename(tls)
        eventually("it serves again", lambda: len(children(started.process.pid)) == 2)
        assert 0 == started.stop()


def test_a_worker_that_cannot_serve_says_why_and_does_not_linger(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_server("--data", str(tmp_path / "data"), stderr=log) as started:
        eventually("ready", lambda: ready(started) == 200)
        shutil.rmtree(tmp_path / "data" / "tls")
        (worker,) = children(started.process.pid)
        os.kill(worker, signal.SIGKILL)

        assert 2 == started.process.wait(20)
        assert "Workers end as soon as they start" in log.read_text()
        assert "cannot be used: No such file or directory." in log.read_text()


@pytest.mark.root
def test_a_full_disk_is_said_and_recovered_from(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        small_disk(tmp_path / "disk", "2m") as disk,
        running_server("--data", str(disk.folder / "data"), stderr=log) as started,
    ):
        eventually("ready", lambda: ready(started) == 200)
        disk.fill()
        statuses = [create(started).status for _ in range(400)]
        assert 503 == statuses[-1]
        eventually("it is logged", lambda: "full" in log.read_text())
        assert 503 == ready(started)
        disk.free()
        eventually("ready", lambda: ready(started) == 200)

        assert 201 == create(started).status
