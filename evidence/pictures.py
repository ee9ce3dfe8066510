"""The figures of docs/evidence.md."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lerac.study.figures.style import STYLE
from lerac.study.statistics import Difference

__all__ = ["forest", "sweeps"]


@matplotlib.rc_context(STYLE)
def forest(panels: Mapping[str, Mapping[str, Difference]]) -> Figure:
    """Draw differences to conventional training with their intervals: a panel per title, a row per regime."""
    figure = Figure(figsize=(8.5, 2.7), layout="constrained")
    for axes, (title, differences) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for row, difference in enumerate(reversed(list(differences.values()))):
            axes.errorbar(difference.mean, row, xerr=_reach([difference]), fmt="o", color="C0", capsize=3)
        axes.axvline(0, color="0.5", linewidth=0.8)
        labels = [f"{name} (n = {difference.n})" for name, difference in differences.items()]
        axes.set_yticks(range(len(labels)), labels[::-1])
        axes.set_title(title)
    figure.supxlabel("test accuracy minus that of conventional training, in points, with 95 % interval")
    return figure


@matplotlib.rc_context(STYLE)
def sweeps(
    ks: Mapping[float, Difference], ratios: Mapping[float, Difference], unchanged: Mapping[float, float]
) -> Figure:
    """Draw the difference to conventional training against k and against ratio, and the updates lost at each ratio.

    Args:
        ks: k in epochs → difference.
        ratios: ratio → difference.
        unchanged: ratio → percent of weights that a step of the curriculum leaves as they were.
    """
    figure = Figure(figsize=(8.5, 2.7), layout="constrained")
    by_k = figure.add_subplot(1, 3, 1)
    by_ratio, lost = figure.add_subplot(1, 3, 2, sharey=by_k), figure.add_subplot(1, 3, 3)
    _against(by_k, ks)
    by_k.set_xlabel("k in epochs")
    by_k.set_ylabel("minus conventional, in points")
    _against(by_ratio, ratios)
    by_ratio.set_xscale("log")
    by_ratio.set_xlabel("ratio")
    lost.plot(list(unchanged), list(unchanged.values()), "o-")
    lost.set_xscale("log")
    lost.set_xlabel("ratio")
    lost.set_ylabel("updates lost in rounding, in %")
    return figure


def _against(axes: Axes, found: Mapping[float, Difference]) -> None:
    differences = list(found.values())
    axes.errorbar(list(found), [d.mean for d in differences], yerr=_reach(differences), fmt="o-", capsize=3)
    axes.axhline(0, color="0.5", linewidth=0.8)


def _reach(differences: Sequence[Difference]) -> list[list[float]]:
    """Give how far the intervals reach below and above the means."""
    ends = [(d.mean, d.low, d.high) for d in differences if d.low is not None and d.high is not None]
    return [[mean - low for mean, low, _ in ends], [high - mean for mean, _, high in ends]]
