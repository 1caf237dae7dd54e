"""Measures Create with a token on every subject in one run: `python -m bench.run`. Linux only, with wrk installed."""

import argparse
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import machine, report
from bench.environment import BUILD
from bench.measure import Plan, measure_all
from bench.server import StartError
from bench.subjects import SUBJECTS, VARIANTS, Subject


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 if every measurement is valid, 1 if one is not, 2 if nothing can be measured."""
    plan, layout = parse(arguments)
    if not sys.platform.startswith("linux"):
        return fail("The benchmark reads /proc: it runs on Linux only.")
    if not shutil.which("wrk"):
        return fail("The benchmark needs wrk: install Debian's package wrk (apt-get install wrk).")
    plan.data.mkdir(parents=True, exist_ok=True)
    if machine.file_system(plan.data) == "tmpfs":
        return fail(f"{plan.data} is in memory, where syncing costs nothing: name a folder on a disk with --data.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # An exception, so that servers are stopped on the way out.
    measured_on = machine.describe(plan.data)
    try:
        samples = list(measure_all(plan))
    except StartError as error:
        return fail(str(error))
    rows, faults = report.table(samples), report.faults(samples)
    print(measured_on, layout(rows), "\n".join((*report.NOTES, *faults)), sep="\n\n")
    return 1 if faults else 0


def parse(arguments: Sequence[str] | None) -> tuple[Plan, Callable[[Sequence[Sequence[str]]], str]]:
    """What to measure, and how to lay out the table."""

    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    def subjects(text: str) -> list[Subject]:
        known = {subject.name: subject for subject in (*SUBJECTS, *VARIANTS)}
        if unknown := [name for name in text.split(",") if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return [known[name] for name in text.split(",")]

    parser = argparse.ArgumentParser(prog="bench", description="Measures Create with a token.")
    parser.add_argument("--seconds", type=int, default=2, help="of load for each measurement (default 2, at most 600)")
    parser.add_argument("--rounds", type=int, default=3, help="over all subjects (default 3)")
    parser.add_argument("--connections", type=numbers, default=[1, 16, 64], help="default 1,16,64")
    parser.add_argument("--workers", type=numbers, default=[1, 2], help="default 1,2")
    parser.add_argument("--subjects", type=subjects, default=SUBJECTS, help="default: all")
    parser.add_argument("--data", type=Path, default=BUILD, help="folder for data, on a disk (default build)")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    options = vars(parser.parse_args(arguments))
    layout = report.markdown if options.pop("markdown") else report.aligned
    return Plan(**options), layout


def fail(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
