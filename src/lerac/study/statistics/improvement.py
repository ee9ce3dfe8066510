"""How often a run of one regime is better than a run of another, failures included."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lerac.study.metrics import ACCURACY, Metric
from lerac.study.statistics.exact_tests import SEED
from lerac.study.statistics.student import CONFIDENCE, DIGITS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["RESAMPLES", "Improvement", "probability_of_improvement"]

RESAMPLES = 10_000
CHUNK = 1_000  # resamples at a time, to bound the memory

Measured = Mapping[int, float | None]


@dataclass(frozen=True)
class Improvement:
    """Probability that a run of a regime is better than one of the baseline, P(X > Y) + ½ P(X = Y).

    Args:
        probability: in [0, 1], the mean over recipes; ½ if neither is better.
        low: lower end of the percentile bootstrap interval; None if no recipe has two seeds.
        high: upper end.
        pairs: seeds whose runs have ended in both regimes, over all recipes.
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


def probability_of_improvement(
    pairs: Sequence[tuple[Measured, Measured]], metric: Metric = ACCURACY
) -> Improvement | None:
    """Compare every run of a regime with every run of the baseline, recipe by recipe.

    As rliable defines it (Agarwal et al., NeurIPS 2021): all pairs within a recipe, then the mean over recipes; so it
    can be set beside other work, and says what to expect of a single run. The counts `won` and `lost` are seed by seed.
    The bootstrap resamples seeds within each recipe, the same for both regimes, since they share what a seed decides.
    A run that diverged is worse than any that did not, and equal to another that diverged: no failure is left out.

    Args:
        pairs: for each recipe, the regime's and the baseline's seed → value; NaN if diverged, None if not ended.
        metric: what the values are; decides which of two is better.

    Returns:
        None if no recipe has a seed whose runs ended in both regimes.
    """
    import numpy as np

    better = [matrix for one, other in pairs if len(matrix := _wins(one, other, metric))]
    if not better:
        return None
    own = [np.diagonal(matrix) for matrix in better]  # of the same seed
    low = high = None
    if any(len(matrix) > 1 for matrix in better):
        low, high = _interval(better)
    return Improvement(
        probability=float(np.mean([matrix.mean() for matrix in better])),
        low=low,
        high=high,
        pairs=sum(map(len, better)),
        won=sum(int((wins == 1).sum()) for wins in own),
        lost=sum(int((wins == 0).sum()) for wins in own),
    )


def _wins(one: Measured, other: Measured, metric: Metric) -> "NDArray[np.float64]":
    """(n, n): 1 where seed i of the regime beats seed j of the baseline, ½ where they are equal, else 0."""
    import numpy as np

    seeds = [seed for seed in one if one[seed] is not None and other.get(seed) is not None]
    mine, theirs = (np.array([_goodness(by_seed[seed], metric) for seed in seeds]) for by_seed in (one, other))
    return np.asarray((mine[:, None] > theirs) + 0.5 * (mine[:, None] == theirs))


def _goodness(value: float | None, metric: Metric) -> float:
    if value is None or math.isnan(value):
        return -math.inf
    return round(value if metric.higher_is_better else -value, DIGITS)


def _interval(better: Sequence["NDArray[np.float64]"]) -> tuple[float, float]:
    import numpy as np

    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(0, RESAMPLES, CHUNK):
        total = np.zeros(CHUNK)
        for matrix in better:
            n = len(matrix)
            weights = rng.multinomial(n, np.full(n, 1 / n), size=CHUNK) / n  # how often each seed is drawn
            total += np.einsum("bi,ij,bj->b", weights, matrix, weights, optimize=True)
        found.append(total / len(better))
    low, high = np.quantile(np.concatenate(found), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
