"""How all figures look and how they are written; a Figure is made without a display and without global state."""

import io
import re
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lerac.study.errors import StudyError
from lerac.study.files import check_file, make_folder, write_bytes

__all__ = [
    "LONGEST",
    "STYLE",
    "WIDEST",
    "as_it_is",
    "broken",
    "check_plot_file",
    "colours",
    "draw_mean",
    "svg",
    "write_figure",
    "write_figures",
]

WIDEST = 20  # signs of a regime's name that fit beside others
LONGEST = 36  # signs of a line beside which a figure has room for anything else

UNDATED: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
    "svg": {"Date": None},
    "svgz": {"Date": None},
}

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
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name may be in any script; the tables have it
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=transparent)
    return text.getvalue()


def check_plot_file(path: Path) -> None:
    """See that a figure can be written there, before anything is computed.

    Raises:
        StudyError: as `check_file`, or if the format is unknown.
    """
    formats = [kind for kind in Figure().canvas.get_supported_filetypes() if kind != "pgf"]  # which needs LaTeX
    if path.suffix.removeprefix(".").lower() not in formats:
        raise StudyError(f"--plot {path}: the name must end in one of .{', .'.join(formats)}")
    check_file(path, "--plot")


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its name; the same figure gives the same SVG, PNG and PDF."""
    kind = path.suffix.removeprefix(".").lower()
    dpi: Any = "figure" if kind == "svg" else 150
    with matplotlib.rc_context(STYLE):
        write_bytes(path, lambda file: figure.savefig(file, format=kind, dpi=dpi, metadata=UNDATED.get(kind)))


def write_figures(figure: Figure, stem: Path) -> list[Path]:
    """Write stem.svg and stem.png; their folder is made."""
    make_folder(stem.parent)
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("svg", "png")]
    for path in paths:
        write_figure(figure, path)
    return paths


def as_it_is(text: str) -> str:
    """Give a text, which may come from anybody, so that Matplotlib finds no formula in it."""
    return text.replace("$", r"\$")


def broken(name: str) -> str:
    """Break a long name at its bracket and its commas, and what is still too long anywhere.

    Letters of other scripts can be twice as wide.
    """
    most = LONGEST if name.isascii() else LONGEST // 2
    lines = []
    for line in name.replace("(", "\n(", 1).split("\n") if len(name) > WIDEST else [name]:
        if len(line) <= most:
            lines.append(line)
            continue
        lines.append("")
        for piece in re.split(r"(?<=,)", line):
            if len(lines[-1] + piece) > most - 6:
                lines += textwrap.wrap(piece, most - 6) or [piece]
            else:
                lines[-1] += piece
    return "\n".join(line for line in lines if line)


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
    axes.plot(at, mean, color=colour, linewidth=1.6, label=label, marker="o" if len(at) == 1 else None)
    axes.fill_between(at, mean - spread, mean + spread, color=colour, alpha=0.12, linewidth=0)
