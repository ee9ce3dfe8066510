"""Pictures of learning rates and of σ, without training: of the report, of `lerac schedule`, and figure 1."""

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from lerac import plot
from lerac.regimes.effects import Smoothing, sigma_of
from lerac.study.errors import StudyError
from lerac.study.figures.style import LONGEST, PALETTE, STYLE, broken
from lerac.study.plan.listing import Schedule
from lerac.study.plan.rates import Rates, rates_of
from lerac.study.plan.study import Run

__all__ = ["draw_schedule", "listing_figure", "rates_figure", "sigma_figure"]


def rates_figure(run: Run, size: tuple[float, float] = (4.4, 2.8)) -> Figure:
    """Draw the learning rate of every layer over the whole training of a run; the size is in inches.

    Neither data nor weights are needed. Where a loss drives the base schedule, it is held at the full rate.
    """
    return _draw(rates_of(run), size)


def listing_figure(schedule: Schedule) -> Figure:
    """Draw the curriculum, and beside it the whole training, of what `lerac schedule` lists."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, title in zip(figure.subplots(1, 2), ("curriculum", "whole training"), strict=True):
        plot.rates(schedule.at, {g.name: g.lrs for g in schedule.groups}, steps=schedule.steps, axes=axes)
        axes.locator_params(axis="x", nbins=5)
        of = schedule.source if schedule.regime is None else f"{schedule.source}, {schedule.regime}"
        axes.set_title(f"{schedule.recipe}, {of}: {title}", fontsize=10, loc="left")
    # Next to the whole training, most curricula are too short to be seen.
    figure.axes[0].set_xlim(0, min(schedule.steps, max(1, 1.5 * schedule.curriculum_steps)))
    return figure


def draw_schedule(run: Run) -> tuple[Figure, dict[str, Any]]:
    """Draw figure 1: the rates of a run with a curriculum; nothing is trained and no data is needed.

    Returns:
        The figure, and what it shows: length `k` of the curriculum (None: that of the training) and of the training in
        optimizer steps, and the start of each layer over its full rate, nearest to the input first.

    Raises:
        StudyError: if the regime of the run has no curriculum of learning rates.
    """
    if run.curriculum is None:
        raise StudyError(
            f"--regime {run.regime} leaves the learning rates alone; figure 1 shows a curriculum, such as lerac"
        )
    k, rates = run.curriculum.k, rates_of(run)
    figure = _draw(rates, (6.4, 3.6))
    [axes] = figure.axes
    if k is not None:
        axes.axvline(k, color="0.6", linewidth=0.8, linestyle="--")
        where: Any = {"xycoords": ("data", "axes fraction"), "xytext": (3, -3), "textcoords": "offset points"}
        axes.annotate(f"k = {k}", (k, 1), va="top", **where)
    axes.set_title(f"{run.recipe}, {run.regime}", loc="left", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    starts = {name: rates.factor(name, 0) for name in rates.starts}
    return figure, {"recipe": run.recipe, "regime": run.regime, "k": k, "steps": rates.steps, "starts": starts}


def sigma_figure(smoothings: Mapping[str, Smoothing], steps: int) -> Figure:
    """Draw σ of Curriculum by Smoothing against the optimizer step; a line for all regimes that have the same.

    Args:
        smoothings: regime → its smoothing.
        steps: of the whole training.
    """
    together: dict[Smoothing, list[str]] = {}
    for regime, smoothing in smoothings.items():
        together.setdefault(smoothing, []).append(regime)
    long = any(len(", ".join(regimes)) > LONGEST for regimes in together.values())
    labels = [",\n".join(map(broken, regimes)) if long else ", ".join(regimes) for regimes in together.values()]
    below = 0.18 * sum(1 + label.count("\n") for label in labels) if long else 0.0
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 2.8 + below), layout="constrained")
        axes = figure.add_subplot()
        for number, (smoothing, label) in enumerate(zip(together, labels, strict=True)):
            at = [*range(0, steps, smoothing.every), steps]
            sigmas = [sigma_of(smoothing)(step) for step in at[:-1]]
            style = ("-", "--", ":", "-.")[number % 4]
            axes.step(at, [*sigmas, sigmas[-1]], where="post", color=PALETTE[2], linestyle=style, label=label)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("σ, pixels")
        if long:
            figure.legend(loc="outside lower left", frameon=False)
        else:
            axes.legend(frameon=False)
    return figure


def _draw(rates: Rates, size: tuple[float, float]) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        plot.schedule(
            rates.layers,
            k=rates.k,
            ratio=rates.starts,
            curve=rates.curve,
            lr=rates.shared,
            steps=rates.steps,
            axes=figure.add_subplot(),
        )
    return figure
