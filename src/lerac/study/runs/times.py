"""How long training took, per regime, and its ratio to the baseline on the same seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lerac.study.statistics.outcomes import Outcome
from lerac.study.statistics.summary import BySeed, Difference, Summary, summarise

__all__ = ["Ratios", "Time", "Unit", "ratios_of", "times_of", "unit_of"]


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


@dataclass(frozen=True)
class Ratios(Summary):
    """Times of one regime over the baseline's on the same seed: their mean is geometric, its interval Student's.

    The difference is that of the mean and its interval to 1, the ratio of the baseline itself.
    """

    @property
    def mean(self) -> float | None:
        """Geometric mean of the ratios; None without any."""
        return math.exp(fmean(map(math.log, self.values.values()))) if self.values else None

    @property
    def sd(self) -> None:
        """None: the interval says how far the ratios vary."""
        return None


def times_of(outcomes: Sequence[Outcome], regimes: Sequence[str], baseline: str | None) -> list[Time]:
    """Summarise the training times of one experiment's runs, a `Time` per regime.

    Args:
        outcomes: of one experiment.
        regimes: in the order wanted.
        baseline: the regime to whose time the others have a ratio; None for no ratios.
    """
    seconds = _seconds(outcomes, regimes)
    return [
        Time(plain, _epochs(outcomes, plain), *_ratio(log))
        for plain, log in zip(summarise(seconds), _logarithms(seconds, baseline), strict=True)
    ]


def ratios_of(outcomes: Sequence[Outcome], regimes: Sequence[str], baseline: str) -> list[Ratios]:
    """Give the times over the baseline's, seed by seed, a row per regime; arguments as for `times_of`."""
    rows = []
    for log in _logarithms(_seconds(outcomes, regimes), baseline):
        mean, low, high = (None if end is None else end - 1 for end in _ratio(log))
        paired = dict.fromkeys(log.values, 0.0) if log.regime == baseline else {}
        difference = None
        if log.difference is not None and mean is not None:
            paired = dict(log.difference.by_seed)
            difference = Difference({seed: math.expm1(one) for seed, one in paired.items()}, mean, low, high)
        values = {seed: math.exp(one) for seed, one in paired.items()}
        rows.append(Ratios(log.regime, values, log.diverged, log.missing, difference))
    return rows


def unit_of(times: Sequence[Time]) -> Unit | None:
    """Give the unit in which to show some times together; None if there is none to show."""
    means = [time.seconds.mean for time in times if time.seconds.mean is not None]
    return next(unit for least, unit in UNITS if max(means) >= least) if means else None


def _seconds(outcomes: Sequence[Outcome], regimes: Sequence[str]) -> dict[str, dict[int, float | None]]:
    seconds: dict[str, dict[int, float | None]] = {regime: {} for regime in regimes}
    for one in outcomes:
        seconds[one.regime][one.seed] = float("nan") if one.diverged else one.seconds or None
    return seconds


def _logarithms(seconds: Mapping[str, BySeed], baseline: str | None) -> list[Summary]:
    logarithms = {
        regime: {seed: s and math.log(s) for seed, s in by_seed.items()} for regime, by_seed in seconds.items()
    }
    return summarise(logarithms, baseline)


def _epochs(outcomes: Sequence[Outcome], summary: Summary) -> float | None:
    counts = [one.epochs for one in outcomes if one.regime == summary.regime and one.seed in summary.values]
    known = [count for count in counts if count is not None]
    return fmean(known) if known else None


def _ratio(log: Summary) -> tuple[float | None, float | None, float | None]:
    if (difference := log.difference) is None:
        return None, None, None
    ends = (difference.mean, difference.low, difference.high)
    mean, low, high = (None if value is None else math.exp(value) for value in ends)
    return mean, low, high
