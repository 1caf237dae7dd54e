"""The table of a run: what was measured, and how it reads."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from bench.load import Load

BASES = ("bare", "usual")
HEAD = (
    "subject",
    "workers",
    "conns",
    "creates/s",
    "min-max",
    "p50 ms",
    "p99 ms",
    "CPU µs",
    "MB",
    "of bare",
    "of usual",
)
NOTES = (
    "creates/s, p50, p99, CPU, MB: medians over the rounds. CPU: of all the subject's processes, for one request.",
    "MB: resident memory of its largest process. of X: median of the rate divided by X's rate in the same round.",
)


@dataclass(frozen=True, order=True)
class Cell:
    """One row of the table."""

    subject: str
    workers: int
    connections: int


@dataclass(frozen=True)
class Sample:
    """One measurement of a cell, or the reason why it does not count."""

    cell: Cell
    round: int
    load: Load | None = None
    cpu: float = 0.0
    """Seconds of CPU time while the load ran."""
    resident: int = 0
    """Bytes of the largest process right after it."""
    fault: str = ""


def table(samples: Sequence[Sample]) -> list[tuple[str, ...]]:
    """Head and rows, in the order in which the cells were first measured."""
    return [HEAD, *(_row(cell, samples) for cell in dict.fromkeys(sample.cell for sample in samples))]


def _row(cell: Cell, samples: Sequence[Sample]) -> tuple[str, ...]:
    """A cell with one invalid round is invalid: its other rounds may hide the same fault."""
    own = [sample for sample in samples if sample.cell == cell]
    loads = [sample.load for sample in own if sample.load and not sample.fault]
    names = (cell.subject, str(cell.workers), str(cell.connections))
    if len(loads) < len(own):
        return (*names, "invalid", *[""] * (len(HEAD) - 4))
    rates = [load.rate for load in loads]
    return (
        *names,
        f"{median(rates):,.0f}",
        f"{min(rates):,.0f}-{max(rates):,.0f}",
        f"{median(load.p50_ms for load in loads):.2f}",
        f"{median(load.p99_ms for load in loads):.2f}",
        f"{median(sample.cpu / load.requests for sample, load in zip(own, loads, strict=True)) * 1e6:,.0f}",
        f"{median(sample.resident for sample in own) / 1e6:.0f}",
        *(_ratio(own, Cell(base, cell.workers, cell.connections), samples) for base in BASES),
    )


def _ratio(own: Iterable[Sample], base: Cell, samples: Iterable[Sample]) -> str:
    """Within a round, since the machine's speed moves between rounds."""
    rates = {
        sample.round: sample.load.rate for sample in samples if sample.cell == base and sample.load and not sample.fault
    }
    ratios = [sample.load.rate / rates[sample.round] for sample in own if sample.load and sample.round in rates]
    return f"{median(ratios):.2f}" if ratios else "-"


def faults(samples: Iterable[Sample]) -> list[str]:
    """A line on each invalid measurement."""
    return [
        f"invalid: {describe(sample.cell)}, round {sample.round}: {sample.fault}" for sample in samples if sample.fault
    ]


def describe(cell: Cell) -> str:
    return f"{cell.subject}, workers {cell.workers}, connections {cell.connections}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """For a terminal: the first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(_justified(row, widths)).rstrip() for row in rows)


def _justified(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    yield row[0].ljust(widths[0])
    yield from map(str.rjust, row[1:], widths[1:])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))
