"""Pictures of signal-to-noise ratios: by layer, and layer by layer over the training."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lerac import plot
from lerac.snr import LayerSNR
from lerac.study.figures.style import STYLE, colours
from lerac.study.snr import Measured, summary_rows

__all__ = ["ratios_figure", "training_figure"]


def ratios_figure(measured: Sequence[Measured]) -> Figure:
    """Draw the mean ratio of every layer, one line per reference."""
    lines: dict[str, dict[int, list[LayerSNR]]] = {}
    for m in measured:
        lines.setdefault(m.reference, {}).setdefault(m.seed, []).append(m.layer)
    with matplotlib.rc_context(STYLE):
        return plot.snr({reference: list(by_seed.values()) for reference, by_seed in lines.items()})


def training_figure(measured: Sequence[Measured]) -> Figure:
    """Draw the ratio of every layer against the epoch: a row per reference, a column per layer, a line per regime."""
    rows = summary_rows(measured)
    references, layers, regimes = ([*dict.fromkeys(r[key] for r in rows)] for key in ("reference", "layer", "regime"))
    colour = colours(regimes)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.3 * len(layers) + 0.6, 2.5 * len(references) + 0.6), layout="constrained")
        panels = figure.subplots(len(references), len(layers), squeeze=False, sharex=True, sharey="row")
        for line, reference in zip(panels, references, strict=True):
            for axes, layer in zip(line, layers, strict=True):
                for regime in regimes:
                    wanted = {"reference": reference, "layer": layer, "regime": regime}
                    _draw(axes, [row for row in rows if wanted.items() <= row.items()], regime, colour[regime])
                axes.axhline(0, color="#666666", linewidth=1)
                axes.set_title(layer, fontsize=10, loc="left")
                axes.set_xlabel("epoch")
            line[0].set_ylabel(f"{reference}: SNR, dB")
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw(axes: Axes, rows: Sequence[Mapping[str, Any]], regime: str, colour: str) -> None:
    finite = [row for row in rows if math.isfinite(row["mean_db"])]  # against itself the last epoch has no noise
    epochs, means = [row["epoch"] for row in finite], [row["mean_db"] for row in finite]
    axes.plot(epochs, means, color=colour, linewidth=1.6, label=regime)
    low, high = ([row["mean_db"] + sign * (row["sd_db"] or 0) for row in finite] for sign in (-1, 1))
    axes.fill_between(epochs, low, high, color=colour, alpha=0.12, linewidth=0)
