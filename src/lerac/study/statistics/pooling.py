"""What several recipes show together: mean and interquartile mean of all paired differences of one metric."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lerac.study.statistics.exact_tests import SEED, ExactTest, sign_flip_test
from lerac.study.statistics.improvement import CHUNK, RESAMPLES
from lerac.study.statistics.student import CONFIDENCE
from lerac.study.statistics.summary import Difference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Estimate", "PooledDifference", "bootstrap", "interquartile_mean", "pool"]


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
    everything = np.concatenate(groups)
    return PooledDifference(
        pairs=tuple(map(len, groups)),
        mean=bootstrap(groups, lambda values: values.mean(axis=-1)),
        iqm=bootstrap(groups, interquartile_mean),
        test=sign_flip_test(everything.tolist()),
    )


def bootstrap(
    groups: Sequence["NDArray[np.float64]"], statistic: Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]
) -> Estimate:
    """Give a statistic of all differences with the 95 % percentile interval of 10,000 stratified resamples.

    Args:
        groups: the differences of each recipe, (n,).
        statistic: from (…, differences) to (…), over the last axis.
    """
    import numpy as np

    value = float(statistic(np.concatenate(groups)))
    if all(len(group) < 2 for group in groups):
        return Estimate(value, None, None)
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(0, RESAMPLES, CHUNK):
        drawn = [group[rng.integers(len(group), size=(CHUNK, len(group)))] for group in groups]
        found.append(statistic(np.concatenate(drawn, axis=-1)))
    low, high = np.quantile(np.concatenate(found), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))
