"""Measures Create and Issue on every subject in one run: `python -m bench.run`. Linux only, with wrk installed."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import machine, page, picture, report, results
from bench.environment import BUILD
from bench.measure import Plan, measure_all
from bench.results import Run
from bench.subject import Subject
from bench.subjects import SUBJECTS, VARIANTS

Layout = Callable[[Sequence[Sequence[str]]], str]
KNOWN = {subject.name: subject for subject in (*SUBJECTS, *VARIANTS)}
OPERATIONS, WORKERS, CONNECTIONS = ["create", "issue"], [1, 2], [1, 16, 64]
QUICK = {
    "subjects": [KNOWN[name] for name in ("mintmark", "mintmark-rs256", "bare", "careful")],
    "connections": [16, 64],
    "workers": [2],
    "rounds": 2,
    "json": BUILD / "bench-quick.json",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 if every measurement is valid, 1 if one is not, 2 if nothing can be measured."""
    options = parse(arguments)
    if options.kept:
        try:
            run = results.read(options.kept)
        except (OSError, ValueError) as error:
            return fail(f"{options.kept}: {error}")
    else:
        plan = plan_of(options)
        if reason := machine.hindrance(plan.data):
            return fail(reason)
        run = measure(plan)
        results.save(run, options.json)
        print(f"Every measurement is in {options.json}.", file=sys.stderr)
    print(text(run, report.markdown if options.markdown else report.aligned))
    if options.write:
        write(run)
    return 1 if report.faults(run.samples) else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What to measure, and what to do with it."""

    def numbers(given: str) -> list[int]:
        return [int(number) for number in given.split(",")]

    def names(given: str) -> list[str]:
        if unknown := [name for name in given.split(",") if name not in OPERATIONS]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(OPERATIONS)}")
        return given.split(",")

    def subjects(given: str) -> list[Subject]:
        if unknown := [name for name in given.split(",") if name not in KNOWN]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(KNOWN)}")
        return [KNOWN[name] for name in given.split(",")]

    parser = argparse.ArgumentParser(prog="bench", description="Measures Create and Issue, beside other servers.")
    add = parser.add_argument
    add("--quick", action="store_true", help="four subjects, two workers, two rounds: under three minutes")
    add("--seconds", type=int, default=2, help="of load for each measurement (default 2, at most 600)")
    add("--rounds", type=int, default=3, help="over all subjects (default 3)")
    add("--connections", type=numbers, default=CONNECTIONS, help="default 1,16,64")
    add("--workers", type=numbers, default=WORKERS, help="default 1,2")
    add("--subjects", type=subjects, default=SUBJECTS, help="default: all")
    add("--operations", type=names, default=OPERATIONS, help="default create,issue; of each subject those it has")
    add("--data", type=Path, default=BUILD, help="folder for data, on a disk (default build)")
    add(
        "--json",
        type=Path,
        default=BUILD / "bench.json",
        help="where to keep the run (default build/bench.json, of a quick one build/bench-quick.json)",
    )
    add("--from", type=Path, dest="kept", metavar="FILE", help="measure nothing, take the run that FILE keeps")
    add("--markdown", action="store_true", help="print Markdown tables")
    add("--write", action="store_true", help="write docs/benchmarks.md and its picture, if all was measured")
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**QUICK)  # What is given beside --quick still holds.
    return parser.parse_args(arguments)


def plan_of(options: argparse.Namespace) -> Plan:
    return Plan(**{name: getattr(options, name) for name in Plan.__dataclass_fields__})


def measure(plan: Plan) -> Run:
    """Takes minutes; says on standard error about how many."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # An exception, so that servers are stopped on the way out.
    print(f"This takes about {plan.estimate() / 60:.0f} minutes.", file=sys.stderr)
    about = machine.describe(plan.data).splitlines()
    samples = list(measure_all(plan))
    about += machine.software([subject.name for subject in plan.subjects]).splitlines()
    return Run(f"{datetime.now(UTC):%Y-%m-%d}", about, plan.seconds, samples)


def text(run: Run, layout: Layout) -> str:
    """All that is printed of a run."""
    verified = f"{run.verified:,} answers were verified before the measurements."
    notes = "\n".join((*report.NOTES, verified, *report.faults(run.samples)))
    tables = [layout(report.table(run.samples))]
    beside = report.comparison(run.samples)
    if len(beside) > 1:
        tables += ["Mintmark's rate divided by that of others:", layout(beside)]
    return "\n\n".join(("\n".join(run.machine), *tables, notes))


def write(run: Run) -> None:
    if missing := unmeasured(run):
        print(f"docs/benchmarks.md stays as it is: not measured: {', '.join(missing)}", file=sys.stderr)
        return
    picture.draw(run.samples)
    page.write(run)


def unmeasured(run: Run) -> list[str]:
    """What belongs on the page and is not in the run."""
    cells = [sample.cell for sample in run.samples]
    return [
        *(subject.name for subject in SUBJECTS if subject.name not in {cell.subject for cell in cells}),
        *(name for name in OPERATIONS if name not in {cell.operation for cell in cells}),
        *(f"workers {count}" for count in WORKERS if count not in {cell.workers for cell in cells}),
        *(f"connections {count}" for count in CONNECTIONS if count not in {cell.connections for cell in cells}),
    ]


def fail(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
