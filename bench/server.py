"""A subject's server while it runs: its processes, its folder, what it printed, what it has used."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CLOCK_TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
STOPPING = 15.0  # seconds a server has to stop by itself


@dataclass(frozen=True)
class Place:
    """Where a server is to run: an empty folder for its data, a port free a moment ago, a number of workers."""

    folder: Path
    port: int
    workers: int


@dataclass(frozen=True)
class Command:
    """What starts a server; `environment` is added to the benchmark's own."""

    arguments: list[str]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Request:
    """The request that is sent again and again, over plain HTTP to 127.0.0.1."""

    port: int
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """One answer, read whole; `keeps_open` tells whether the connection may be used again."""

    status: int
    body: bytes
    keeps_open: bool


@dataclass(frozen=True)
class Usage:
    """What all processes of a server have used: CPU seconds since its start, resident bytes of the largest now."""

    cpu: float
    resident: int


class StartError(Exception):
    """The server did not start."""


class NotReadyError(Exception):
    """The server has not yet said where it listens."""


@dataclass(frozen=True)
class Server:
    """A started server, the leader of a session that holds all its processes."""

    place: Place
    process: subprocess.Popen[bytes]

    def printed(self) -> dict[str, str]:
        """The NAME=value lines that it has printed so far."""
        lines = self.output().splitlines()
        return {name: value for name, found, value in (line.partition("=") for line in lines) if found}

    def output(self) -> str:
        return (self.place.folder / "output").read_text(errors="replace")

    def usage(self) -> Usage:
        """Summed over the session's processes; a worker that has ended counts through the parent that waited for it."""
        found = [fields for fields in _statistics() if int(fields[3]) == self.process.pid]
        ticks = sum(int(tick) for fields in found for tick in fields[11:15])
        return Usage(ticks * CLOCK_TICK, max((int(fields[21]) * PAGE for fields in found), default=0))

    def settle(self, seconds: float) -> None:
        """Waits until start-up is over in every worker: no CPU used for 0.3 s, or `seconds` gone."""
        deadline = time.monotonic() + seconds
        before = self.usage().cpu
        while time.monotonic() < deadline:
            time.sleep(0.3)
            now = self.usage().cpu
            if now - before <= CLOCK_TICK:
                return
            before = now

    def stop(self) -> None:
        """Asks it to stop, then ends what is left of its session's first process group."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOPPING)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _statistics() -> Iterator[list[str]]:
    """proc(5)'s stat of every process, from its state on: 3 is the session, 11 to 14 CPU ticks, 21 resident pages."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # It ended meanwhile.
            yield path.read_text(errors="replace").rpartition(")")[2].split()


@contextmanager
def running(command: Command, place: Place) -> Iterator[Server]:
    """Starts the command in its place, temporary files included, and stops it in the end."""
    environment = {**os.environ, "TMPDIR": str(place.folder), **command.environment}
    with (place.folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command.arguments,
            cwd=place.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(place, process)
    try:
        yield server
    finally:
        server.stop()


def exchange(request: Request) -> Answer:
    """Sends the request once. Raises OSError or HTTPException where no answer comes."""
    connection = http.client.HTTPConnection("127.0.0.1", request.port, timeout=10)
    try:
        connection.request(request.method, request.target, request.body or None, dict(request.headers))
        response = connection.getresponse()
        return Answer(response.status, response.read(), not response.will_close)
    finally:
        connection.close()


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
