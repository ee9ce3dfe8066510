"""How long training took, per regime, and its ratio to the baseline on the same seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lerac.study.runs.folder import Result
from lerac.study.statistics import Summary, summarise

__all__ = ["Time", "Unit", "times_of", "unit_of"]


@dataclass(frozen=True)
class Unit:
    """In what times are shown.

    Args:
        name: s, min or h.
        seconds: in one of it.
        digits: behind the point.
    """

    name: str
    seconds: int
    digits: int


# From so many seconds on.
UNITS = ((36_000, Unit("h", 3600, 1)), (600, Unit("min", 60, 1)), (10, Unit("s", 1, 1)), (0, Unit("s", 1, 2)))


@dataclass(frozen=True)
class Time:
    """The training times of one regime; runs that diverged stop early and are in none of them.

    Args:
        seconds: summary of the runs' seconds.
        epochs: mean number of epochs, which early stopping shortens; None without a run that has ended.
        ratio: geometric mean of the ratios to the baseline's time, seed by seed; None for the baseline itself, or
            without a common seed.
        low: lower end of its interval: Student's t, of the logarithms.
        high: upper end.
    """

    seconds: Summary
    epochs: float | None
    ratio: float | None
    low: float | None
    high: float | None


def times_of(results: Sequence[Result], regimes: Sequence[str], baseline: str | None) -> list[Time]:
    """Summarise the training times of one recipe's runs, a `Time` per regime.

    Args:
        results: runs of one recipe.
        regimes: in the order wanted.
        baseline: the regime to whose time the others have a ratio; None for no ratios.
    """
    seconds: dict[str, dict[int, float | None]] = {regime: {} for regime in regimes}
    for result in results:
        seconds[result.run.regime][result.run.seed] = _seconds(result)
    logarithms = {
        regime: {seed: s and math.log(s) for seed, s in by_seed.items()} for regime, by_seed in seconds.items()
    }
    return [
        Time(plain, _epochs(results, plain), *_ratio(log))
        for plain, log in zip(summarise(seconds), summarise(logarithms, baseline), strict=True)
    ]


def unit_of(times: Sequence[Time]) -> Unit | None:
    """Give the unit in which to show some times together; None if there is none to show."""
    means = [time.seconds.mean for time in times if time.seconds.mean is not None]
    return next(unit for least, unit in UNITS if max(means) >= least) if means else None


def _seconds(result: Result) -> float | None:
    if result.status is None:
        return None
    return float("nan") if result.diverged else float(result.status["seconds"]) or None


def _epochs(results: Sequence[Result], summary: Summary) -> float | None:
    counts = [
        r.status["epochs"]
        for r in results
        if r.status and r.run.regime == summary.regime and r.run.seed in summary.values
    ]
    return fmean(counts) if counts else None


def _ratio(log: Summary) -> tuple[float | None, float | None, float | None]:
    if (difference := log.difference) is None:
        return None, None, None
    ends = (difference.mean, difference.low, difference.high)
    mean, low, high = (None if value is None else math.exp(value) for value in ends)
    return mean, low, high
