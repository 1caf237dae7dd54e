"""The picture of a run: a bar for each subject."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.environment import CHECKOUT
from bench.node_peers import NODE_PEERS
from bench.plot import BASE, INK, OTHERS, OURS, figure
from bench.report import rates
from bench.results import Cell, Sample

PATH = CHECKOUT / "docs" / "images" / "benchmark"
ONE_PROCESS = {peer.name for peer in NODE_PEERS}


def draw(samples: Sequence[Sample], path: Path = PATH) -> None:
    """Creates a second of every subject, with the most connections that were measured."""
    cells = bars(samples)
    if not cells:
        return
    found = [list(rates(cell, samples).values()) for cell in cells]
    middles = [median(rounds) for rounds in found]
    spread = [
        [middle - min(rounds) for middle, rounds in zip(middles, found, strict=True)],
        [max(rounds) - middle for middle, rounds in zip(middles, found, strict=True)],
    ]
    with figure(path, title(samples, cells), (8.0, 1.3 + 0.3 * len(cells))) as (_, axes):
        whiskers = {"ecolor": INK, "elinewidth": 1, "capsize": 2.5}
        colours = [_colour(cell) for cell in cells]
        axes.barh([_label(cell) for cell in cells], middles, color=colours, height=0.7, xerr=spread, error_kw=whiskers)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"creates a second, {cells[0].connections} connections; median, slowest and fastest round")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.margins(y=0.02)
        axes.set_xlim(0, max(map(max, found)) * 1.12)
        for row, rounds in enumerate(found):
            right = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(f"{middles[row]:,.0f}", (max(rounds), row), **right)


def bars(samples: Sequence[Sample]) -> list[Cell]:
    """Of Create, the cells with the most connections, the fastest first; without invalid ones."""
    invalid = {sample.cell for sample in samples if sample.fault}
    cells = dict.fromkeys(sample.cell for sample in samples if sample.cell.operation == "create")
    most = max((cell.connections for cell in cells), default=0)
    valid = [cell for cell in cells if cell.connections == most and cell not in invalid]
    return sorted(valid, key=lambda cell: -median(rates(cell, samples).values()))


def title(samples: Sequence[Sample], cells: Sequence[Cell]) -> str:
    """What Mintmark's fastest bar shows, beside the careful server's where there is one. They sign differently."""
    best = {cell.subject: f"{median(rates(cell, samples).values()):,.0f}" for cell in reversed(cells)}
    if "mintmark" not in best:
        return "Identities with a token, created in a second"
    said = f"Mintmark (ES256) creates {best['mintmark']} identities a second"
    return f"{said}, careful (RS256) {best['careful']}" if "careful" in best else said


def _label(cell: Cell) -> str:
    if cell.subject in ONE_PROCESS:
        return f"{cell.subject}, one process"
    return f"{cell.subject}, {cell.workers} worker{'' if cell.workers == 1 else 's'}"


def _colour(cell: Cell) -> str:
    if cell.subject.startswith("mintmark"):
        return OURS
    return BASE if cell.subject == "bare" else OTHERS
