"""How all figures look and how they are written; a Figure is made without a display and without global state."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lerac.study.files import write_bytes, write_text

__all__ = [
    "STYLE",
    "colours",
    "draw_mean",
    "svg",
    "write_figure",
]

# Okabe and Ito, "Color Universal Design" (2008): told apart with any colour vision.
PALETTE = ("#000000", "#E69F00", "#0072B2", "#CC79A7", "#009E73", "#D55E00", "#56B4E9", "#999999")  # and a grey
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.fonttype": "path",
    "svg.hashsalt": "lerac",  # the same study gives the same file
}


def colours(regimes: Sequence[str]) -> dict[str, str]:
    """Give every regime its colour."""
    return {regime: PALETTE[i % len(PALETTE)] for i, regime in enumerate(regimes)}


def svg(figure: Figure, *, transparent: bool = False) -> str:
    """Draw a figure as SVG, with or without a white ground; the same figure gives the same text."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=transparent)
    return text.getvalue()


def write_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write stem.svg and stem.png; the same figure gives the same bytes."""
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("svg", "png")]
    write_text(paths[0], svg(figure))
    with matplotlib.rc_context(STYLE):
        write_bytes(paths[1], lambda file: figure.savefig(file, format="png", dpi=150, metadata={"Software": None}))
    return paths


def draw_mean(axes: Axes, at: Any, columns: Sequence[Sequence[float]], colour: str, label: str) -> None:
    """Draw the mean of each column and a band of one standard deviation on either side.

    Args:
        axes: where.
        at: (n,), positions of the columns.
        columns: n columns of one or more values.
        colour: of line and band.
        label: for the legend.
    """
    mean = np.array([np.mean(c) for c in columns])
    spread = np.array([np.std(c, ddof=min(1, len(c) - 1)) for c in columns])
    axes.plot(at, mean, color=colour, linewidth=1.6, label=label)
    axes.fill_between(at, mean - spread, mean + spread, color=colour, alpha=0.12, linewidth=0)
