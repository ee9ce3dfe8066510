"""The figures of a report: narrow enough for a phone, to stand side by side on a wider page."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lerac.study.figures.style import LONGEST, STYLE, WIDEST, as_it_is, broken, colours, draw_mean
from lerac.study.metrics import ACCURACY, Metric
from lerac.study.statistics.summary import Summary

__all__ = ["SIZE", "curve_figure", "differences_figure", "seeds_figure"]

SIZE = (4.4, 2.9)  # inches: on a narrow phone, text is still 10 pixels high
GREY = "#888888"


def seeds_figure(summaries: Sequence[Summary], metric: Metric = ACCURACY, *, joined: bool = True) -> Figure:
    """Draw a dot for every run, a bar at each regime's mean, and, if `joined`, a line through the runs of each seed."""
    colour = colours([summary.regime for summary in summaries])
    seeds = sorted({seed for summary in summaries for seed in summary.values})
    figure, axes = _rows([summary.regime for summary in summaries])
    with matplotlib.rc_context(STYLE):
        for seed in seeds if joined else ():
            at = [(metric.scale * s.values[seed], row) for row, s in enumerate(summaries) if seed in s.values]
            axes.plot(*zip(*at, strict=True), color=GREY, alpha=0.35, linewidth=0.8, zorder=1)
        for row, summary in enumerate(summaries):
            dots = [metric.scale * value for value in summary.values.values()]
            axes.scatter(dots, [row] * len(dots), s=22, color=colour[summary.regime], alpha=0.75, linewidth=0, zorder=2)
            if summary.mean is not None:
                mean = metric.scale * summary.mean
                axes.plot((mean, mean), (row - 0.28, row + 0.28), color=colour[summary.regime], linewidth=2.4)
        axes.set_xlabel(as_it_is(f"test {metric.heading}"))
    return figure


def differences_figure(summaries: Sequence[Summary], baseline: str, metric: Metric = ACCURACY) -> Figure:
    """Draw a dot per seed for each regime's difference to the baseline, with the mean and its interval.

    Where runs are not paired, there are no dots. Rows are those of `seeds_figure`, so that the two can stand side by
    side; the baseline's is empty.
    """
    colour = colours([summary.regime for summary in summaries])
    unit = "percentage points" if metric.unit == "%" else metric.difference
    figure, axes = _rows([summary.regime for summary in summaries])
    with matplotlib.rc_context(STYLE):
        axes.axvline(0, color=GREY, linewidth=1, zorder=1)
        for row, summary in enumerate(summaries):
            style: dict[str, Any] = {"color": colour[summary.regime]}
            if (difference := summary.difference) is None:
                continue
            dots = [metric.scale * value for value in difference.by_seed.values()]
            axes.scatter(dots, [row + 0.17] * len(dots), s=20, alpha=0.6, linewidth=0, **style)
            axes.plot(metric.scale * difference.mean, row - 0.17, "D", markersize=6, **style)
            if difference.low is not None and difference.high is not None:
                ends = (metric.scale * difference.low, metric.scale * difference.high)
                axes.plot(ends, (row - 0.17, row - 0.17), linewidth=2.2, solid_capstyle="round", **style)
        of = broken(baseline) if len(baseline) > LONGEST + WIDEST else baseline
        unit = f",{chr(10) if len(baseline) > WIDEST else ' '}{unit}" if unit else ""
        narrow = max(len(line) for s in summaries for line in broken(s.regime).split("\n")) > WIDEST
        axes.set_xlabel(as_it_is(f"difference to {of}{unit}"), loc="right" if narrow else "center")
    return figure


def curve_figure(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], key: str, label: str, scale: float = 1
) -> Figure:
    """Draw one number of the history against the epoch: mean over seeds, band of one standard deviation.

    Colours are those of `lerac.study.figures.style.colours`; the page has the legend.

    Args:
        histories: regime → one history per seed, whose entries say their `epoch`, from 0; the mean of an epoch is over
            those that have the number there.
        key: of the number in a history's entries.
        label: what it is, with its unit.
        scale: from the number to what is drawn.
    """
    colour = colours(list(histories))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        for regime, runs in histories.items():
            known: dict[int, list[float]] = {}
            for entry in (one for run in runs for one in run if key in one):
                known.setdefault(int(entry["epoch"]) + 1, []).append(scale * entry[key])
            epochs = sorted(known)
            draw_mean(axes, np.array(epochs), [known[epoch] for epoch in epochs], colour[regime], regime)
        axes.set_xlabel("epoch")
        axes.set_title(as_it_is(broken(label)), fontsize=10, loc="left")
    return figure


def _rows(names: Sequence[str]) -> tuple[Figure, Axes]:
    """Give a figure with a row for each name, the first on top; a long name is broken at its bracket."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(SIZE[0], 0.9 + 0.55 * max(2, len(names))), layout="constrained")
        axes = figure.add_subplot()
        axes.set_yticks(range(len(names)), [as_it_is(broken(name)) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
    return figure, axes
