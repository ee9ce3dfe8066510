import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from lerac.study.statistics import paired_difference, summarise, verdict

shares = st.lists(st.floats(0, 1).map(lambda x: round(x, 6)), min_size=2, max_size=12)


@given(shares, st.randoms())
def test_as_scipy_says(values, random):
    other = [random.random() for _ in values]
    differences = [a - b for a, b in zip(values, other, strict=True)]
    assume(max(differences) - min(differences) > 1e-6)  # scipy warns of equal ones; they have a test of their own
    found = paired_difference(dict(enumerate(values)), dict(enumerate(other)))
    expected = stats.ttest_rel(values, other)
    interval = expected.confidence_interval(0.95)
    assert found.n == len(values)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)
    assert found.mean == pytest.approx((interval.low + interval.high) / 2, abs=1e-9)


def test_mean_and_sd():
    [summary] = summarise({"conventional": {0: 0.5, 1: 0.7, 2: 0.9}})
    assert (summary.n, summary.mean, summary.sd) == (3, pytest.approx(0.7), pytest.approx(0.2))
    assert summary.difference is None


def test_only_common_seeds_are_paired():
    base, other = summarise({"conventional": {0: 0.5, 1: 0.6, 2: None}, "lerac": {0: 0.6, 1: math.nan, 2: 0.9}})
    assert other.difference.by_seed == {0: pytest.approx(0.1)}
    assert (other.diverged, other.missing, other.n) == ((1,), (), 2)
    assert (base.diverged, base.missing, base.n) == ((), (2,), 2)


def test_one_seed_has_no_spread_and_decides_nothing():
    base, other = summarise({"conventional": {3: 0.5}, "lerac": {3: 0.6}})
    assert (base.sd, other.difference.low, other.difference.high) == (None, None, None)
    assert verdict(other) == "lerac: +10.00 points compared with conventional on 1 seed, too few for a verdict."


def test_nothing_to_compare():
    _, other = summarise({"conventional": {0: None}, "lerac": {0: 0.6}})
    assert verdict(other) == "lerac: nothing to compare with conventional."
    [alone] = summarise({"lerac": {0: None}})
    assert alone.mean is None
    assert verdict(alone) == "lerac: nothing to compare with conventional. Not ended yet: 1 seed."


@pytest.mark.parametrize(
    ("differences", "says"),
    [
        (
            (0.02, 0.05, 0.01, -0.01, 0.03),
            "lerac: no difference to conventional shown: +2.00 points [-0.78, +4.78], n = 5 seeds.",
        ),
        (
            (0.02, 0.021, 0.019, 0.022, 0.018),
            "lerac is better than conventional: +2.00 points [+1.80, +2.20], n = 5 seeds.",
        ),
        (
            (-0.02, -0.021, -0.019, -0.022, -0.018),
            "lerac is worse than conventional: -2.00 points [-2.20, -1.80], n = 5 seeds.",
        ),
        (
            (0.02, -0.03, 0.01, 0.04, -0.04),
            "lerac: no difference to conventional shown: +0.00 points [-4.21, +4.21], n = 5 seeds.",
        ),
        ((0.01, 0.02, 0.03, 0.04), "lerac: +2.50 points compared with conventional on 4 seeds, too few for a verdict."),
        ((0.02,) * 5, "lerac: +2.00 points on each of 5 seeds; differences without spread give no interval."),
    ],
)
def test_verdicts(differences, says):
    lerac = {seed: 0.5 + difference for seed, difference in enumerate(differences)}
    _, other = summarise({"conventional": dict.fromkeys(range(5), 0.5), "lerac": lerac})
    assert verdict(other) == says


def test_equal_differences_have_an_interval_without_width():
    found = paired_difference({0: 0.5, 1: 0.5}, {0: 0.25, 1: 0.25})
    assert (found.low, found.mean, found.high) == (0.25, 0.25, 0.25)


def test_identical_regimes_show_no_difference():
    equal = dict.fromkeys(range(5), 0.5)
    _, other = summarise({"conventional": equal, "lerac": equal})
    assert verdict(other).startswith("lerac: +0.00 points on each of 5 seeds;")


def test_diverged_runs_are_said():
    _, other = summarise({"conventional": dict.fromkeys(range(3), 0.5), "lerac": {0: 0.6, 1: math.nan, 2: 0.61}})
    assert verdict(other).endswith("Not counted, because their loss was not finite: seeds 1.")
