"""Figures of a report, as SVG text; a Figure is made without a display and without global state."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lerac import plot
from lerac.study.files import write_bytes, write_text
from lerac.study.metrics import ACCURACY, Metric
from lerac.study.models import MODELS
from lerac.study.plan import Run, Smoothing, steps_per_epoch
from lerac.study.rates import base_schedule, curriculum_layers, curve_of, layer_ratios, sigma_of, warmup_factor
from lerac.study.statistics import Summary

__all__ = [
    "STYLE",
    "colours",
    "curves_figure",
    "differences_figure",
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


def colours(regimes: Sequence[str]) -> dict[str, str]:
    """Give every regime its colour."""
    return {regime: PALETTE[i % len(PALETTE)] for i, regime in enumerate(regimes)}


def svg(figure: Figure) -> str:
    """Draw a figure as SVG; the same figure gives the same text."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def write_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write stem.svg and stem.png; the same figure gives the same bytes."""
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("svg", "png")]
    write_text(paths[0], svg(figure))
    with matplotlib.rc_context(STYLE):
        write_bytes(paths[1], lambda file: figure.savefig(file, format="png", dpi=150, metadata={"Software": None}))
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


def curves_figure(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], metric: Metric = ACCURACY
) -> Figure:
    """Draw the validation metric and training loss against the epoch: mean over seeds, band of one sd.

    Args:
        histories: regime → one history per seed; where some are shorter, the mean is over those that go on.
        metric: what networks are judged by.
    """
    loss = "nats" if metric is ACCURACY else metric.unit
    colour = colours(list(histories))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 3.4), layout="constrained")
        panels = figure.subplots(1, 2)
        for axes, key, factor, title in (
            (panels[0], f"validation_{metric.name}", metric.factor, f"validation {metric.title}, {metric.unit}"),
            (panels[1], "train_loss", 1.0, f"training loss, {loss}"),
        ):
            for regime, runs in histories.items():
                longest = max((len(run) for run in runs), default=0)
                columns = [[factor * run[e][key] for run in runs if len(run) > e] for e in range(longest)]
                draw_mean(axes, np.arange(1, longest + 1), columns, colour[regime], regime)
            axes.set_xlabel("epoch")
            axes.set_title(title, fontsize=10, loc="left")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def differences_figure(summaries: Sequence[Summary], metric: Metric = ACCURACY) -> Figure:
    """Draw a dot per seed for each regime's difference to the baseline, with the mean and its interval."""
    colour = colours([summary.regime for summary in summaries])
    shown = [summary for summary in summaries if summary.difference]
    unit = "percentage points" if metric is ACCURACY else metric.difference
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 0.9 + 0.6 * max(1, len(shown))), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color="#666666", linewidth=1)
        for row, summary in enumerate(shown):
            difference = summary.difference
            if difference is None:
                continue
            dots = [metric.factor * value for value in difference.by_seed.values()]
            axes.scatter(dots, [row + 0.16] * len(dots), s=18, color=colour[summary.regime], alpha=0.6, linewidth=0)
            axes.plot(metric.factor * difference.mean, row - 0.16, "D", color=colour[summary.regime], markersize=6)
            if difference.low is not None and difference.high is not None:
                ends = (metric.factor * difference.low, metric.factor * difference.high)
                axes.plot(ends, (row - 0.16, row - 0.16), color=colour[summary.regime], linewidth=2)
        axes.set_yticks(range(len(shown)), [summary.regime for summary in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel(f"difference to conventional, {unit} of test {metric.title}")
    return figure
