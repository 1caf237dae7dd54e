"""A subject's server while it runs: its processes, its folder, what it printed, what it has used."""

import http.client
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
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
    """What all processes of a server have used, also those that left its session, as PostgreSQL's do.

    CPU seconds since the server's start; now, bytes of memory, where what processes share counts once, and resident
    bytes of the largest process.
    """

    cpu: float
    memory: int
    resident: int


class StartError(Exception):
    """The server did not start."""


@dataclass(frozen=True)
class Server:
    """A started server, the leader of a session that holds all its processes."""

    place: Place
    process: subprocess.Popen[bytes]

    def output(self) -> str:
        return (self.place.folder / "output").read_text(errors="replace")

    def cpu(self) -> float:
        """CPU seconds since its start, as `usage` has them, without a look at its memory, which takes longer."""
        return _cpu(dict(_descendants(self.process.pid)))

    def usage(self) -> Usage:
        """A process that has ended counts through the parent that waited for it."""
        found = dict(_descendants(self.process.pid))
        largest = max((int(fields[21]) * PAGE for fields in found.values()), default=0)
        return Usage(_cpu(found), _memory(found), largest)

    def settle(self, seconds: float) -> None:
        """Waits until every process is at rest: no CPU used for 0.3 s, or `seconds` gone."""
        deadline = time.monotonic() + seconds
        before = self.cpu()
        while time.monotonic() < deadline:
            time.sleep(0.3)
            now = self.cpu()
            if now - before < 1.5 * CLOCK_TICK:  # One tick can be chance.
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


def _descendants(leader: int) -> Iterator[tuple[int, list[str]]]:
    """The leader, what it started and what they started, with proc(5)'s stat from the state on.

    In that, 1 is the parent, 11 to 14 are CPU ticks, 21 is resident pages.
    """
    every: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # It ended meanwhile.
            every[int(path.parent.name)] = path.read_text(errors="replace").rpartition(")")[2].split()
    generation = [leader]
    while generation:
        yield from ((process, every[process]) for process in generation if process in every)
        generation = [process for process, fields in every.items() if int(fields[1]) in generation]


def _cpu(found: Mapping[int, list[str]]) -> float:
    """Seconds that they and those they waited for have used."""
    return sum(int(tick) for fields in found.values() for tick in fields[11:15]) * CLOCK_TICK


def _memory(processes: Iterable[int]) -> int:
    """Bytes, where what they share counts once. It does not matter whether others share it too, as it would to Pss."""
    private, shared = 0, dict[str, int]()
    for process in processes:
        with suppress(OSError):
            for place, rss, own in mappings(Path(f"/proc/{process}/smaps").read_text(errors="replace")):
                private += own
                shared[place] = max(shared.get(place, 0), rss - own)
    return private + sum(shared.values())


def mappings(smaps: str) -> Iterator[tuple[str, int, int]]:
    """Of each mapping in proc(5)'s smaps what it maps, and bytes that are resident and that nobody else maps.

    A file is told by its device, inode and offset, other memory by its address: a child has its parent's at the same.
    """
    for text in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", smaps, flags=re.MULTILINE)[1:]:
        address, _, offset, device, inode = text.split(maxsplit=5)[:5]
        sizes = {name: int(size) * 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}
        own = sizes.get("Private_Clean", 0) + sizes.get("Private_Dirty", 0)
        yield f"{device} {inode} {offset}" if inode != "0" else address, sizes.get("Rss", 0), own


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
    return exchange_over(http.client.HTTPConnection("127.0.0.1", request.port, timeout=10), request)


def exchange_over(connection: http.client.HTTPConnection, request: Request) -> Answer:
    """The same over a connection that is not open yet; it is closed afterwards."""
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
