"""What workers log themselves: nobody needs to read it, clients cannot flood it, and last words get out."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from calls import create
from process.bounded_server import bounded_server
from process.raw import connect, read_to_end, statuses
from process.watching import eventually
from running import running_server

GARBAGE = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"  # as a TLS client begins
SECONDS = 20
WARNING = re.compile(r"What arrived is no HTTP/1\.1 .* Connections: (\d+)\.")
FAILING = """
import os
from mintmark.supervisor import Supervisor
from mintmark.worker import run_worker

async def build():
    raise ValueError("this is why")

def main(number, parent, ready):
    run_worker(build, parent, ready)

Supervisor(main, 1).run(lambda: None)
"""


@pytest.fixture
def unread(tmp_path: Path) -> Iterator[Path]:
    """A pipe that is open for reading, but nobody reads it."""
    path = tmp_path / "log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path
    os.close(reader)


def fill(path: Path) -> None:
    """Writes into the pipe until it takes nothing more."""
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    for size in (select.PIPE_BUF, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(writer, b"\n" * size)
    os.close(writer)


@pytest.mark.long
def test_a_server_whose_log_nobody_reads_serves_and_can_be_stopped(unread: Path) -> None:
    with running_server("--ephemeral", stderr=unread) as server:
        fill(unread)
        for _ in range(3):
            assert 201 == create(server).status
            with connect(server) as client:
                client.sendall(GARBAGE)
                assert [400] == statuses(read_to_end(client))

        assert 0 == server.stop()


@pytest.mark.long
def test_clients_that_speak_no_http_are_warned_of_once_a_second_with_their_number(tmp_path: Path) -> None:
    log, count = tmp_path / "log", 50

    def counts() -> list[int]:
        return [int(number) for number in WARNING.findall(log.read_text())]

    with running_server("--ephemeral", stderr=log) as server:
        begin = time.monotonic()
        for _ in range(count):
            with connect(server) as client:
                client.sendall(GARBAGE)
                assert [400] == statuses(read_to_end(client))
        eventually("all are counted", lambda: sum(counts()) == count)
        seconds = time.monotonic() - begin

    assert 1 == counts()[0]
    assert len(counts()) <= seconds + 2


def test_a_worker_that_fails_says_why() -> None:
    done = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=SECONDS, check=False)

    assert done.returncode
    assert 3 == done.stderr.count("A worker failed.\nTraceback")
    assert 3 == done.stderr.count("ValueError: this is why\n")


def test_what_is_logged_just_before_the_stop_is_written() -> None:
    with bounded_server() as server:
        with server.connect() as client:
            client.sendall(GARBAGE)
            assert [400] == statuses(read_to_end(client))
        server.stop()

    assert [1] == [int(number) for number in WARNING.findall(server.said)]
