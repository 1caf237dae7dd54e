"""Measures what becomes of requests when far more come than can be answered: `python -m bench.overload`.

The server's capacity is made small: one worker, whose signatures take 10 ms longer (`bench.slowed`). So one client can
send ten times as much. Its requests leave at their times, whatever comes back, as those of many strangers would: a
client that waits for its answers would slow down with the server, and hide the overload. Linux with wrk only.
"""

import argparse
import asyncio
import math
import random
import re
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import uvloop

from bench import machine, plot, report, served
from bench.environment import BUILD, CHECKOUT
from bench.growth_load import raw
from bench.load import LoadError, press
from bench.measure import wait_until_ready, warm_up
from bench.run import fail
from bench.server import Place, Request, Server, StartError, free_port, running
from bench.subjects import SUBJECTS

PAGE = CHECKOUT / "docs" / "why" / "overload.md"
PICTURE = CHECKOUT / "docs" / "images" / "overload"
BEGIN, END = "<!-- written by python -m bench.overload --write -->", "<!-- end of what is written -->"
SLOWED = replace(SUBJECTS[0], name="slowed", start=partial(served.start, module="bench.slowed"))

FEW_CONNECTIONS = 4  # keep the worker busy, and none of their requests waits for so long that it is shed
MOST_CONNECTIONS = 1000
GRACE = 10.0  # seconds after the last request in which answers still count

GOODPUT = 0.9  # of the peak
SLOWER = 5.0  # times the usual p99
RECOVERY = 5.0  # seconds
AS_USUAL = 1.5  # times the usual p99, in a second that counts as recovered

HEAD = ("phase", "offered/s", "served/s", "shed/s", "failed", "p50 ms", "p99 ms", "shed p50 ms")
NOTES = (
    "offered, failed, p50, p99: by when requests should have left; served, shed: by when answers came.\n"
    "failed: neither served nor shed with Retry-After. p50, p99: of the served; time begins when a request should\n"
    "have left.\n"
    "recovery: from the end of the overload to the first second without a 503 and with a p99 near the usual."
)


@dataclass(frozen=True)
class Phase:
    """A part of the run: `load` is in multiples of the server's capacity."""

    name: str
    load: float
    seconds: int


@dataclass(frozen=True)
class Outcome:
    """What came of one request.

    `due` is when it should have left, in seconds of the run; `latency` how long after that its answer was whole. Status
    0 where no answer came.
    """

    due: float
    latency: float
    status: int
    has_retry_after: bool = False

    @property
    def is_served(self) -> bool:
        return self.status == 201

    @property
    def is_shed(self) -> bool:
        """Refused as it should be: 503, and told when to come again."""
        return self.status == 503 and self.has_retry_after


@dataclass(frozen=True)
class Run:
    """All that was measured. `peak` is in identities a second; `cpu` has the server's seconds of CPU time by phase."""

    peak: float
    phases: Sequence[Phase]
    outcomes: Sequence[Outcome]
    cpu: Sequence[float]

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """In which second each phase begins and ends."""
        ends = list(accumulate(phase.seconds for phase in self.phases))
        return list(zip([0, *ends], ends, strict=False))

    @property
    def goodput(self) -> float:
        """What was served in the overload, as a part of the peak."""
        return self.counts(*self.bounds[1])[0] / self.phases[1].seconds / self.peak

    def within(self, begin: float, end: float) -> list[Outcome]:
        """Of the requests that should have left in that time."""
        return [outcome for outcome in self.outcomes if begin <= outcome.due < end]

    def answered(self, begin: float, end: float) -> list[Outcome]:
        """Of the requests whose answer came in that time."""
        return [each for each in self.outcomes if each.status and begin <= each.due + each.latency < end]

    def by_phase(self) -> list[list[Outcome]]:
        """Of the requests of each phase."""
        return [self.within(*bounds) for bounds in self.bounds]

    def counts(self, begin: int, end: int) -> tuple[int, int]:
        """How many were served and how many were shed in that time."""
        answered = self.answered(begin, end)
        return sum(each.is_served for each in answered), sum(each.is_shed for each in answered)


@dataclass(frozen=True)
class Requirement:
    """What was asked for, and what was found."""

    name: str
    found: str
    wanted: str
    is_met: bool


# The client.


class Connection(asyncio.Protocol):
    """One kept-alive connection, with one request on it at a time."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._received = b""
        self._number: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._client.is_free(self)

    def send(self, number: int, request: bytes) -> None:
        """Sends the request of that number."""
        self._number = number
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        answer = read_answer(self._received)
        if answer and self._number is not None:
            number, self._number, self._received = self._number, None, b""
            self._client.is_answered(number, *answer)
            self._client.is_free(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's parameter
        self._client.is_lost(self, self._number)


class Client:
    """Sends one request at each of the times `due`, in seconds since its making, over as many connections as it takes.

    `outcomes` has what came of each; the time that a request waits for a connection is part of its latency.
    """

    def __init__(self, request: Request, due: Sequence[float]) -> None:
        self._request, self._port, self._due = raw(request), request.port, due
        self.outcomes = [Outcome(time, 0.0, 0) for time in due]
        self._unanswered = len(due)
        self._is_done = asyncio.Event()
        self._began = time.monotonic()
        self._free: list[Connection] = []
        self._waiting: deque[int] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._open = 0

    async def open(self, count: int) -> None:
        """Opens so many connections, before anything is sent; the seconds begin anew."""
        for _ in range(count):
            self._open += 1
            await self._connect()
        self._began = time.monotonic()

    async def send(self, numbers: Iterable[int]) -> None:
        """Sends the requests of these numbers, each at its time or as soon after it as can be."""
        for number in numbers:
            if (early := self._began + self._due[number] - time.monotonic()) > 0:
                await asyncio.sleep(early)
            if self._free:
                self._free.pop().send(number, self._request)
                continue
            self._waiting.append(number)
            if self._open < MOST_CONNECTIONS:
                self._open += 1
                task = asyncio.create_task(self._connect())
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)

    async def wait_until_answered(self, seconds: float) -> None:
        """Returns when all are answered, or when the seconds are over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_done.wait(), seconds)

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: Connection(self), "127.0.0.1", self._port)
        except OSError:
            self._open -= 1
            if self._waiting:
                self._waiting.popleft()
                self._end_one()

    def is_free(self, connection: Connection) -> None:
        """The connection takes the request that has waited for longest, if one has."""
        if self._waiting:
            connection.send(self._waiting.popleft(), self._request)
        else:
            self._free.append(connection)

    def is_answered(self, number: int, status: int, has_retry_after: bool) -> None:  # noqa: FBT001  as read
        due = self._due[number]
        self.outcomes[number] = Outcome(due, time.monotonic() - self._began - due, status, has_retry_after)
        self._end_one()

    def is_lost(self, connection: Connection, number: int | None) -> None:
        """The server has closed it; a request that was on it stays without an answer."""
        self._open -= 1
        if connection in self._free:
            self._free.remove(connection)
        if number is not None:
            self._end_one()

    def _end_one(self) -> None:
        """One request less to wait for."""
        self._unanswered -= 1
        if not self._unanswered:
            self._is_done.set()


def read_answer(received: bytes) -> tuple[int, bool] | None:
    """Status, and whether there is a `Retry-After`; nothing until the answer is whole."""
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return None
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    if not length or len(body) < int(length[1]):
        return None
    return int(head.split(b" ", 2)[1]), b"\r\nretry-after:" in head.lower()


# The measurement.


def measured(phases: Sequence[Phase], seconds: int, connections: int, data: Path) -> Run:
    """`seconds` are those in which the capacity is measured; so many connections are open before the phases begin.

    Raises StartError, LoadError.
    """
    with tempfile.TemporaryDirectory(prefix="bench-", dir=data) as folder:
        place = Place(Path(folder).resolve(), free_port(), workers=1)
        with running(SLOWED.start(place), place) as server:
            wait_until_ready(SLOWED, server)
            warm_up(SLOWED, server, FEW_CONNECTIONS)
            load = press(SLOWED.request(server), FEW_CONNECTIONS, seconds, place.folder)
            peak = (load.requests - sum(load.errors.values())) / load.seconds
            if not peak:
                raise LoadError(f"Nothing was created; the server printed:\n{server.output()[-3000:]}")
            say(f"peak: {peak:,.0f} a second")
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(offer(server, peak, phases, connections))


async def offer(server: Server, peak: float, phases: Sequence[Phase], connections: int) -> Run:
    """The phases, one right after the other."""
    times = [list(arrivals(phase, peak, begin)) for phase, begin in zip(phases, begins(phases), strict=True)]
    client = Client(SLOWED.request(server), [time for own in times for time in own])
    await client.open(connections)
    cpu, sent = [], 0
    before = server.cpu()
    for phase, own in zip(phases, times, strict=True):
        await client.send(range(sent, sent + len(own)))
        sent += len(own)
        after = await asyncio.to_thread(server.cpu)
        cpu.append(after - before)
        before = after
        say(f"{phase.name}: {len(own):,} requests in {phase.seconds} s")
    await client.wait_until_answered(GRACE)
    return Run(peak, phases, client.outcomes, cpu)


def begins(phases: Sequence[Phase]) -> list[int]:
    """In which second each phase begins."""
    return list(accumulate((phase.seconds for phase in phases[:-1]), initial=0))


def arrivals(phase: Phase, peak: float, begin: float) -> Iterator[float]:
    """Times by chance (a Poisson process), the same in each run but for what `peak` differs by."""
    chance = random.Random(phase.name)
    now = begin + chance.expovariate(phase.load * peak)
    while now < begin + phase.seconds:
        yield now
        now += chance.expovariate(phase.load * peak)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# What came of it.


def percentile(values: Iterable[float], part: float) -> float:
    """The smallest value that at least `part` of all do not exceed; not a number where there is none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * part) - 1, 0)] if ordered else math.nan


def latency(outcomes: Iterable[Outcome], part: float) -> float:
    """That percentile of what was served, in seconds."""
    return percentile((outcome.latency for outcome in outcomes if outcome.is_served), part)


def table(run: Run) -> list[tuple[str, ...]]:
    """Head and a row for each phase."""
    return [HEAD, *(_row(run, number) for number in range(len(run.phases)))]


def _row(run: Run, number: int) -> tuple[str, ...]:
    phase, own = run.phases[number], run.by_phase()[number]
    served, shed = run.counts(*run.bounds[number])
    waited = [outcome.latency for outcome in own if outcome.is_shed]
    return (
        phase.name,
        f"{len(own) / phase.seconds:,.0f}",
        f"{served / phase.seconds:,.1f}",
        f"{shed / phase.seconds:,.1f}",
        f"{sum(not outcome.is_served and not outcome.is_shed for outcome in own)}",
        f"{latency(own, 0.5) * 1000:.0f}",
        f"{latency(own, 0.99) * 1000:.0f}",
        f"{percentile(waited, 0.5) * 1000:.0f}" if waited else "",
    )


def requirements(run: Run) -> list[Requirement]:
    """Each of them, with what the run found. Not a number meets none."""
    usual, overload, _ = run.by_phase()
    slower = latency(overload, 0.99) / latency(usual, 0.99)
    recovered = recovery(run)
    failed = sum(not outcome.is_served and not outcome.is_shed for outcome in run.outcomes)
    return [
        Requirement("goodput / peak", f"{run.goodput:.2f}", f"above {GOODPUT}", run.goodput > GOODPUT),
        Requirement("p99 / usual p99", f"{slower:.1f}", f"at most {SLOWER:g}", slower <= SLOWER),
        Requirement("recovery, seconds", f"{recovered:g}", f"at most {RECOVERY:g}", recovered <= RECOVERY),
        Requirement("neither 201 nor 503 with Retry-After", f"{failed}", "0", not failed),
    ]


def recovery(run: Run) -> float:
    """Seconds from the overload's end to the first whole second with no 503 and a p99 near the usual.

    Infinite if there is none.
    """
    usual = latency(run.by_phase()[0], 0.99)
    begin, end = run.bounds[-1]
    for second in range(begin, end):
        own = run.within(second, second + 1)
        if all(outcome.is_served for outcome in own) and latency(own, 0.99) <= AS_USUAL * usual:
            return second - begin
    return math.inf


def cpu_times(run: Run) -> tuple[float, float]:
    """Seconds of CPU time for a request that is served in the first phase, and at most for one that is shed.

    At most, since it is all that the overload took, by what was shed. Serving goes on too, but costs less than usual,
    as more share a commit.
    """
    served, _ = run.counts(*run.bounds[0])
    _, shed = run.counts(*run.bounds[1])
    return run.cpu[0] / max(served, 1), run.cpu[1] / max(shed, 1)


def middle(runs: Sequence[Run]) -> Run:
    """The run with the median of their goodputs; of an even number the lower of two."""
    return sorted(runs, key=lambda run: run.goodput)[(len(runs) - 1) // 2]


def spread(runs: Sequence[Run]) -> str:
    """The goodput of each run, in their order."""
    return f"Goodput of each run: {', '.join(f'{run.goodput:.2f}' for run in runs)}. Shown is the middle one."


def verdict(run: Run) -> list[tuple[str, ...]]:
    """The table of requirements."""
    rows = ((each.name, each.found, each.wanted, "met" if each.is_met else "MISSED") for each in requirements(run))
    return [("requirement", "found", "wanted", ""), *rows]


def costs(run: Run) -> str:
    """The peak, and what it costs to serve and to shed."""
    serving, shedding = cpu_times(run)
    return (
        f"Peak: {run.peak:,.1f} a second. The server's CPU time: {serving * 1e6:,.0f} µs for a request that is served "
        f"as usual, at most {shedding * 1e6:,.0f} µs for one that is shed."
    )


# The picture.


def draw(run: Run, path: Path = PICTURE) -> None:
    """What was offered and shed, what was served, and how long that took, second by second."""
    goodput, slower = requirements(run)[:2]
    load = run.phases[1].load
    title = f"At {load:g} times its capacity: {float(goodput.found):.0%} of peak, p99 {slower.found} times the usual"
    with plot.figure(path, title, (8.0, 7.0), nrows=3, sharex=True, height_ratios=(3, 2, 3)) as (_, panels):
        begin, end = run.bounds[1]
        for panel in panels:
            panel.axvspan(begin, end, color=plot.WARNING, alpha=0.07, linewidth=0)
            panel.grid(visible=False, axis="x")
        _draw_counts(panels[0], run)
        _draw_goodput(panels[1], run)
        _draw_latency(panels[2], run)
        panels[2].set_xlim(0, run.bounds[-1][1])
        panels[2].set_xlabel("seconds")


def _draw_counts(axes: Any, run: Run) -> None:
    begin, end = run.bounds[1]
    counted = [run.counts(second, second + 1) for second in range(run.bounds[-1][1])]
    served, shed = [list(counts) for counts in zip(*counted, strict=True)]
    offered = [len(run.within(second, second + 1)) for second in range(run.bounds[-1][1])]
    for counts, colour in ((offered, plot.BASE), (shed, plot.WARNING), (served, plot.OURS)):
        _line(axes, counts, colour)
    axes.set_ylim(0, max(*offered, *shed) * 1.25)
    axes.set_ylabel("requests a second")
    middle, height = (begin + end) / 2, max(*offered, *shed)
    _name(axes, (middle, height), "offered", plot.BASE, 6)
    _name(axes, (middle, height / 2), "shed: 503 with Retry-After", plot.WARNING, 0)
    _name(axes, (middle, max(served[begin:end])), "served: 201", plot.OURS, 6)


def _draw_goodput(axes: Any, run: Run) -> None:
    served = [run.counts(second, second + 1)[0] for second in range(run.bounds[-1][1])]
    _line(axes, served, plot.OURS)
    _level(axes, run.peak, "peak", "bottom", "-")
    _level(axes, GOODPUT * run.peak, f"goal: {GOODPUT}", "top", "--")
    axes.set_ylim(0, max(*served, run.peak) * 1.25)
    axes.set_ylabel("served a second")


def _draw_latency(axes: Any, run: Run) -> None:
    axes.set_yscale("log")
    for part, colour, above in ((0.99, plot.OURS, 7), (0.5, plot.BASE, -16)):
        seconds = range(run.bounds[-1][1])
        values = [latency(run.within(second, second + 1), part) * 1000 for second in seconds]
        _line(axes, values, colour)
        _name(axes, (0.5, values[0]), f"p{part * 100:g}", colour, above)
    limit = SLOWER * latency(run.by_phase()[0], 0.99) * 1000
    _level(axes, limit, f"goal: {SLOWER:g} times\nthe usual p99", "center", "--")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 10), max(high, limit * 1.5))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylabel("latency of the served, ms")


def _line(axes: Any, values: Sequence[float], colour: str) -> None:
    """A point in the middle of each second."""
    middles = [second + 0.5 for second in range(len(values))]
    axes.plot(middles, values, color=colour, marker="o", markersize=3, linewidth=1.8)


def _level(axes: Any, height: float, text: str, align: str, style: str) -> None:
    """A line from left to right, named in the margin."""
    axes.axhline(height, color=plot.INK, linestyle=style, linewidth=0.9)
    axes.annotate(text, (1.01, height), xycoords=("axes fraction", "data"), va=align, fontsize=9)


def _name(axes: Any, at: tuple[float, float], text: str, colour: str, above: int) -> None:
    looks = {"ha": "center", "color": colour, "fontweight": "bold"}
    axes.annotate(text, at, xytext=(0, above), textcoords="offset points", **looks)


# The command.


def with_figures(page: str, runs: Sequence[Run], machine: str) -> str:
    """The page with what the runs found between its two marks."""
    run = middle(runs)
    lines = "\n".join(f"* {line}" for line in (spread(runs), costs(run), *machine.splitlines()))
    tables = (report.markdown(table(run)), report.markdown(verdict(run)))
    return report.written_into(page, BEGIN, END, "\n\n".join((*tables, NOTES, lines)))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.overload", description="Measures a server under ten times its load.")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of half a minute (default 3)")
    parser.add_argument("--capacity", type=int, default=5, metavar="S", help="seconds to measure it (default 5)")
    parser.add_argument("--usual", type=int, default=8, metavar="S", help="seconds, before and after (default 8)")
    parser.add_argument("--overload", type=int, default=12, metavar="S", help="seconds (default 12)")
    parser.add_argument("--times", type=float, default=10, help="the capacity (default 10)")
    parser.add_argument("--open", type=int, default=0, help="connections that are open before (default 0)")
    parser.add_argument("--data", type=Path, default=BUILD, help="folder for data, on a disk (default build)")
    parser.add_argument("--picture", type=Path, metavar="PATH", help="draw it there, as .png and .svg")
    parser.add_argument("--write", action="store_true", help="write tables and picture into docs")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 if the middle run meets every requirement, 1 if not, 2 if nothing can be measured."""
    options = parse(arguments)
    if reason := machine.hindrance(options.data):
        return fail(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # An exception: the server is stopped on the way out.
    phases = (
        Phase("usual", 0.8, options.usual),
        Phase("overload", options.times, options.overload),
        Phase("recovery", 0.8, options.usual),
    )
    measured_on = machine.describe(options.data)
    try:
        runs = [measured(phases, options.capacity, options.open, options.data) for _ in range(options.rounds)]
    except (StartError, LoadError) as error:
        return fail(str(error))
    run = middle(runs)
    tables = report.aligned(table(run)), report.aligned(verdict(run))
    print(measured_on, *tables, spread(runs), costs(run), NOTES, sep="\n\n")
    if options.picture:
        draw(run, options.picture)
    if options.write:
        draw(run)
        PAGE.write_text(with_figures(PAGE.read_text(), runs, measured_on))
    return 0 if all(each.is_met for each in requirements(run)) else 1


if __name__ == "__main__":
    sys.exit(main())
