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
        own = [sample for sample in run.samples if sample.cell.operation == operation]
        if own:
            parts += [f"### {title}", *_tables(own, operation)]
    if found := report.faults(run.samples):
        parts += ["### Invalid", "\n".join(f"* {fault.partition(chr(10))[0]}" for fault in found)]
    return "\n\n".join(parts)


def _most(samples: Sequence[Sample]) -> int:
    return max(sample.cell.connections for sample in samples)


def _tables(samples: Sequence[Sample], operation: str) -> Iterator[str]:
    """A table for each number of connections, the most first."""
    for connections in sorted({sample.cell.connections for sample in samples}, reverse=True):
        own = [sample for sample in samples if sample.cell.connections == connections]
        rows = [_without_what_all_share(row) for row in report.table(own)]
        rows[0] = tuple(UNITS[operation] if name == "a second" else name for name in rows[0])
        yield f"{connections} connection{'' if connections == 1 else 's'}:"
        yield report.markdown(rows)


def _without_what_all_share(row: tuple[str, ...]) -> tuple[str, ...]:
    """The operation and the connections."""
    return (row[0], row[2], *row[4:])
