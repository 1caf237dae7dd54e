"""The tables of a run, and how they read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import median

from bench.results import Cell, Sample

BASES = ("bare", "careful")
HEAD = (
    "subject",
    "operation",
    "workers",
    "conns",
    "a second",
    "min-max",
    "p50 ms",
    "p99 ms",
    "CPU µs",
    "MB",
    *(f"of {base}" for base in BASES),
    "of its create",
)
OURS = ("mintmark", "mintmark-rs256")
NOTES = (
    "a second, p50, p99, CPU, MB: medians over the rounds. CPU: of all the subject's processes, for one request.",
    "MB: memory of all its processes, shared pages once.",
    "of X: median (and smallest to largest) of the rate divided by X's rate in the same round; of its create: by the",
    "same subject's.",
)


def table(samples: Sequence[Sample], operation: str = "", connections: int = 0) -> list[tuple[str, ...]]:
    """Head and rows, in the order in which the cells were first measured; those of one kind only where it is named."""
    cells = (
        cell
        for cell in dict.fromkeys(sample.cell for sample in samples)
        if operation in ("", cell.operation) and connections in (0, cell.connections)
    )
    return [HEAD, *(_row(cell, samples) for cell in cells)]


def _row(cell: Cell, samples: Sequence[Sample]) -> tuple[str, ...]:
    """A cell with one invalid round is invalid: its other rounds may hide the same fault."""
    own = [sample for sample in samples if sample.cell == cell]
    loads = [sample.load for sample in own if sample.load and not sample.fault]
    names = (cell.subject, cell.operation, str(cell.workers), str(cell.connections))
    if len(loads) < len(own):
        return (*names, "invalid", *[""] * (len(HEAD) - 5))
    rates = [load.rate for load in loads]
    return (
        *names,
        f"{median(rates):,.0f}",
        f"{min(rates):,.0f}-{max(rates):,.0f}",
        f"{median(load.p50_ms for load in loads):.2f}",
        f"{median(load.p99_ms for load in loads):.2f}",
        f"{median(sample.cpu / load.requests for sample, load in zip(own, loads, strict=True)) * 1e6:,.0f}",
        f"{median(sample.memory for sample in own) / 1e6:.0f}",
        *(ratio(cell, replace(cell, subject=base), samples) for base in BASES),
        "-" if cell.operation == "create" else ratio(cell, replace(cell, operation="create"), samples),
    )


def ratio(cell: Cell, base: Cell, samples: Sequence[Sample]) -> str:
    """The median of a cell's rate divided by the base's, and its range; a dash where there is none."""
    found = ratios(cell, base, samples)
    if not found:
        return "-"
    if len(found) == 1 or cell == base:
        return f"{median(found):.2f}"
    return f"{median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def ratios(cell: Cell, base: Cell, samples: Sequence[Sample]) -> list[float]:
    """Within a round, since the machine's speed moves between rounds."""
    own, others = rates(cell, samples), rates(base, samples)
    return [own[number] / others[number] for number in own if number in others]


def rates(cell: Cell, samples: Iterable[Sample]) -> dict[int, float]:
    """Of the rounds that are valid."""
    return {
        sample.round: sample.load.rate for sample in samples if sample.cell == cell and sample.load and not sample.fault
    }


def comparison(samples: Sequence[Sample]) -> list[tuple[str, ...]]:
    """By how much Mintmark is faster than each other subject, with the most connections that were measured.

    A subject that was measured with one worker only is compared with Mintmark at every number of workers.
    """
    cells = dict.fromkeys(sample.cell for sample in samples)
    most = max((cell.connections for cell in cells), default=0)
    workers = sorted({cell.workers for cell in cells if cell.subject in OURS})
    ours = [(name, count) for name in OURS for count in workers]
    rows = []
    for subject, operation in dict.fromkeys((cell.subject, cell.operation) for cell in cells):
        own = {cell.workers for cell in cells if (cell.subject, cell.operation) == (subject, operation)}
        if ours and not subject.startswith("mintmark"):
            compared = (
                ratio(
                    Cell(name, count, most, operation),
                    Cell(subject, count if count in own else min(own), most, operation),
                    samples,
                )
                for name, count in ours
            )
            rows.append((subject, operation, *compared))
    return [("beside", "operation", *(f"{name}, {_workers(count)}" for name, count in ours)), *rows]


def _workers(count: int) -> str:
    return f"{count} worker" if count == 1 else f"{count} workers"


def faults(samples: Iterable[Sample]) -> list[str]:
    """A line on each invalid measurement."""
    return [
        f"invalid: {describe(sample.cell)}, round {sample.round}: {sample.fault}" for sample in samples if sample.fault
    ]


def describe(cell: Cell) -> str:
    return f"{cell.subject}, {cell.operation}, workers {cell.workers}, connections {cell.connections}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """For a terminal: the first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(_justified(row, widths)).rstrip() for row in rows)


def _justified(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    yield row[0].ljust(widths[0])
    yield from map(str.rjust, row[1:], widths[1:])


def written_into(page: str, begin: str, end: str, middle: str) -> str:
    """The page with `middle` between its two marks. Raises ValueError where it lacks one."""
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise ValueError(f"The page lacks a marker: {begin} or {end}")
    return f"{before}{begin}\n\n{middle}\n\n{end}{after}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))
