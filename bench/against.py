"""Whether a change makes the server faster: `python -m bench.against FOLDER` holds this checkout against another one.

Both servers run, and short loads on them take turns, so that what is compared is a second apart: the machine's speed
moves from minute to minute. What counts is the ratio within a round. Linux only, with wrk installed.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from statistics import median, quantiles

from bench import machine, report
from bench.environment import BUILD, CHECKOUT
from bench.load import Load, LoadError, press, send
from bench.measure import RESTING, fault_of, wait_until_ready, warm_up
from bench.run import fail
from bench.server import Command, Place, Server, StartError, free_port, running
from bench.subjects import SUBJECTS, get

MINTMARK = SUBJECTS[0]
REQUESTS = {**{name: operation.request for name, operation in MINTMARK.operations.items()}, "get": get}
HEAD = ("operation", "conns", "here", "there", "ratio", "quartiles", "CPU µs here", "CPU µs there")


@dataclass(frozen=True)
class Pair:
    """One round: a load on the server of this checkout and one on the other's, each with CPU seconds for a request."""

    operation: str
    connections: int
    here: Load
    there: Load
    here_cpu: float
    there_cpu: float


def start(checkout: Path, place: Place) -> Command:
    """The server of that checkout; everything else is this one's."""
    command = MINTMARK.start(place)
    return replace(command, environment={**command.environment, "PYTHONPATH": f"{checkout / 'src'}:{CHECKOUT}"})


def measure(server: Server, operation: str, connections: int, seconds: int) -> tuple[Load, float]:
    """A load, and CPU seconds for one request. Raises LoadError where it is not valid."""
    request = REQUESTS[operation](server)
    size, before = len(send(request).body), server.cpu()
    load = press(request, connections, seconds, server.place.folder)
    if fault := fault_of(load, size):
        raise LoadError(fault)
    used = server.cpu() - before
    server.settle(RESTING)
    return load, used / load.requests


def pairs(servers: Mapping[str, Server], options: argparse.Namespace) -> Iterator[Pair]:
    """Round by round, whoever comes first by chance."""
    for operation in options.operations:
        for connections in options.connections:
            for _ in range(options.rounds):
                found = {
                    name: measure(servers[name], operation, connections, options.seconds)
                    for name in random.sample(list(servers), len(servers))
                }
                (here, here_cpu), (there, there_cpu) = found["here"], found["there"]
                yield Pair(operation, connections, here, there, here_cpu, there_cpu)


def table(measured: Sequence[Pair]) -> list[tuple[str, ...]]:
    """Medians over the rounds, and the quartiles of the ratio: half of the rounds lie between."""
    rows = []
    for operation, connections in dict.fromkeys((pair.operation, pair.connections) for pair in measured):
        own = [pair for pair in measured if (pair.operation, pair.connections) == (operation, connections)]
        ratios = [pair.here.rate / pair.there.rate for pair in own]
        low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        rows.append(
            (
                operation,
                str(connections),
                f"{median(pair.here.rate for pair in own):,.0f}",
                f"{median(pair.there.rate for pair in own):,.0f}",
                f"{median(ratios):.2f}",
                f"{low:.2f}-{high:.2f}",
                f"{median(pair.here_cpu for pair in own) * 1e6:,.0f}",
                f"{median(pair.there_cpu for pair in own) * 1e6:,.0f}",
            )
        )
    return [HEAD, *rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table. Exit status 0, or 2 where nothing can be measured."""
    parser = argparse.ArgumentParser(prog="bench.against", description="Holds this checkout against another one.")
    parser.add_argument("folder", type=Path, help="the other checkout, whose dependencies are the same")
    parser.add_argument("--operations", type=lambda text: text.split(","), default=list(REQUESTS), help="default all")
    parser.add_argument("--connections", type=lambda text: [int(count) for count in text.split(",")], default=[16, 64])
    parser.add_argument("--workers", type=int, default=2, help="default 2")
    parser.add_argument("--rounds", type=int, default=12, help="default 12")
    parser.add_argument("--seconds", type=int, default=1, help="of each load (default 1)")
    parser.add_argument("--data", type=Path, default=BUILD, help="folder for data, on a disk (default build)")
    options = parser.parse_args(arguments)
    if unknown := set(options.operations) - set(REQUESTS):
        return fail(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(REQUESTS)}")
    if not (options.folder / "src" / "mintmark").is_dir():
        return fail(f"{options.folder} is no checkout of Mintmark: it has no src/mintmark.")
    if reason := machine.hindrance(options.data):
        return fail(reason)
    servers: dict[str, Server] = {}
    try:
        with ExitStack() as stack:
            for name, checkout in (("here", CHECKOUT), ("there", options.folder.resolve())):
                made = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=options.data))
                place = Place(Path(made).resolve(), free_port(), options.workers)
                servers[name] = stack.enter_context(running(start(checkout, place), place))
                wait_until_ready(MINTMARK, servers[name])
                warm_up(MINTMARK, servers[name], max(options.connections))
            measured = list(pairs(servers, options))
    except (StartError, LoadError, OSError, HTTPException) as error:
        return fail(f"{type(error).__name__}: {error}")
    print(machine.describe(options.data), report.aligned(table(measured)), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
