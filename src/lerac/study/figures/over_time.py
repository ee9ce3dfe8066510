"""Figures 3 and 5: the validation metric against training time, for regimes and for update rules."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from lerac.study.figures.style import STYLE, colours, draw_mean
from lerac.study.runs.folder import Result
from lerac.study.statistics import BASELINE, Summary, summarise

__all__ = ["UPDATE_RULES", "draw_over_time", "outcomes"]

UPDATE_RULES = ",".join(
    [
        BASELINE,
        *(f"lerac(curve={curve})" for curve in ("exponential", "linear", "logarithmic", "cosine")),
        *(f"lerac(base={base},curve=staircase)" for base in (2, 10, 100)),
    ]
)
"""The regimes of figure 5; each staircase has as many updates as lift the last layer to the full rate."""


def draw_over_time(results: Sequence[Result], title: str) -> Figure:
    """Draw the mean validation metric by epoch and by seconds, with a band of one standard deviation over the seeds.

    The time of an epoch is the mean over the seeds of the seconds that training and validation took until its end.

    Args:
        results: runs of one recipe, at least one.
        title: of the figure.
    """
    metric = results[0].metric
    histories: dict[str, list[list[dict[str, Any]]]] = {}
    for result in results:
        if result.history:
            histories.setdefault(result.run.regime, []).append(result.history)
    colour = colours(list(histories))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 4.2), layout="constrained")
        epochs, seconds = figure.subplots(1, 2, sharey=True)
        for regime, runs in histories.items():
            length = max(map(len, runs))
            by_epoch = [[run[e] for run in runs if len(run) > e] for e in range(length)]
            values = [[metric.factor * entry[f"validation_{metric.name}"] for entry in row] for row in by_epoch]
            times = [fmean(entry["seconds"] for entry in entries) for entries in by_epoch]
            draw_mean(epochs, range(1, length + 1), values, colour[regime], regime)
            draw_mean(seconds, times, values, colour[regime], regime)
        for axes, label in ((epochs, "epoch"), (seconds, "seconds of training and validation")):
            axes.set_xlabel(label)
            axes.set_xlim(left=0)
        better = "higher" if metric.higher_is_better else "lower"
        epochs.set_title(f"validation {metric.title}, {metric.unit} ({better} is better)", loc="left", fontsize=10)
        figure.suptitle(title, fontsize=10)
        figure.legend(*epochs.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def outcomes(results: Sequence[Result]) -> dict[str, list[Summary]]:
    """Summarise what the figure shows, paired seed by seed with conventional training.

    Args:
        results: runs of one recipe, at least one.

    Returns:
        By the title of the metric, such as accuracy: `test accuracy` of the chosen epoch; `validation accuracy, mean
        over all epochs`, which is better the earlier a network is good; `validation accuracy, last epoch`; and `time`,
        seconds over those of conventional training on the same seed, which also depend on what else the machine did
        meanwhile. The metric is in its own unit: accuracies are shares.
    """
    metric = results[0].metric
    times = {result.run.seed: _seconds(result) for result in results if result.run.regime == BASELINE}
    measured: dict[str, dict[str, dict[int, float | None]]] = {
        f"test {metric.title}": {},
        f"validation {metric.title}, mean over all epochs": {},
        f"validation {metric.title}, last epoch": {},
        "time": {},
    }
    for result in results:
        regime, seed, base = result.run.regime, result.run.seed, times.get(result.run.seed)
        own = _seconds(result)
        every = _validated(result)
        values = (
            result.value("test", metric.name),
            fmean(every) if every else result.value("validation", metric.name),  # None, or NaN
            every[-1] if every else result.value("validation", metric.name),
            own / base if own and base else None,
        )
        for by_regime, value in zip(measured.values(), values, strict=True):
            by_regime.setdefault(regime, {})[seed] = value
    return {what: summarise(by_regime) for what, by_regime in measured.items()}


def _seconds(result: Result) -> float | None:
    return None if result.status is None or result.diverged else float(result.status["seconds"])


def _validated(result: Result) -> list[float]:
    if result.status is None or result.diverged:
        return []
    return [entry[f"validation_{result.metric.name}"] for entry in result.history]
