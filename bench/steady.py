"""Whether Mintmark starts fast and stays small: `python -m bench.steady` loads it for ten minutes.

It prints how long the server took from its start to its first answer, and then the rate of Create and the resident
memory of its largest process, slice by slice.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from statistics import median

from bench import machine, report
from bench.environment import BUILD
from bench.load import press
from bench.measure import fault_of, wait_until_ready
from bench.run import fail
from bench.served import start
from bench.server import Place, Request, Server, StartError, exchange, free_port, running
from bench.subjects import SUBJECTS

CONNECTIONS, SLICE, STARTS = 64, 30, 7
MINTMARK = SUBJECTS[0]
MOST_SECONDS, MOST_MEGABYTES, MOST_GROWTH = 1.0, 90, 1.05  # the last: of the second slice's memory


def seconds_until_ready(folder: Path, workers: int) -> float:
    """From the start of the command to the first answer; from the second time on there are data."""
    place = Place(folder, free_port(), workers)
    command, began = start(place), time.monotonic()
    with running(command, place) as server:
        while not _answers(place.port):
            if server.process.poll() is not None:
                raise StartError(server.output())
            time.sleep(0.002)
        return time.monotonic() - began


def _answers(port: int) -> bool:
    try:
        exchange(Request(port, "GET", "/.well-known/jwks.json", {}, b""))
    except (OSError, HTTPException):
        return False
    return True


def slices(server: Server, seconds: int) -> Iterator[tuple[int, float, float]]:
    """After each slice: seconds of load so far, creates a second, and megabytes of the largest process."""
    size = len(exchange(MINTMARK.request(server)).body)
    for end in range(SLICE, seconds + 1, SLICE):
        load = press(MINTMARK.request(server), CONNECTIONS, SLICE, server.place.folder)
        if fault := fault_of(load, size):
            raise StartError(fault)
        yield end, load.rate, server.usage().resident / 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 if it starts in time and its memory stays within bounds, 1 if not, 2 if nothing can be measured."""
    parser = argparse.ArgumentParser(prog="bench.steady", description="Measures the start, and memory under load.")
    parser.add_argument("--seconds", type=int, default=600, help="of load (default 600)")
    parser.add_argument("--workers", type=int, default=2, help="default 2")
    parser.add_argument("--data", type=Path, default=BUILD, help="folder for data, on a disk (default build)")
    options = parser.parse_args(arguments)
    if reason := machine.hindrance(options.data):
        return fail(reason)
    print(machine.describe(options.data), end="\n\n")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as name:
        folder = Path(name).resolve()
        starts = sorted(seconds_until_ready(folder, options.workers) for _ in range(STARTS))
        print(f"ready after {median(starts):.2f} s ({starts[0]:.2f}-{starts[-1]:.2f}) of {STARTS} starts", end="\n\n")
        place = Place(folder, free_port(), options.workers)
        with running(MINTMARK.start(place), place) as server:
            wait_until_ready(MINTMARK, server)
            found = list(slices(server, options.seconds))
    rows = [(f"{end} s", f"{rate:,.0f}", f"{megabytes:.1f}") for end, rate, megabytes in found]
    print(report.aligned([("after", "creates/s", "MB"), *rows]))
    largest = [megabytes for _, _, megabytes in found]
    is_flat = largest[-1] <= MOST_GROWTH * largest[min(1, len(largest) - 1)]
    return 0 if median(starts) < MOST_SECONDS and max(largest) < MOST_MEGABYTES and is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
