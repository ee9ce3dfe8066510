"""What the statistics of a study promise and what they keep, by simulation: prints Markdown tables.

    python benchmarks/interval_coverage.py [--studies 40000] [--bootstraps 500] [--seed 0]

First: how often Student's interval of the mean paired difference (nominally 95 %) holds the true mean, for normal,
skewed, heavy-tailed and discrete differences. Then the percentile bootstraps: of mean and interquartile mean over
recipes, and of the probability of improvement. Then how often a study without any difference shows one in any of 12
comparisons, each alone and after Holm, by the t-test. Then whether so many seeds as `seeds_needed` asks for show the
difference as often as planned. Last: Welch's interval and the exchange of labels, for runs that are not paired. ± is
two standard errors of the simulation.
"""

import argparse
import math
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lerac.study.statistics import (
    ALPHA,
    holm,
    interquartile_mean,
    label_test,
    probability_of_improvement,
    seeds_needed,
    student_interval,
    student_p,
    welch_interval,
)
from lerac.study.statistics.pooling import estimate

Values = NDArray[np.float64]
SEEDS = (5, 10, 30)
EFFECTS = (0.25, 0.5, 1.0, 2.0)
SPREADS = ((1.0, 1.0), (1.0, 0.25))  # of the runs of a regime and of the baseline
IMAGES = 1_000  # of a test split, for the discrete differences


def _accuracies(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Difference of two accuracies, 91 and 90 %, each of a whole number of 1,000 images."""
    return np.asarray((rng.binomial(IMAGES, 0.91, shape) - rng.binomial(IMAGES, 0.90, shape)) / IMAGES)


def _mostly_nothing(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """One image in 1,000 more in a fifth of the seeds, else none."""
    return (rng.random(shape) < 0.2) / IMAGES


Draw = Callable[[np.random.Generator, tuple[int, ...]], Values]

DIFFERENCES: dict[str, tuple[Draw, float]] = {  # how they are drawn, and their true mean
    "normal": (lambda rng, shape: rng.normal(0.3, 1, shape), 0.3),
    "uniform": (lambda rng, shape: rng.uniform(-1, 1, shape), 0.0),
    "difference of two accuracies on 1,000 images": (_accuracies, 0.01),
    "Laplace": (lambda rng, shape: rng.laplace(0, 1, shape), 0.0),
    "Student's t, 3 degrees of freedom": (lambda rng, shape: rng.standard_t(3, shape), 0.0),
    "exponential": (lambda rng, shape: rng.exponential(1, shape), 1.0),
    "lognormal, σ = 1": (lambda rng, shape: rng.lognormal(0, 1, shape), math.exp(0.5)),
    "0 in four fifths of the seeds, else one image of 1,000": (_mostly_nothing, 0.2 / IMAGES),
}


def student_table(studies: int, seed: int) -> None:
    print("| differences | " + " | ".join(f"n = {n}" for n in SEEDS) + " |")
    print("|---|" + "---|" * len(SEEDS))
    for name, (draw, mean) in DIFFERENCES.items():
        found = []
        for n in SEEDS:
            _, low, high = student_interval(draw(np.random.default_rng([seed, n]), (studies, n)))
            found.append(_share(float(((low <= mean) & (mean <= high)).mean()), studies))
        print(f"| {name} | " + " | ".join(found) + " |")


def bootstrap_table(studies: int, seed: int) -> None:
    print("\n| percentile bootstrap, normal differences | " + " | ".join(f"n = {n}" for n in SEEDS) + " |")
    print("|---|" + "---|" * len(SEEDS))
    for recipes in (1, 4):
        for title, statistic in (("mean", _mean), ("interquartile mean", interquartile_mean)):
            shares = [_pooled_hits(statistic, recipes, n, studies, seed) for n in SEEDS]
            cells = " | ".join(_share(share, studies) for share in shares)
            print(f"| {title}, recipes: {recipes} | {cells} |")
        shares = [_improvement_hits(recipes, n, studies, seed) for n in SEEDS]
        cells = " | ".join(_share(share, studies) for share in shares)
        print(f"| probability of improvement, recipes: {recipes} | {cells} |")


def family_table(studies: int, seed: int) -> None:
    print("\n| no difference, but one shown in any of 12 comparisons | " + " | ".join(f"n = {n}" for n in SEEDS) + " |")
    print("|---|" + "---|" * len(SEEDS))
    rows: dict[str, list[str]] = {"each alone": [], "after Holm": []}
    for n in SEEDS:
        ps = student_p(np.random.default_rng([seed, n]).normal(size=(studies, 12, n)))
        rows["each alone"].append(_share(float((ps.min(axis=1) <= ALPHA).mean()), studies))
        with patch("gc.collect"):  # statsmodels collects garbage in every call
            smallest = [min(p for p in holm(row) if p is not None) for row in ps.tolist()]
        rows["after Holm"].append(_share(float(np.mean(np.array(smallest) <= ALPHA)), studies))
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


def power_table(studies: int, seed: int) -> None:
    print("\n| difference ÷ sd | " + " | ".join(map(str, EFFECTS)) + " |")
    print("|---|" + "---|" * len(EFFECTS))
    plans = [seeds_needed(effect, 1.0).by_t or 0 for effect in EFFECTS]
    print("| seeds needed by the t-test for a power of 80% | " + " | ".join(map(str, plans)) + " |")
    shown = []
    for effect, n in zip(EFFECTS, plans, strict=True):
        ps = student_p(np.random.default_rng([seed, n]).normal(effect, 1.0, size=(studies, n)))
        shown.append(_share(float((ps <= ALPHA).mean()), studies))
    print("| shown with so many | " + " | ".join(shown) + " |")


def unpaired_table(studies: int, seed: int) -> None:
    print("\n| not paired, normal values | " + " | ".join(f"n = {n}" for n in SEEDS) + " |")
    print("|---|" + "---|" * len(SEEDS))
    for one, other in SPREADS:
        shares = []
        for n in SEEDS:
            rng = np.random.default_rng([seed, n])
            _, low, high = welch_interval(rng.normal(0.3, one, (studies, n)), rng.normal(0, other, (studies, n)))
            shares.append(_share(float(((low <= 0.3) & (high >= 0.3)).mean()), studies))
        print(f"| Welch's interval, sd {one:g} and {other:g} | " + " | ".join(shares) + " |")
    few, n = studies // 20, SEEDS[0]
    for one, other in SPREADS:
        rng = np.random.default_rng([seed, n, 1])
        pairs = zip(rng.normal(0, one, (few, n)).tolist(), rng.normal(0, other, (few, n)).tolist(), strict=True)
        shown = float(np.mean([label_test(mine, theirs).p <= ALPHA for mine, theirs in pairs]))
        print(f"| no difference, one shown by labels, sd {one:g} and {other:g} | {_share(shown, few)} | | |")


def _mean(values: Values) -> Values:
    return np.asarray(values.mean(axis=-1))


def _pooled_hits(statistic: Callable[[Values], Values], recipes: int, n: int, studies: int, seed: int) -> float:
    """Every recipe has differences around 0.3, so that this is the true mean and the true interquartile mean."""
    rng, hits = np.random.default_rng([seed, recipes, n]), 0
    for _ in range(studies):
        found = estimate(list(rng.normal(0.3, 1, size=(recipes, n))), statistic)
        hits += found.low is not None and found.high is not None and found.low <= 0.3 <= found.high
    return hits / studies


def _improvement_hits(recipes: int, n: int, studies: int, seed: int) -> float:
    """Regime and baseline of a seed share half of their variance; the regime is better by half a standard deviation."""
    rng, hits, truth = np.random.default_rng([seed, recipes, n, 1]), 0, float(stats.norm.cdf(0.5 / math.sqrt(2)))
    for _ in range(studies):
        common, one, other = rng.normal(0, math.sqrt(0.5), size=(3, recipes, n))
        pairs = [
            (dict(enumerate(row)), dict(enumerate(base)))
            for row, base in zip((common + one + 0.5).tolist(), (common + other).tolist(), strict=True)
        ]
        found = probability_of_improvement(pairs)
        if found is not None and found.low is not None and found.high is not None:
            hits += found.low <= truth <= found.high
    return hits / studies


def _share(share: float, studies: int) -> str:
    return f"{share:.1%} ± {200 * math.sqrt(share * (1 - share) / studies):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--studies", type=int, default=40_000, help="simulated comparisons per figure of the first table"
    )
    parser.add_argument(
        "--bootstraps",
        type=int,
        default=500,
        help="simulated studies per figure of the second, and a tenth of the third",
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    arguments = parser.parse_args()
    student_table(arguments.studies, arguments.seed)
    bootstrap_table(arguments.bootstraps, arguments.seed)
    family_table(10 * arguments.bootstraps, arguments.seed)
    power_table(arguments.studies, arguments.seed)
    unpaired_table(arguments.studies, arguments.seed)


if __name__ == "__main__":
    main()
