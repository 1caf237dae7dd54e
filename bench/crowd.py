"""Measures Create at 16 connections with a crowd of idle and slow connections beside them: `python -m bench.crowd`.

Each round measures it without the crowd and with it, on one server and one after the other, first the one and then the
other way round: the machine's speed moves between rounds, so it is within a round that the two are compared. Half of
the crowd has had one answer and idles; half sends a header, a byte a second. Whom the server closes comes again.
"""

import argparse
import itertools
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import machine, report
from bench.environment import BUILD
from bench.load import Load, press
from bench.measure import fault_of, wait_until_ready, warm_up
from bench.run import fail
from bench.server import Place, Server, exchange, free_port, running
from bench.subjects import SUBJECTS

CONNECTIONS = 16
HEADER = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n"
TURNS = 50  # a second
DRIP = b"X: " + b"y" * 1000
HEAD = ("crowd", "creates/s", "p50 ms", "p99 ms", "p99 min-max")
MINTMARK = SUBJECTS[0]


@dataclass(frozen=True)
class Round:
    """The same load without the crowd and with it."""

    alone: Load
    crowded: Load


class Member:
    """One connection of the crowd."""

    def __init__(self, port: int, *, drips: bool) -> None:
        self._port, self._drips = port, drips
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port))
        self._socket.sendall(HEADER if self._drips else HEADER + b"\r\n")
        self._socket.setblocking(False)
        self._sent = 0

    def live(self) -> None:
        """A second of its life: at most a byte more, and a new connection if the server has closed."""
        try:
            while part := self._socket.recv(65536):
                pass
        except BlockingIOError:
            part = b"open"
        except ConnectionError:
            part = b""
        if not part:
            self.close()
            self._connect()
        elif self._drips:
            with suppress(OSError):
                self._socket.send(DRIP[self._sent : self._sent + 1])
            self._sent += 1

    def close(self) -> None:
        self._socket.close()


@contextmanager
def crowd(port: int, size: int) -> Iterator[None]:
    """So many connections, from before to after."""
    members = [Member(port, drips=bool(number % 2)) for number in range(size)]
    over = threading.Event()

    def live() -> None:
        for turn in itertools.count():  # Spread over the second, as strangers would be.
            began = time.monotonic()
            for member in members[turn % TURNS :: TURNS]:
                member.live()
            if over.wait(max(0, began + 1 / TURNS - time.monotonic())):
                return

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for member in members:
            member.close()


def measure_rounds(server: Server, rounds: int, seconds: int, size: int) -> Iterator[Round]:
    """One after the other; every second one begins with the crowd."""

    def load() -> Load:
        request = MINTMARK.request(server)
        expected = len(exchange(request).body)
        measured = press(request, CONNECTIONS, seconds, server.place.folder)
        if fault := fault_of(measured, expected):
            print(f"invalid: {fault}", file=sys.stderr)
        return measured

    def crowded() -> Load:
        with crowd(MINTMARK.request(server).port, size):
            return load()

    for number in range(rounds):
        if number % 2:
            with_crowd, without = crowded(), load()
        else:
            without, with_crowd = load(), crowded()
        print(f"round {number + 1} of {rounds}: p99 {without.p99_ms} ms, {with_crowd.p99_ms} ms", file=sys.stderr)
        yield Round(without, with_crowd)


def table(rounds: Sequence[Round], size: int) -> list[tuple[str, ...]]:
    """Medians over the rounds; the last row is the median of what each round's two differ by."""
    pairs = ((0, [each.alone for each in rounds]), (size, [each.crowded for each in rounds]))
    rows = [
        (
            f"{count:,}",
            f"{median(load.rate for load in loads):,.0f}",
            f"{median(load.p50_ms for load in loads):.2f}",
            f"{median(load.p99_ms for load in loads):.2f}",
            f"{min(load.p99_ms for load in loads):.2f}-{max(load.p99_ms for load in loads):.2f}",
        )
        for count, loads in pairs
    ]
    ratios = (
        f"{median(each.crowded.rate / each.alone.rate for each in rounds):.2f}",
        f"{median(each.crowded.p50_ms / each.alone.p50_ms for each in rounds):.2f}",
        f"{median(each.crowded.p99_ms / each.alone.p99_ms for each in rounds):.2f}",
    )
    return [HEAD, *rows, ("ratio", *ratios, "")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="bench.crowd", description="Measures Create beside a crowd of connections.")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=3, help="of load for each measurement (default 3)")
    parser.add_argument("--crowd", type=int, default=2000, help="connections (default 2000)")
    parser.add_argument("--workers", type=int, default=1, help="default 1")
    parser.add_argument("--data", type=Path, default=BUILD, help="folder for data, on a disk (default build)")
    options = parser.parse_args(arguments)
    if reason := machine.hindrance(options.data):
        return fail(reason)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as folder:
        place = Place(Path(folder).resolve(), free_port(), options.workers)
        with running(MINTMARK.start(place), place) as server:
            wait_until_ready(MINTMARK, server)
            warm_up(MINTMARK, server, CONNECTIONS)
            rounds = list(measure_rounds(server, options.rounds, options.seconds, options.crowd))
    print(machine.describe(options.data), report.aligned(table(rounds, options.crowd)), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
