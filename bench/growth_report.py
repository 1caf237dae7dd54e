"""What a run of `bench.growth` found: as tables, as a picture, as a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench import plot
from bench.load import Load

GOAL = 0.9  # of the throughput with few identities
HEAD = ("operation", "identities", "a second", "ratio", "quartiles", "p50 ms", "p99 ms", "MB")
STORES_HEAD = ("identities", "database MB", "bytes for each")
NOTES = (
    "a second, p50, p99, MB: medians over the rounds. MB: resident memory of the largest process.\n"
    "ratio: median of the rate divided by that of the smallest store in the same round; half of the rounds lie between "
    "the quartiles."
)
COLOURS = {
    "create": plot.OURS,
    "issue": "#2471a3",
    "get": plot.BASE,
    "list": "#b9770e",
    "delete": "#7d3c98",
}


@dataclass(frozen=True)
class Sample:
    """One load on one store, or the reason why it does not count; `resident` is bytes of the largest process."""

    operation: str
    size: int
    round: int
    load: Load | None = None
    resident: int = 0
    fault: str = ""


@dataclass(frozen=True)
class Figures:
    """All that a run found. `stores` has the bytes that each number of identities has in the database."""

    machine: str
    workers: int
    connections: int
    seconds: int
    stores: dict[int, int]
    samples: list[Sample]
    engine: str = "sqlite"

    @property
    def operations(self) -> list[str]:
        return list(dict.fromkeys(sample.operation for sample in self.samples))

    @property
    def faults(self) -> list[str]:
        """A line on each invalid measurement."""
        return [
            f"invalid: {sample.operation}, {sample.size:,} identities, round {sample.round}: {sample.fault}"
            for sample in self.samples
            if sample.fault
        ]

    def ratios(self, operation: str, size: int) -> list[float]:
        """Of each round, to the smallest store; empty where a measurement of either store is invalid."""
        own, base = (self._loads(operation, each) for each in (size, min(self.stores)))
        if own is None or base is None:
            return []
        return [mine.rate / other.rate for mine, other in zip(own, base, strict=True)]

    def rows(self) -> list[tuple[str, ...]]:
        """The table of operations. A cell with one invalid round is invalid."""
        return [HEAD, *(self._row(name, size) for name in self.operations for size in sorted(self.stores))]

    def store_rows(self) -> list[tuple[str, ...]]:
        """The table of stores."""
        stores = sorted(self.stores.items())
        return [
            STORES_HEAD,
            *((f"{size:,}", f"{bytes_ / 1e6:,.0f}", f"{bytes_ / size:.1f}") for size, bytes_ in stores),
        ]

    def _samples(self, operation: str, size: int) -> list[Sample]:
        return [sample for sample in self.samples if (sample.operation, sample.size) == (operation, size)]

    def _loads(self, operation: str, size: int) -> list[Load] | None:
        samples = self._samples(operation, size)
        loads = [sample.load for sample in samples if sample.load and not sample.fault]
        return loads if loads and len(loads) == len(samples) else None

    def _row(self, operation: str, size: int) -> tuple[str, ...]:
        names = (operation, f"{size:,}")
        loads = self._loads(operation, size)
        if loads is None:
            return (*names, "invalid", *[""] * (len(HEAD) - 3))
        ratios = self.ratios(operation, size) if size > min(self.stores) else []
        return (
            *names,
            f"{median(load.rate for load in loads):,.0f}",
            f"{median(ratios):.2f}" if ratios else "",
            _quartiles(ratios),
            f"{median(load.p50_ms for load in loads):.2f}",
            f"{median(load.p99_ms for load in loads):.2f}",
            f"{median(sample.resident for sample in self._samples(operation, size)) / 1e6:.0f}",
        )


def _quartiles(ratios: Sequence[float]) -> str:
    if len(ratios) < 2:
        return ""
    lower, _, upper = quantiles(ratios, n=4, method="inclusive")
    return f"{lower:.2f}-{upper:.2f}"


def draw(figures: Figures, path: Path, title: str) -> None:
    """The picture, as .png and .svg: throughput beside that of the smallest store. `title` is the database's name."""
    sizes = sorted(figures.stores)
    lines = {
        name: [median(ratios) for ratios in found]
        for name in figures.operations
        if all(found := [figures.ratios(name, size) for size in sizes])
    }
    highest = max((ratio for ratios in lines.values() for ratio in ratios), default=1.0)
    with plot.figure(path, _title(lines, sizes, title)) as (_, axes):
        axes.set_xscale("log")
        axes.set_xticks(sizes, [_short(size) for size in sizes])
        axes.minorticks_off()
        axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 4)  # On the right is room for the names.
        axes.set_ylim(0, max(1.2, highest + 0.1))
        axes.set_xlabel("identities in the store (logarithmic)")
        axes.set_ylabel(f"answers a second, 1.0 = at {_short(sizes[0])}")
        axes.plot((sizes[0], sizes[-1]), (GOAL, GOAL), color=plot.WARNING, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"goal: {GOAL}", (sizes[0], GOAL), xytext=(0, -5), textcoords="offset points",
            va="top", color=plot.WARNING, fontsize=9,
        )  # fmt: skip
        for name, ratios in lines.items():
            axes.plot(sizes, ratios, color=COLOURS[name], marker="o", markersize=4, linewidth=1.8)
        _name_lines(axes, sizes[-1], {name: ratios[-1] for name, ratios in lines.items()})


def _title(lines: dict[str, list[float]], sizes: Sequence[int], title: str) -> str:
    if not lines:
        return "No valid measurement"
    worst = min(ratios[-1] for ratios in lines.values())
    return f"{title}: at {_short(sizes[-1])} identities all operations keep {worst:.0%} or more"


def _name_lines(axes: Any, last: int, ends: dict[str, float]) -> None:
    """Beside the end of each line its name and value, moved apart where they would overlap."""
    gap = 0.075
    names = sorted(ends, key=ends.__getitem__)
    middle = median(ends.values()) if ends else 0.0
    for place, name in enumerate(names):
        height = middle + gap * (place - (len(names) - 1) / 2)
        leader = {"arrowstyle": "-", "color": COLOURS[name], "linewidth": 0.8, "shrinkA": 1, "shrinkB": 3}
        axes.annotate(
            f"{name} {ends[name]:.2f}", (last, ends[name]), xytext=(last * 1.5, height), va="center",
            color=COLOURS[name], fontweight="bold", arrowprops={**leader, "relpos": (0, 0.5)},
        )  # fmt: skip


def _short(size: int) -> str:
    """50 thousand, 10 million; as it is where neither fits."""
    for unit, name in ((1_000_000, "million"), (1_000, "thousand")):
        if size >= unit and not size % (unit // 10):
            return f"{size / unit:g} {name}"
    return f"{size:,}"
