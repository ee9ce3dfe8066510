"""By simulation: what intervals, corrected tests and planned seeds promise is kept."""

import numpy as np
import pytest
from scipy import stats

from lerac.study.statistics import (
    detectable_difference,
    holm,
    paired_difference,
    seeds_needed,
    student_interval,
    student_p,
    summarise,
)

STUDIES = 40_000  # the standard error of a coverage of 95 % is 0.11 points


@pytest.mark.parametrize("n", [5, 10, 30])
def test_coverage_with_normal_differences(n):
    seeds = np.random.default_rng(n)
    differences = seeds.normal(0.3, 2.0, size=(STUDIES, n))
    _, low, high = student_interval(differences)
    coverage = float(((low <= 0.3) & (high >= 0.3)).mean())
    assert 0.935 <= coverage <= 0.965
    assert coverage == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize("n", [5, 10, 30])
def test_coverage_of_what_a_study_reports(n):
    """Paired runs with a common part per seed, from values to summary."""
    rng = np.random.default_rng(100 + n)
    hits, studies = 0, 3_000
    for _ in range(studies):
        common = rng.normal(0.8, 0.05, size=n)
        base, other = common + rng.normal(0, 0.01, size=n), common + 0.004 + rng.normal(0, 0.01, size=n)
        measured = {"conventional": dict(enumerate(base)), "lerac": dict(enumerate(other))}
        _, summary = summarise(measured)
        hits += summary.difference.low <= 0.004 <= summary.difference.high
    assert 0.935 <= hits / studies <= 0.965


def test_many_at_once_are_as_one_by_one():
    differences = np.random.default_rng(0).normal(size=(50, 7))
    mean, low, high = student_interval(differences)
    for row, *expected in zip(differences, mean, low, high, strict=True):
        found = paired_difference(dict(enumerate(row)), dict.fromkeys(range(7), 0.0))
        assert (found.mean, found.low, found.high) == pytest.approx(tuple(expected))
    assert student_p(differences) == pytest.approx(stats.ttest_1samp(differences, 0, axis=1).pvalue)
    assert ((student_p(differences) < 0.05) == ((low > 0) | (high < 0))).all()


def test_holm_over_twelve_comparisons_errs_as_seldom_as_promised():
    differences = np.random.default_rng(2).normal(size=(4_000, 12, 5))
    ps = student_p(differences)
    alone = float((ps <= 0.05).any(axis=1).mean())
    corrected = float(np.mean([min(holm(row)) <= 0.05 for row in ps.tolist()]))
    assert alone == pytest.approx(1 - 0.95**12, abs=0.03)
    assert corrected == pytest.approx(0.05, abs=0.011)  # three standard errors


@pytest.mark.parametrize(("difference", "sd"), [(0.01, 0.01), (-0.01, 0.015), (0.5, 2.0)])
def test_planned_seeds_keep_their_promise(difference, sd):
    plan = seeds_needed(difference, sd)
    rng = np.random.default_rng(3)
    power = float((student_p(rng.normal(difference, sd, size=(20_000, plan.by_t))) <= 0.05).mean())
    fewer = float((student_p(rng.normal(difference, sd, size=(20_000, plan.by_t - 1))) <= 0.05).mean())
    assert power >= 0.8 - 0.009  # three standard errors
    assert fewer < 0.8 + 0.009
    assert power < 0.9


def test_the_detectable_difference_is_detected():
    smallest = detectable_difference(6, 0.02)
    differences = np.random.default_rng(4).normal(smallest, 0.02, size=(20_000, 6))
    assert float((student_p(differences) <= 0.05).mean()) == pytest.approx(0.8, abs=0.009)


def test_intervals_need_two_differences():
    for compute in (student_interval, student_p):
        with pytest.raises(ValueError, match="1 difference: an interval of the mean needs two or more"):
            compute([0.1])
    with pytest.raises(ValueError, match="confidence 95: a share between 0 and 1"):
        student_interval([0.1, 0.2], confidence=95)
    assert np.isnan(student_p([0.1, 0.1]))
