"""Figures of a report, as SVG text; a Figure is made without a display and without global state."""

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lerac import plot
from lerac.study.errors import StudyError
from lerac.study.files import check_file, write_bytes
from lerac.study.models import MODELS
from lerac.study.plan.rates import base_schedule, curriculum_layers, curve_of, layer_ratios, sigma_of, warmup_factor
from lerac.study.plan.study import Run, Smoothing, steps_per_epoch

__all__ = [
    "STYLE",
    "check_plot_file",
    "colours",
    "draw_mean",
    "rates_figure",
    "sigma_figure",
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
UNDATED: dict[str, dict[str, Any]] = {
    "pdf": {"metadata": {"CreationDate": None}},
    "png": {"metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None}},
    "svgz": {"metadata": {"Date": None}},
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


def check_plot_file(path: Path, option: str = "--plot") -> None:
    """See that a figure can be written there, before anything is computed.

    Raises:
        StudyError: as `check_file`, or if the format is unknown.
    """
    formats = Figure().canvas.get_supported_filetypes().keys() - {"pgf"}  # which needs LaTeX
    if path.suffix.removeprefix(".").lower() not in formats:
        raise StudyError(f"{option} {path}: the name must end in one of .{', .'.join(sorted(formats))}")
    check_file(path, option)


def write_figure(figure: Figure, stem: Path, kinds: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write a figure in several formats, each to stem.kind; the same figure gives the same SVG, PNG and PDF."""
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in kinds]
    for path, kind in zip(paths, map(str.lower, kinds), strict=True):
        with matplotlib.rc_context(STYLE):
            write_bytes(path, partial(figure.savefig, format=kind, dpi=150, **UNDATED.get(kind, {})))
    return paths


def rates_figure(run: Run, size: tuple[float, float] = (4.4, 2.8)) -> Figure:
    """Draw the learning rate of every layer over the whole training of a run; the size is in inches.

    Neither data nor weights are needed. Where a loss drives the base schedule, it is held at the full rate.
    """
    settings = run.settings
    network, options = MODELS[settings["model"]], settings["network"]
    lr, epochs, per_epoch = settings["optimizer"]["lr"], settings["training"]["epochs"], steps_per_epoch(settings)
    base = base_schedule(settings["schedule"], lr=lr, epochs=epochs, per_epoch=per_epoch)
    warmup = warmup_factor(run.curriculum)
    lerac = run.curriculum if run.curriculum and run.curriculum.kind == "lerac" else None
    layers = curriculum_layers(network.skeleton(**options), network.example_batch(**options), lerac)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        plot.schedule(
            layers,
            k=lerac.k if lerac else 1,
            ratio=layer_ratios(layers, run.curriculum, run.seed),
            curve=curve_of(lerac) if lerac else "exponential",
            lr=lambda step: lr * base(step) * warmup(step),
            steps=epochs * per_epoch,
            axes=figure.add_subplot(),
        )
    return figure


def sigma_figure(smoothings: Mapping[str, Smoothing], steps: int) -> Figure:
    """Draw σ of Curriculum by Smoothing against the optimizer step; a line for all regimes that have the same.

    Args:
        smoothings: regime → its smoothing.
        steps: of the whole training.
    """
    together: dict[Smoothing, list[str]] = {}
    for regime, smoothing in smoothings.items():
        together.setdefault(smoothing, []).append(regime)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 2.8), layout="constrained")
        axes = figure.add_subplot()
        for number, (smoothing, regimes) in enumerate(together.items()):
            at = [*range(0, steps, smoothing.every), steps]
            sigmas = [sigma_of(smoothing)(step) for step in at[:-1]]
            style = ("-", "--", ":", "-.")[number % 4]
            axes.step(
                at, [*sigmas, sigmas[-1]], where="post", color=PALETTE[2], linestyle=style, label=", ".join(regimes)
            )
        axes.set_ylim(bottom=0)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("σ, pixels")
        axes.legend(frameon=False)
    return figure


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
