"""Which configuration is chosen, and the expected best of n against the mean over all choices of n."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lerac.study.metrics import Metric
from lerac.study.statistics.choosing import best, expected_best
from lerac.study.statistics.summary import summarise

MAX, MIN = Metric("accuracy"), Metric("error", "min")
NAN, BAD = math.nan, None


def summaries(*configurations):
    return summarise({str(i): dict(enumerate(values)) for i, values in enumerate(configurations)}, None)


scores = st.floats(-10, 10, allow_subnormal=False)
configurations = st.lists(st.lists(scores | st.just(NAN), min_size=2, max_size=2), min_size=1, max_size=7)


@given(configurations, st.sampled_from([MAX, MIN]))
def test_the_expected_best_is_the_mean_over_all_choices_of_n(values, metric):
    means = [NAN if any(map(math.isnan, one)) else math.fsum(one) / 2 for one in values]
    finite = [mean for mean in means if not math.isnan(mean)]
    found = expected_best(summaries(*values), metric)
    if not finite:
        assert found == []
        return
    better, worst = (max, min(finite)) if metric is MAX else (min, max(finite))
    means = [worst if math.isnan(mean) else mean for mean in means]
    for n, value in enumerate(found, 1):
        of = [better(chosen) for chosen in combinations(means, n)]
        assert value == pytest.approx(math.fsum(of) / len(of), abs=1e-9)
    assert len(found) == len(means)


@given(configurations, st.sampled_from([MAX, MIN]))
def test_the_chosen_one_is_the_first_that_none_betters_and_none_that_diverged(values, metric):
    chosen = best(summaries(*values), metric)
    means = {str(i): math.fsum(one) / 2 for i, one in enumerate(values) if not any(map(math.isnan, one))}
    if not means:
        assert chosen is None
        return
    reached = (max if metric is MAX else min)(means.values())
    assert chosen.regime == next(name for name, mean in means.items() if mean == reached)


def test_a_configuration_whose_runs_are_missing_is_not_chosen_and_nothing_is_expected_yet():
    one, other = summaries((0.9, BAD), (0.5, 0.5))
    assert best([one, other], MAX) is other
    assert expected_best([one, other], MAX) == []


def test_one_diverged_run_makes_the_best_configuration_the_worst():
    one, other = summaries((0.9, NAN), (0.1, 0.1))
    assert best([one, other], MAX) is other
    assert expected_best([one, other], MAX) == pytest.approx([0.1, 0.1])
