"""Pictures of measurements: the same looks for all, each written as PNG and as SVG."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.environment import packages

# Told apart without colours too: by lightness, and by what stands beside them.
OURS, BASE, OTHERS, WARNING = "#0b6e4f", "#34495e", "#a9b4bf", "#c0392b"
INK, RULE = "#22303c", "#dfe4e8"
INCHES = (8.0, 4.5)
DOTS_PER_INCH = 160


@contextmanager
def figure(path: Path, title: str, inches: tuple[float, float] = INCHES, **layout: Any) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes, as `matplotlib.pyplot.subplots` makes them of `layout`.

    On leaving it is written to `path` with the endings .png and .svg, with nothing in it that changes from run to run
    but what was drawn.
    """
    folder = str(packages())
    if folder not in sys.path:
        sys.path.append(folder)  # Behind the project's own: it shares some packages, in the same versions.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    looks = {
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "text.color": INK,
        "axes.edgecolor": RULE,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.color": RULE,
        "grid.linewidth": 0.8,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.frameon": False,
        "svg.hashsalt": "mintmark",
        "svg.fonttype": "none",
    }
    with plt.rc_context(looks):
        drawn, axes = plt.subplots(figsize=inches, layout="constrained", **layout)
        drawn.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        yield drawn, axes
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(path.with_suffix(".png"), dpi=DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
        drawn.savefig(path.with_suffix(".svg"), facecolor="white", metadata={"Date": None})
        plt.close(drawn)
