"""docs/benchmarks.md: its middle is written from a run, the rest by hand."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import report
from bench.environment import CHECKOUT
from bench.results import Run, Sample

PAGE = CHECKOUT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured: begin; `make bench` writes what follows -->", "<!-- measured: end -->"
TRIAL = "**A trial, too short to say how fast anything is.**"
TITLES = {"create": "Create", "issue": "Issue"}
UNITS = {"create": "creates/s", "issue": "tokens/s"}


def write(run: Run, path: Path = PAGE) -> None:
    """Puts the run's tables between the page's markers. Raises ValueError where the page has none."""
    path.write_text(report.written_into(path.read_text(), BEGIN, END, measured(run)))


def measured(run: Run) -> str:
    """What stands between the markers."""
    rounds = len({sample.round for sample in run.samples})
    facts = [*run.machine, f"rounds: {rounds}; loads of {run.seconds} s; {run.verified:,} answers verified"]
    parts = [
        *([TRIAL] if rounds < 3 else []),
        f"Measured on {run.date}:",
        "\n".join(f"* {fact}" for fact in facts),
        "### Beside the others",
        f"Mintmark's rate divided by that of each, with {_most(run.samples)} connections:",
        report.markdown(report.comparison(run.samples)),
    ]
    for operation, title in TITLES.items():
        if any(sample.cell.operation == operation for sample in run.samples):
            parts += [f"### {title}", *_tables(run.samples, operation)]
    if found := report.faults(run.samples):
        parts += ["### Invalid", "\n".join(f"* {fault.partition(chr(10))[0]}" for fault in found)]
    return "\n\n".join(parts)


def _most(samples: Sequence[Sample]) -> int:
    return max(sample.cell.connections for sample in samples)


def _tables(samples: Sequence[Sample], operation: str) -> Iterator[str]:
    """A table for each number of connections, the most first."""
    own = {sample.cell.connections for sample in samples if sample.cell.operation == operation}
    for connections in sorted(own, reverse=True):
        head, *rows = report.table(samples, operation, connections)
        head = tuple(UNITS[operation] if name == "a second" else name for name in head)
        # What all rows share is left out: the operation, the connections, and a column without a figure.
        shown = [0, 2, *(column for column in range(4, len(head)) if any(row[column] not in ("", "-") for row in rows))]
        yield f"{connections} connection{'' if connections == 1 else 's'}:"
        yield report.markdown([tuple(row[column] for column in shown) for row in (head, *rows)])
