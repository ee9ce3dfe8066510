import math
from itertools import product
from statistics import fmean
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lerac.study.statistics import fewest_seeds, holm, sign_flip_test, smallest_p, student_p, wilcoxon_test
from lerac.study.statistics.exact_tests import FLIPS

hundredths = st.lists(st.integers(-9, 9).map(lambda i: i / 100), min_size=1, max_size=8)


def all_flips(values):
    """Two-sided p of the mean by a loop over every sign pattern, in whole numbers."""
    observed = abs(sum(values))
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in product((1, -1), repeat=len(values))
    ]
    return fmean(total >= observed for total in sums)


@given(hundredths)
@example([0.0, 0.0, 0.0, 0.0, 0.0, -0.01, -0.07, 0.08])  # their sum is not quite 0
@settings(deadline=None)
def test_sign_flips_as_counted_one_by_one(differences):
    found = sign_flip_test(differences)
    assert found.p == pytest.approx(all_flips([round(100 * d) for d in differences]))
    assert (found.n, found.method, found.flips) == (len(differences), "exact", 2 ** len(differences))


@given(hundredths)
@settings(deadline=None)
def test_signed_ranks_with_ties_and_zeros_as_counted_one_by_one(differences):
    whole = [round(100 * d) for d in differences]
    ranks = [  # doubled, to be whole; zeros are ranked with the others and have no sign
        ((w > 0) - (w < 0)) * sum((abs(v) < abs(w)) * 2 + (abs(v) == abs(w)) for v in whole) + ((w > 0) - (w < 0))
        for w in whole
    ]
    assert wilcoxon_test(differences).p == pytest.approx(all_flips(ranks))


def test_signed_ranks_of_textbook_data():
    # Darwin's maize, cross- minus self-fertilised in eighths of an inch (Fisher, The Design of Experiments, 1935)
    darwin = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert sign_flip_test(darwin).p == 1726 / 2**15  # as Fisher counted
    assert sign_flip_test(darwin).method == "exact"
    expected = stats.wilcoxon(darwin, method="exact").pvalue
    assert wilcoxon_test(darwin).p == pytest.approx(expected)
    assert wilcoxon_test(darwin).method == "exact"


def test_signed_ranks_as_scipy_permutes_them():
    differences = [0.02, 0.0, 0.03, -0.02, 0.05, 0.0, 0.02]
    method = stats.PermutationMethod(n_resamples=2**7)
    expected = stats.wilcoxon(differences, zero_method="pratt", method=method).pvalue
    assert wilcoxon_test(differences).p == pytest.approx(expected)


def test_many_differences_are_flipped_at_random_and_say_so():
    rng = np.random.default_rng(1)
    differences = rng.normal(0.4, 1, size=30).tolist()
    found = sign_flip_test(differences)
    assert (found.method, found.flips) == ("random flips", FLIPS)
    assert found == sign_flip_test(differences)
    exact = float(student_p(differences))  # close to it for normal differences
    assert found.p == pytest.approx(exact, rel=0.2)
    assert sign_flip_test([1.0 + i / 100 for i in range(30)]).p == pytest.approx(2 / (FLIPS + 1))
    tied = wilcoxon_test([round(d, 1) for d in differences])
    assert tied.method == "random flips"
    assert tied.p == pytest.approx(stats.wilcoxon(differences).pvalue, abs=0.02)


def test_differences_equal_but_for_rounding_are_tied():
    assert 0.3 - 0.2 != 0.1
    noisy, clean = [0.3 - 0.2, -0.1, 0.2, 0.7 - 0.6, 0.3], [0.1, -0.1, 0.2, 0.1, 0.3]
    assert sign_flip_test(noisy) == sign_flip_test(clean)
    assert wilcoxon_test(noisy) == wilcoxon_test(clean)


@pytest.mark.parametrize("differences", [[0.1], [0.0], [0.0] * 6, [0.0] * 40])
def test_nothing_can_be_shown(differences):
    assert sign_flip_test(differences).p == 1
    assert wilcoxon_test(differences).p == 1


@pytest.mark.parametrize("n", [1, 2, 5, 6, 9])
def test_the_smallest_p_is_reached(n):
    differences = [1 + i / 7 for i in range(n)]
    assert sign_flip_test(differences).p == pytest.approx(smallest_p(n))
    assert wilcoxon_test(differences).p == pytest.approx(smallest_p(n))


def test_five_seeds_cannot_and_six_can():
    assert (smallest_p(5), smallest_p(6)) == (0.0625, 0.03125)
    assert (fewest_seeds(), fewest_seeds(0.0625), fewest_seeds(0.01), fewest_seeds(comparisons=12)) == (6, 5, 8, 9)
    for comparisons in range(1, 100):
        n = fewest_seeds(comparisons=comparisons)
        assert comparisons * smallest_p(n) <= 0.05 < comparisons * smallest_p(n - 1)


@pytest.mark.parametrize("differences", [[], [math.nan, 1.0], [math.inf]])
def test_wrong_differences(differences):
    for test in (sign_flip_test, wilcoxon_test):
        with pytest.raises(ValueError, match="one or more finite numbers were expected"):
            test(differences)


def test_wrong_levels():
    with pytest.raises(ValueError, match=r"alpha 1\.5: a probability between 0 and 1"):
        fewest_seeds(1.5)
    with pytest.raises(ValueError, match="0 comparisons: one or more"):
        fewest_seeds(comparisons=0)


def test_holm_by_hand():
    # sorted 0.01 · 4, 0.02 · 3, 0.03 · 2, 0.5 · 1, each at least the one before
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.04]) == [pytest.approx(0.04)]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_as_statsmodels_says_and_whatever_is_missing(ps):
    with patch("gc.collect"):  # statsmodels collects garbage in every call
        assert holm(ps) == list(multipletests(ps, method="holm")[1])  # to the last bit
        *found, nothing, none = holm([*ps, None, None])
        expected = multipletests([*ps, 1.0, 1.0], method="holm")[1][: len(ps)]
    assert (nothing, none) == (None, None)
    assert found == list(expected)


def test_holm_without_any_p():
    assert holm([None, None]) == [None, None]
    with pytest.raises(ValueError, match=r"p 1\.2: a probability from 0 to 1"):
        holm([0.1, 1.2])
