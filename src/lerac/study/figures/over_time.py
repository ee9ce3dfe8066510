"""Figures 3 and 5: the validation metric against training time, for regimes and for update rules."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import matplotlib
from matplotlib.figure import Figure

from lerac.study.figures.style import STYLE, colours, draw_mean
from lerac.study.runs.times import ratios_of
from lerac.study.statistics.outcomes import Outcome
from lerac.study.statistics.summary import BASELINE, Summary, summarise

__all__ = ["UPDATE_RULES", "draw_over_time", "measured_over_time"]

UPDATE_RULES = ",".join(
    [
        BASELINE,
        *(f"lerac(curve={curve})" for curve in ("exponential", "linear", "logarithmic", "cosine")),
        *(f"lerac(base={base},curve=staircase)" for base in (2, 10, 100)),
    ]
)
"""The regimes of figure 5; each staircase has as many updates as lift the last layer to the full rate."""


def draw_over_time(outcomes: Sequence[Outcome], title: str) -> Figure:
    """Draw the mean validation metric by epoch and by seconds, with a band of one standard deviation over the seeds.

    The time of an epoch is the mean over the seeds of the seconds that training and validation took until its end.

    Args:
        outcomes: of one recipe, at least one.
        title: of the figure.
    """
    metric = outcomes[0].metric
    histories: dict[str, list[Sequence[Mapping[str, float]]]] = {}
    for outcome in outcomes:
        if outcome.history:
            histories.setdefault(outcome.regime, []).append(outcome.history)
    colour = colours(list(histories))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 4.2), layout="constrained")
        epochs, seconds = figure.subplots(1, 2, sharey=True)
        for regime, runs in histories.items():
            length = max(map(len, runs))
            by_epoch = [[run[e] for run in runs if len(run) > e] for e in range(length)]
            values = [[metric.scale * entry[f"validation_{metric.name}"] for entry in row] for row in by_epoch]
            times = [fmean(entry["seconds"] for entry in entries) for entries in by_epoch]
            draw_mean(epochs, range(1, length + 1), values, colour[regime], regime)
            draw_mean(seconds, times, values, colour[regime], regime)
        for axes, label in ((epochs, "epoch"), (seconds, "seconds of training and validation")):
            axes.set_xlabel(label)
            axes.set_xlim(left=0)
        better = "higher" if metric.goal == "max" else "lower"
        epochs.set_title(f"validation {metric.heading} ({better} is better)", loc="left", fontsize=10)
        figure.suptitle(title, fontsize=10)
        figure.legend(*epochs.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def measured_over_time(outcomes: Sequence[Outcome]) -> dict[str, list[Summary]]:
    """Summarise what the figure shows, paired seed by seed with conventional training.

    Args:
        outcomes: of one recipe, at least one.

    Returns:
        By the title of the metric, such as accuracy: `test accuracy` of the chosen epoch; `validation accuracy, mean
        over all epochs`, which is better the earlier a network is good; `validation accuracy, last epoch`; and `time`,
        seconds over those of conventional training on the same seed, which also depend on what else the machine did
        meanwhile. The metric is in its own unit: accuracies are shares.
    """
    title = outcomes[0].metric.title
    measured: dict[str, dict[str, dict[int, float | None]]] = {
        f"test {title}": {},
        f"validation {title}, mean over all epochs": {},
        f"validation {title}, last epoch": {},
    }
    for outcome in outcomes:
        every = _validated(outcome)
        ended = outcome.value("validation")  # None, or NaN, where there are no epochs
        values = (outcome.value("test"), fmean(every) if every else ended, every[-1] if every else ended)
        for by_regime, value in zip(measured.values(), values, strict=True):
            by_regime.setdefault(outcome.regime, {})[outcome.seed] = value
    regimes = list(dict.fromkeys(outcome.regime for outcome in outcomes))
    summaries = {what: summarise(by_regime) for what, by_regime in measured.items()}
    return {**summaries, "time": [*ratios_of(outcomes, regimes, BASELINE)]}


def _validated(outcome: Outcome) -> list[float]:
    if outcome.state != "done":
        return []
    return [entry[f"validation_{outcome.metric.name}"] for entry in outcome.history]
