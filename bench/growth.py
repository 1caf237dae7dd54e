"""Measures what a store costs as it grows: `python -m bench.growth`. Linux only, with wrk installed.

Stores of several sizes are filled, and every operation is measured on each of them over HTTP. `--engine` names the
database that they are in. In each round all servers are started anew, and each operation is measured on one store right
after the other: the machine's speed moves from minute to minute, so it is within a round that stores are compared.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from bench import growth_load, growth_report, growth_store, machine, report
from bench.environment import BUILD, CHECKOUT
from bench.growth_postgres import Postgres
from bench.growth_report import Figures, Sample
from bench.growth_sqlite import Sqlite
from bench.growth_store import MINTMARK, Engine, Mended, Store
from bench.measure import wait_until_ready, warm_up
from bench.run import fail
from bench.server import Place, Server, StartError, free_port

PAGE = CHECKOUT / "docs" / "why" / "growth.md"
PICTURES = CHECKOUT / "docs" / "images"
END = "<!-- end of what is written -->"


@dataclass(frozen=True)
class Kind:
    """A database to measure with, the arguments that choose it, and the name of its picture."""

    engine: Engine
    arguments: str
    picture: str

    @property
    def begin(self) -> str:
        """The mark before its tables; after them comes `END`."""
        return f"<!-- written by python -m bench.growth {self.arguments} -->"


KINDS = {
    "sqlite": Kind(Sqlite(), "--write", "growth"),
    "postgres": Kind(Postgres(), "--engine postgres --write", "growth-postgres"),
}


@dataclass(frozen=True)
class Plan:
    """What to measure.

    `engine` is one of `KINDS`; `sizes` are numbers of identities, ascending; `seconds` are of load for one measurement.
    """

    engine: str
    sizes: Sequence[int]
    rounds: int
    seconds: int
    workers: int
    connections: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 if every measurement is valid, 1 if one is not, 2 if nothing can be measured."""
    options = parse(arguments)
    if options.raw:
        figures = msgspec.json.decode(options.raw.read_bytes(), type=Figures)
    else:
        if reason := machine.hindrance(options.keep or options.data):
            return fail(reason)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # An exception: servers are stopped on the way out.
        plan = Plan(
            options.engine, options.sizes, options.rounds, options.seconds, options.workers, options.connections
        )
        try:
            figures = measured(plan, options.data, options.keep)
        except StartError as error:
            return fail(str(error))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
    tables = (report.aligned(figures.rows()), report.aligned(figures.store_rows()))
    print(figures.machine, *tables, "\n".join((growth_report.NOTES, *figures.faults)), sep="\n\n")
    if options.write and not figures.faults:
        kind = KINDS[figures.engine]
        growth_report.draw(figures, PICTURES / kind.picture, kind.engine.title)
        PAGE.write_text(with_tables(PAGE.read_text(), figures))
    return 1 if figures.faults else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return sorted({int(number) for number in text.split(",")})

    parser = argparse.ArgumentParser(prog="bench.growth", description="Measures what a store costs as it grows.")
    sizes = [50_000, 1_000_000, 10_000_000]
    parser.add_argument("--engine", choices=KINDS, default="sqlite", help="the database (default sqlite)")
    parser.add_argument("--sizes", type=numbers, default=sizes, help="identities (default 50000,1000000,10000000)")
    parser.add_argument("--rounds", type=int, default=15, help="over all stores (default 15)")
    parser.add_argument("--seconds", type=int, default=1, help="of load for each measurement (default 1)")
    parser.add_argument("--connections", type=int, default=16, help="default 16")
    parser.add_argument("--workers", type=int, default=2, help="default 2")
    parser.add_argument("--data", type=Path, default=BUILD, help="folder for data, on a disk (default build)")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the filled stores there, and use those there are"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to it")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="raw", help="measure nothing, show those of --json")
    parser.add_argument("--write", action="store_true", help="write the tables and the picture into docs")
    options = parser.parse_args(arguments)
    needed = growth_load.PER_SECOND * options.seconds + growth_load.PAGE
    if len(options.sizes) < 2 or options.sizes[0] < needed:
        parser.error(f"--sizes: at least two, and none below {needed}: each identity is deleted once in a round")
    return options


def measured(plan: Plan, data: Path, keep: Path | None) -> Figures:
    """Fills the stores and measures. Raises StartError."""
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="growth-", dir=data)))
        engine = KINDS[plan.engine].engine
        stores = [growth_store.open_or_fill(engine, folder.resolve() / str(size), size) for size in plan.sizes]
        measured_on = engine.describe(machine.describe(folder))
        samples = [sample for number in range(1, plan.rounds + 1) for sample in one_round(plan, stores, number)]
    sizes = {store.size: store.filled for store in stores}
    return Figures(measured_on, plan.workers, plan.connections, plan.seconds, sizes, samples, plan.engine)


def one_round(plan: Plan, stores: Sequence[Store], number: int) -> list[Sample]:
    """Every second one begins with the largest store. Afterwards the stores must hold what was acknowledged."""
    engine = KINDS[plan.engine].engine
    with ExitStack() as stack:
        places = [Place(store.folder, free_port(), plan.workers) for store in stores]
        running_servers = [stack.enter_context(engine.serving(place)) for place in places]
        servers = list(zip(stores, running_servers, strict=True))
        samples = list(_samples(plan, servers if number % 2 else servers[::-1], number))
    mended = {store.size: engine.mend(store) for store in stores}
    return [checked(sample, mended[sample.size]) for sample in samples]


def _samples(plan: Plan, servers: Sequence[tuple[Store, Server]], number: int) -> Iterator[Sample]:
    for _, server in servers:
        wait_until_ready(MINTMARK, server)
        warm_up(MINTMARK, server, plan.connections)
    for operation in growth_load.OPERATIONS:
        for store, server in servers:
            requests = growth_load.requests_for(operation, server, store, plan.seconds, number)
            growth_store.read_once(KINDS[plan.engine].engine, store)
            sample = growth_load.measure(operation, server, store, requests, plan.connections, plan.seconds, number)
            said = sample.fault or (f"{sample.load.rate:,.0f} a second" if sample.load else "")
            print(f"round {number} of {plan.rounds}: {operation}, {store.size:,}: {said}", file=sys.stderr)
            yield sample


def checked(sample: Sample, mended: Mended) -> Sample:
    """Invalid if the store has changed less than was answered."""
    changed = {"create": mended.created, "delete": mended.deleted}.get(sample.operation)
    if changed is None or sample.fault or sample.load is None or changed >= sample.load.requests:
        return sample
    return replace(sample, fault=f"{sample.load.requests} were answered, but {changed} are in the store")


def with_tables(page: str, figures: Figures) -> str:
    """The page with the tables of these figures between its two marks."""
    tables = (report.markdown(figures.rows()), report.markdown(figures.store_rows()))
    rounds = max(sample.round for sample in figures.samples)
    setting = (
        f"{figures.machine}\n{figures.workers} workers, {figures.connections} connections, "
        f"loads of {figures.seconds} s, {rounds} rounds."
    ).replace("\n", "; ")
    return report.written_into(
        page, KINDS[figures.engine].begin, END, "\n\n".join((*tables, growth_report.NOTES, setting))
    )


if __name__ == "__main__":
    sys.exit(main())
