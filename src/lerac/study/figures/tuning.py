"""The figures of a tuning: what was tried along each axis, and what fewer configurations were to reach."""

import math
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from lerac.study.figures.comparison import GREY, SIZE
from lerac.study.figures.style import STYLE, as_it_is, colours
from lerac.study.metrics import Metric
from lerac.study.plan.tuning import NEAR, Axis
from lerac.study.recipes.regimes import parse_regime
from lerac.study.runs.tuning import Choice, Tried
from lerac.study.statistics.summary import Summary

__all__ = ["axis_figure", "best_of_figure"]

FEW_TICKS = 50  # high over low of an axis from which on powers of ten are enough
UNITS = {"k": "k, epochs", "every": "every, epochs", "sigma": "σ, pixels", "lr": "learning rate"}


def best_of_figure(tried: Tried) -> Figure:
    """Draw the expected best of n configurations against n, a line for each regime that has one."""
    metric, colour = tried.metric, colours([choice.regime for choice in tried.choices])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        for choice in tried.choices:
            values = [metric.scale * value for value in choice.best_of]
            axes.plot(range(1, len(values) + 1), values, "o-", markersize=3, color=colour[choice.regime], linewidth=1.6)
        axes.set_xlabel("configurations tried, n")
        axes.set_title(as_it_is(f"expected best validation {metric.heading}"), fontsize=10, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def axis_figure(tried: Tried, option: str) -> Figure:
    """Draw the mean of every configuration against one option: the chosen one ringed, the edges of the axis grey.

    A configuration of which a run diverged is a cross at the bottom, or at the top where less is better.
    """
    metric, colour, axis = tried.metric, colours([c.regime for c in tried.choices]), tried.tuning.axes[option]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        steps = (1.0, 2.0, 5.0) if axis.high / axis.low < FEW_TICKS else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=steps))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        for low, high in _edges(axis):
            axes.axvspan(low, high, color=GREY, alpha=0.13, linewidth=0)
        for choice in tried.choices:
            _draw(axes, choice, option, metric, colour[choice.regime])
        axes.set_xlabel(as_it_is(UNITS.get(option, option)))
        axes.set_title(as_it_is(f"validation {metric.heading}"), fontsize=10, loc="left")
    return figure


def _draw(axes: Axes, choice: Choice, option: str, metric: Metric, colour: str) -> None:
    own = [one for one in choice.configurations if option in parse_regime(one.regime).options]
    drawn = {one.regime: metric.scale * one.mean for one in own if one.mean is not None and not one.diverged}
    at = _values(own, option)
    axes.scatter([at[name] for name in drawn], [*drawn.values()], s=20, alpha=0.75, color=colour, linewidth=0)
    broken, bottom = [at[one.regime] for one in own if one.diverged], 0.03 if metric.goal == "max" else 0.97
    place = axes.get_xaxis_transform()
    axes.scatter(broken, [bottom] * len(broken), marker="x", s=26, color=colour, transform=place)
    if choice.chosen and (name := choice.chosen.regime) in drawn:
        axes.scatter([at[name]], [drawn[name]], s=95, facecolor="none", edgecolor=colour, linewidth=1.6)


def _values(own: Sequence[Summary], option: str) -> dict[str, float]:
    return {one.regime: float(parse_regime(one.regime).options[option]) for one in own}


def _edges(axis: Axis) -> list[tuple[float, float]]:
    """Give where a value lies on the edge of an axis: within 10 % of its ends, of logarithms."""
    near = (axis.high / axis.low) ** NEAR
    return [] if math.isclose(near, 1) else [(axis.low, axis.low * near), (axis.high / near, axis.high)]
