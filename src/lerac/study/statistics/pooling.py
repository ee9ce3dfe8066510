"""Runs and recipes taken together: pooled differences, the probability of improvement, and their one bootstrap."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lerac.study.metrics import ACCURACY, Metric
from lerac.study.statistics.exact_tests import SEED, ExactTest, sign_flip_test
from lerac.study.statistics.pairing.student import CONFIDENCE, DIGITS
from lerac.study.statistics.summary import BySeed, Difference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "RESAMPLES",
    "Estimate",
    "Improvement",
    "PooledDifference",
    "bootstrap",
    "estimate",
    "interquartile_mean",
    "pool",
    "probability_of_improvement",
    "unpaired_improvement",
]

RESAMPLES = 10_000
CHUNK = 1_000  # resamples at a time, to bound the memory


def bootstrap(
    sizes: Sequence[int], statistic: Callable[[Sequence["NDArray[np.int64]"]], "NDArray[np.float64]"]
) -> tuple[float | None, float | None]:
    """Give the 95 % percentile interval of 10,000 stratified resamples, the same ones for equal sizes.

    Args:
        sizes: how many each group has; from each, as many are drawn with replacement.
        statistic: from how often each is drawn, (resamples, n) of every group, to (resamples,).

    Returns:
        Lower and upper end; both None if no group has two.
    """
    import numpy as np

    if all(n < 2 for n in sizes):
        return None, None
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(0, RESAMPLES, CHUNK):
        found.append(statistic([rng.multinomial(n, np.full(n, 1 / n), size=CHUNK) for n in sizes]))
    low, high = np.quantile(np.concatenate(found), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Estimate:
    """A number with the percentile interval of a stratified bootstrap.

    Args:
        value: of the differences as measured.
        low: lower end; None if no recipe has two pairs.
        high: upper end.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PooledDifference:
    """Regime minus baseline over several recipes with the same metric; every pair of runs has the same weight.

    Args:
        pairs: number of pairs of each recipe; where they differ, recipes with more weigh more.
        mean: of all differences.
        iqm: interquartile mean: of the middle half of all differences.
        test: sign-flip test of the mean, flips within all recipes.
    """

    pairs: tuple[int, ...]
    mean: Estimate
    iqm: Estimate
    test: ExactTest

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types."""
        return {**asdict(self), "pairs": list(self.pairs), "resamples": RESAMPLES}


def interquartile_mean(values: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Mean over the last axis without the lowest and the highest quarter, each rounded down to whole values."""
    import numpy as np
    from scipy import stats

    return np.asarray(stats.trim_mean(values, 0.25, axis=-1))


def pool(differences: Sequence[Difference]) -> PooledDifference:
    """Take the differences of several recipes together, as rliable does with scores (Agarwal et al., NeurIPS 2021).

    The bootstrap is stratified: from each recipe as many pairs are drawn with replacement as it has. A pair stays a
    pair: it is the differences that are drawn. So the intervals speak of new seeds on these recipes, not of others.

    Args:
        differences: one per recipe, all of the same metric: raw numbers of different units have no mean.

    Raises:
        ValueError: without any difference.
    """
    import numpy as np

    groups = [np.array(list(difference.by_seed.values())) for difference in differences]
    if not groups:
        raise ValueError("no differences to pool; those of one recipe or more were expected")
    return PooledDifference(
        pairs=tuple(map(len, groups)),
        mean=estimate(groups, lambda values: values.mean(axis=-1)),
        iqm=estimate(groups, interquartile_mean),
        test=sign_flip_test(np.concatenate(groups).tolist()),
    )


def estimate(
    groups: Sequence["NDArray[np.float64]"], statistic: Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]
) -> Estimate:
    """Give a statistic of all differences with its bootstrap interval.

    Args:
        groups: the differences of each recipe, (n,).
        statistic: from (…, differences) to (…), over the last axis.
    """
    import numpy as np

    def of_drawn(counts: Sequence["NDArray[np.int64]"]) -> "NDArray[np.float64]":
        drawn = [
            np.repeat(np.tile(group, len(times)), times.ravel()).reshape(times.shape)
            for group, times in zip(groups, counts, strict=True)
        ]
        return statistic(np.concatenate(drawn, axis=-1))

    return Estimate(float(statistic(np.concatenate(groups))), *bootstrap(list(map(len, groups)), of_drawn))


@dataclass(frozen=True)
class Improvement:
    """Probability that a run of a regime is better than one of the baseline, P(X > Y) + ½ P(X = Y).

    Args:
        probability: in [0, 1], the mean over recipes; ½ if neither is better.
        low: lower end of the percentile bootstrap interval; None if no recipe has two seeds.
        high: upper end.
        pairs: seeds whose runs have ended in both regimes, over all recipes; 0 where runs are not paired.
        won: of these, seeds on which the regime is better.
        lost: on which the baseline is.
    """

    probability: float
    low: float | None
    high: float | None
    pairs: int
    won: int
    lost: int

    @property
    def tied(self) -> int:
        """Seeds on which both are equal, or both diverged."""
        return self.pairs - self.won - self.lost

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types."""
        return {**asdict(self), "tied": self.tied, "resamples": RESAMPLES}


def probability_of_improvement(pairs: Sequence[tuple[BySeed, BySeed]], metric: Metric = ACCURACY) -> Improvement | None:
    """Compare every run of a regime with every run of the baseline, recipe by recipe.

    As rliable defines it (Agarwal et al., NeurIPS 2021): all pairs within a recipe, then the mean over recipes; so it
    can be set beside other work, and says what to expect of a single run. The counts `won` and `lost` are seed by seed.
    The bootstrap resamples seeds within each recipe, the same for both regimes, since they share what a seed decides.
    A run that diverged is worse than any that did not, and equal to another that diverged: no failure is left out.

    Args:
        pairs: for each recipe, what was measured of the regime and of the baseline.
        metric: what the values are; decides which of two is better.

    Returns:
        None if no recipe has a seed whose runs ended in both regimes.
    """
    import numpy as np

    better = [matrix for one, other in pairs if len(matrix := _wins(one, other, metric))]
    if not better:
        return None

    def of_drawn(counts: Sequence["NDArray[np.int64]"]) -> "NDArray[np.float64]":
        weights = [times / len(matrix) for times, matrix in zip(counts, better, strict=True)]
        wins = [
            np.einsum("bi,ij,bj->b", w, matrix, w, optimize=True) for w, matrix in zip(weights, better, strict=True)
        ]
        return np.asarray(sum(wins) / len(better))

    own = [np.diagonal(matrix) for matrix in better]  # of the same seed
    low, high = bootstrap(list(map(len, better)), of_drawn)
    return Improvement(
        probability=float(np.mean([matrix.mean() for matrix in better])),
        low=low,
        high=high,
        pairs=sum(map(len, better)),
        won=sum(int((wins == 1).sum()) for wins in own),
        lost=sum(int((wins == 0).sum()) for wins in own),
    )


def unpaired_improvement(one: BySeed, other: BySeed, metric: Metric = ACCURACY) -> Improvement | None:
    """Compare every run of a regime with every run of the baseline where runs are not paired.

    As `probability_of_improvement` of one recipe, but of all runs that have ended, and each regime is resampled by
    itself.

    Args:
        one: what was measured of the regime.
        other: of the baseline.
        metric: what the values are.

    Returns:
        None without a run of each that has ended.
    """
    import numpy as np

    matrix = _beats([v for v in one.values() if v is not None], [v for v in other.values() if v is not None], metric)
    if not matrix.size:
        return None
    n, m = matrix.shape

    def of_drawn(counts: Sequence["NDArray[np.int64]"]) -> "NDArray[np.float64]":
        mine, theirs = counts
        return np.asarray(np.einsum("bi,ij,bj->b", mine / n, matrix, theirs / m, optimize=True))

    return Improvement(float(matrix.mean()), *bootstrap([n, m], of_drawn), pairs=0, won=0, lost=0)


def _wins(one: BySeed, other: BySeed, metric: Metric) -> "NDArray[np.float64]":
    """(n, n): 1 where seed i of the regime beats seed j of the baseline, ½ where they are equal, else 0."""
    seeds = [seed for seed in one if one[seed] is not None and other.get(seed) is not None]
    return _beats([one[seed] for seed in seeds], [other[seed] for seed in seeds], metric)


def _beats(one: Sequence[float | None], other: Sequence[float | None], metric: Metric) -> "NDArray[np.float64]":
    import numpy as np

    mine, theirs = (np.array([_goodness(value, metric) for value in own]) for own in (one, other))
    return np.asarray((mine[:, None] > theirs) + 0.5 * (mine[:, None] == theirs))


def _goodness(value: float | None, metric: Metric) -> float:
    if value is None or math.isnan(value):
        return -math.inf
    return round(value if metric.goal == "max" else -value, DIGITS)
