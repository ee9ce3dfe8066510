import math

import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from lerac.study.metrics import ACCURACY
from lerac.study.statistics import detectable_difference, outlook, paired_difference, seeds_needed


@pytest.mark.parametrize("effect", [0.1, 0.3, 0.5, 0.8, 1.5])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_as_statsmodels_solves_it(effect, power):
    solved = TTestPower().solve_power(effect_size=effect, alpha=0.05, power=power)
    assert seeds_needed(effect * 0.02, 0.02, power=power).by_t == math.ceil(solved)


def test_by_the_noncentral_t_distribution():
    plan = seeds_needed(1.0, 2.0)  # half a standard deviation: 34, as in tables
    assert (plan.by_t, plan.by_exact, plan.n) == (34, 6, 34)

    def power(n):
        bound, shift = stats.t.ppf(0.975, n - 1), 0.5 * math.sqrt(n)
        return stats.nct.sf(bound, n - 1, shift) + stats.nct.cdf(-bound, n - 1, shift)

    assert power(33) < 0.8 <= power(34)
    assert power(20) == pytest.approx(TTestPower().power(0.5, 20, 0.05, df=19), abs=1e-6)


def test_a_large_difference_still_needs_what_an_exact_test_needs():
    plan = seeds_needed(-1.0, 0.1)
    assert plan.difference == 1.0
    assert plan.by_t < 6
    assert plan.n == plan.by_exact == 6
    assert seeds_needed(1.0, 0.1, comparisons=12).n == 9


def test_several_comparisons_are_planned_at_a_share_of_alpha():
    assert seeds_needed(1.0, 2.0, comparisons=4).by_t == seeds_needed(1.0, 2.0, alpha=0.0125).by_t > 34


def test_hopeless_claims():
    plan = seeds_needed(1e-5, 1.0)
    assert (plan.by_t, plan.n) == (None, None)
    assert plan.as_dict()["n"] is None


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_detectable_difference_as_statsmodels_solves_it(n):
    effect = TTestPower().solve_power(effect_size=None, nobs=n, alpha=0.05, power=0.8)
    assert detectable_difference(n, 0.5) == pytest.approx(0.5 * effect, rel=1e-5)  # which counts the wrong side too
    if n > 2:
        assert seeds_needed(detectable_difference(n, 0.5) * 1.0001, 0.5).by_t == n


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"difference": 0.0}, "difference 0.0: a finite number other than 0"),
        ({"difference": math.nan}, "difference nan"),
        ({"sd": 0.0}, "sd 0.0: a finite number above 0"),
        ({"power": 1.0}, "power 1.0: a probability between alpha"),
        ({"power": 0.01}, "power 0.01: a probability between alpha"),
        ({"alpha": 0.0}, "alpha 0.0: a probability"),
        ({"comparisons": 0}, "0 comparisons"),
    ],
)
def test_wrong_arguments(arguments, says):
    with pytest.raises(ValueError, match=says):
        seeds_needed(**{"difference": 1.0, "sd": 1.0} | arguments)
    if "difference" not in arguments:
        with pytest.raises(ValueError, match=says):
            detectable_difference(5, **{"sd": 1.0} | arguments)


def test_one_seed_detects_nothing():
    with pytest.raises(ValueError, match="n = 1: a paired t-test needs two seeds"):
        detectable_difference(1, 1.0)


def difference_of(*values):
    return paired_difference(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))


def test_outlook_in_words():
    found = outlook(difference_of(0.01, 0.03, -0.01, 0.02, 0.0), comparisons=1)
    assert found.text(ACCURACY) == (
        "With 5 seeds and a standard deviation of 1.58 points, a true difference of 2.66 points is shown with 80% "
        "power. A difference of 1.00 points, as measured, needs 22 seeds."
    )
    claimed = outlook(difference_of(0.01, 0.03, -0.01, 0.02, 0.0), comparisons=1, claim=0.05)
    assert claimed.text(ACCURACY).endswith("A difference of 5.00 points, as claimed, needs 6 seeds (4 by the t-test).")
    tiny = outlook(difference_of(0.01, 0.03, -0.01, 0.02, 0.0), comparisons=1, claim=1e-6)
    assert tiny.text(ACCURACY).endswith("needs more than 1,000,000 seeds.")


def test_outlook_without_a_mean_or_a_spread():
    balanced = outlook(difference_of(0.01, -0.01), comparisons=1)
    assert balanced.needed is None
    assert balanced.text(ACCURACY).endswith("is shown with 80% power.")
    assert outlook(difference_of(0.01), comparisons=1) is None
    assert outlook(difference_of(0.01, 0.01, 0.01), comparisons=1) is None
