"""Runs whose pairing does not hold or could not be checked: the reason is named, and they are two samples then."""

import json
import math
import warnings
from itertools import combinations
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lerac.study.metrics import ACCURACY, Metric
from lerac.study.statistics import (
    ALPHA,
    Outcome,
    analyse,
    detectable_difference,
    fewest_seeds,
    label_test,
    seeds_needed,
    smallest_p,
    unpaired_difference,
    unpaired_improvement,
    welch_interval,
    welch_p,
    why_not_paired,
)
from lerac.study.statistics.exact_tests import FLIPS

SCORE = Metric("score", digits=3)
SEEN = ("weights", "first batch", "steps")
BASE = (0.50, 0.52, 0.49, 0.51, 0.50, 0.53)
BETTER = (0.56, 0.57, 0.56, 0.58, 0.555, 0.60)
hundredths = st.lists(st.integers(-30, 30), min_size=2, max_size=6)


def outcomes_of(regimes, pairing=None, experiment="mine:train", metric=SCORE):
    """Outcomes of regime → values by seed (NaN diverged); pairing is that of all, or regime → seed → one."""

    def one(regime, seed, value):
        own = pairing.get(regime, {}).get(seed, dict.fromkeys(SEEN, "same")) if pairing is not None else None
        state = "diverged" if math.isnan(value) else "done"
        return Outcome(experiment, regime, seed, metric, state, {"test": {metric.name: value}}, pairing=own)

    return [one(regime, seed, v) for regime, values in regimes.items() for seed, v in enumerate(values)]


def unpaired_of(regimes, **options):
    """As `outcomes_of`, of which no run saw anything."""
    nothing = {regime: {seed: {} for seed in range(len(values))} for regime, values in regimes.items()}
    return outcomes_of(regimes, nothing, **options)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"lerac": {0: {"first batch": "b"}}}, "first batch differs (lerac: seed 0)"),
        ({"lerac": {0: {"weights": "b"}, 1: {"weights": "c"}}}, "weights differ (lerac: seeds 0, 1)"),
        ({r: {s: {"steps": "9"} for s in range(3)} for r in ("cbs", "lerac")}, "steps differ (lerac, cbs: seeds 0-2)"),
        ({"conventional": {1: {"steps": "9"}}}, "steps differ (lerac, cbs: seed 1)"),
        ({r: {1: {"weights": "b"}} for r in ("conventional", "lerac", "cbs")}, None),  # its own seed agrees
        ({"cbs": {2: {"steps": None}}}, "steps could not be checked (cbs: seed 2)"),
        (
            {"cbs": {2: dict.fromkeys(SEEN)}},
            "could not be checked, no lerac.attach in sight (cbs: seed 2)",
        ),
        (
            {"cbs": {0: {"weights": "b", "first batch": "c"}}},
            "weights differ (cbs: seed 0); first batch differs (cbs: seed 0)",
        ),
    ],
)
def test_the_reason_names_what_differs_and_of_which_regimes_and_seeds(changes, reason):
    regimes = dict.fromkeys(("conventional", "lerac", "cbs"), (0.1, 0.2, 0.3))
    same = dict.fromkeys(SEEN, "same")
    pairing = {regime: {seed: same | own for seed, own in by_seed.items()} for regime, by_seed in changes.items()}
    outcomes = outcomes_of(regimes, pairing)
    assert why_not_paired(outcomes, "conventional") == reason
    assert analyse(outcomes).not_paired == ({"mine:train": reason} if reason else {})


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_one_difference_or_one_gap_anywhere_is_enough(data):
    regimes, seeds = ("conventional", "lerac", "cbs"), range(3)
    found = {
        (r, s): {what: data.draw(st.sampled_from([*"aaaaaaaab", None])) for what in SEEN}
        for r in regimes
        for s in seeds
    }
    outcomes = [Outcome("e", r, s, SCORE, "done", {"test": {"score": 0.1}}, pairing=p) for (r, s), p in found.items()]
    paired = all(len({found[r, s][what] for r in regimes}) == 1 for s in seeds for what in SEEN)
    paired = paired and not any(value is None for own in found.values() for value in own.values())
    assert (why_not_paired(outcomes, "conventional") is None) == paired


def test_what_has_not_ended_is_not_looked_at_and_a_diverged_run_may_have_fewer_steps():
    same = dict.fromkeys(SEEN, "same")
    outcomes = outcomes_of(
        {"conventional": (0.1, 0.2), "lerac": (math.nan, 0.3)}, {"lerac": {0: same | {"steps": "1"}}}
    )
    open_run = Outcome("mine:train", "cbs", 0, SCORE, pairing={})
    assert why_not_paired([*outcomes, open_run], "conventional") is None
    other = outcomes_of({"conventional": (0.1, 0.2), "lerac": (math.nan, 0.3)}, {"lerac": {0: same | {"weights": "1"}}})
    assert why_not_paired(other, "conventional") == "weights differ (lerac: seed 0)"


def test_nothing_seen_at_all():
    assert why_not_paired(unpaired_of({"conventional": (0.1, 0.2), "lerac": (0.1, 0.3)})) == (
        "could not be checked, no lerac.attach in sight"
    )
    assert why_not_paired(outcomes_of({"conventional": (0.1, 0.2), "lerac": (0.1, 0.3)})) is None  # as recipes


def test_checked_pairing_gives_the_statistics_of_pairing_by_construction():
    regimes = {"conventional": BASE, "lerac": BETTER, "cbs": (math.nan, *BASE[::-1][1:])}
    by_construction = analyse(outcomes_of(regimes)).as_dict()
    assert analyse(outcomes_of(regimes, {})).as_dict() == by_construction
    unpaired = analyse(unpaired_of(regimes)).as_dict()
    assert unpaired["cells"][1]["difference"]["mean"] == pytest.approx(
        by_construction["cells"][1]["difference"]["mean"]
    )
    assert unpaired["cells"][1]["difference"]["low"] < by_construction["cells"][1]["difference"]["low"]


@given(hundredths, hundredths, st.sampled_from([1.0, 1e-4, 1e6]))
@settings(deadline=None, max_examples=60)
def test_welch_against_scipy(values, reference, scale):
    x, y = [v * scale / 100 for v in values], [v * scale / 100 for v in reference]
    mean, low, high = map(float, welch_interval(x, y))
    assert mean == pytest.approx(np.mean(x) - np.mean(y), abs=1e-12 * scale)
    if len(set(x)) == len(set(y)) == 1:
        assert (low, high) == (mean, mean)
        assert np.isnan(welch_p(x, y))
        return
    with warnings.catch_warnings(action="ignore"):  # where one of them has no spread
        expected = stats.ttest_ind(x, y, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert (low, high) == pytest.approx((interval.low, interval.high), abs=1e-9 * scale)
    p = float(welch_p(x, y))
    assert p == pytest.approx(expected.pvalue)
    assert (p < ALPHA) == (low > 0 or high < 0)
    found = unpaired_difference(dict(enumerate(x)), dict(enumerate(y)))
    assert (found.mean, found.low, found.high, found.by_seed) == (mean, low, high, {})


def test_welch_of_too_few_runs():
    for compute in (welch_interval, welch_p):
        with pytest.raises(ValueError, match="1 and 3 runs: an interval of the difference of means needs two or more"):
            compute([0.1], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="confidence 95: a share between 0 and 1"):
        welch_interval([0.1, 0.2], [0.1, 0.3], confidence=95)
    one = unpaired_difference({4: 0.5}, {0: 0.25, 1: 0.25})
    assert (one.mean, one.low, one.high, one.n, one.sd) == (0.25, None, None, 1, None)
    assert unpaired_difference({}, {0: 0.25}) is None


@given(hundredths, hundredths)
@settings(deadline=None, max_examples=60)
def test_labels_against_every_division_in_whole_numbers(values, reference):
    pooled, n = values + reference, len(values)
    observed = sum(values)
    sums = [sum(pooled[i] for i in chosen) for chosen in combinations(range(len(pooled)), n)]
    above, below = (sum(test(s) for s in sums) for test in (lambda s: s >= observed, lambda s: s <= observed))
    found = label_test([v / 100 for v in values], [v / 100 for v in reference])
    assert found.p == pytest.approx(min(1, 2 * min(above, below) / len(sums)))
    assert (found.method, found.flips, found.n) == ("exact", len(sums), len(pooled))
    if len(values) == len(reference):
        assert found.p >= smallest_p(n, paired=False) - 1e-12


def test_labels_against_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(0.5, 1, 6), rng.normal(0, 1, 8)
    expected = stats.permutation_test(
        (x, y), lambda a, b: np.mean(a) - np.mean(b), permutation_type="independent", n_resamples=np.inf
    )
    assert label_test(x, y).p == pytest.approx(expected.pvalue)


def test_many_runs_have_their_labels_exchanged_at_random_and_say_so():
    rng = np.random.default_rng(1)
    x, y = rng.normal(0.5, 1, 30), rng.normal(0, 1, 30)
    found = label_test(x, y)
    assert (found.method, found.flips, found) == ("random labels", FLIPS, label_test(x, y))
    assert found.p == pytest.approx(float(welch_p(x, y)), rel=0.2)
    assert label_test(np.arange(30), np.arange(30) + 100).p == pytest.approx(2 / (FLIPS + 1))
    assert label_test(rng.normal(size=10), rng.normal(size=10)).method == "exact"


def test_how_few_seeds_labels_need():
    assert [fewest_seeds(comparisons=m, paired=False) for m in (1, 3, 12)] == [4, 5, 6]
    for m in (1, 3, 12):
        n = fewest_seeds(comparisons=m, paired=False)
        assert m * smallest_p(n, paired=False) <= ALPHA < m * smallest_p(n - 1, paired=False)


@pytest.mark.parametrize(("one", "other"), [(1.0, 1.0), (1.0, 0.25), (0.2, 2.0)])
def test_planned_seeds_keep_their_promise(one, other):
    freedom = (one**2 + other**2) ** 2 / (one**4 + other**4)
    plan = seeds_needed(1.0, math.hypot(one, other), freedom=freedom)
    rng = np.random.default_rng(3)

    def power(n, difference=1.0):
        x, y = rng.normal(difference, one, size=(20_000, n)), rng.normal(0, other, size=(20_000, n))
        return float((welch_p(x, y) <= 0.05).mean())

    assert power(plan.by_t) >= 0.8 - 0.012
    assert power(plan.by_t - 1) < 0.8 + 0.009
    assert plan.by_exact == 4
    smallest = detectable_difference(8, math.hypot(one, other), freedom=freedom)
    assert power(8, smallest) == pytest.approx(0.8, abs=0.02)


@pytest.mark.wide
@pytest.mark.parametrize(("one", "other"), [(1.0, 1.0), (1.0, 0.25), (0.2, 2.0)])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (10, 10), (30, 30), (5, 8)])
def test_coverage_with_normal_values(one, other, n, m):
    rng, studies = np.random.default_rng([n, m]), 40_000
    _, low, high = welch_interval(rng.normal(0.3, one, (studies, n)), rng.normal(0, other, (studies, m)))
    assert float(((low <= 0.3) & (high >= 0.3)).mean()) == pytest.approx(0.95, abs=0.008)


@pytest.mark.wide
def test_labels_err_as_seldom_as_promised():
    rng = np.random.default_rng(5)
    ps = np.array([label_test(*rng.normal(size=(2, 5))).p for _ in range(4_000)])
    assert (ps <= 0.05).mean() == pytest.approx(12 / 252, abs=0.011)  # the largest p below 0.05 that there is


def test_improvement_is_of_all_runs_and_counts_no_seeds():
    found = unpaired_improvement({0: 0.9, 1: 0.5, 7: math.nan}, {3: 0.5, 4: 0.4, 5: None})
    assert found.probability == pytest.approx((2 + 1.5 + 0) / 6)
    assert (found.pairs, found.won, found.lost, found.tied) == (0, 0, 0, 0)
    assert 0 <= found.low < found.probability < found.high <= 1
    assert unpaired_improvement({0: None}, {0: 0.5}) is None
    fewer = unpaired_improvement({0: 0.5}, {0: 0.4}, Metric("loss", "min"))
    assert (fewer.probability, fewer.low) == (0, None)


def test_a_verdict_without_pairs_says_so_and_agrees_with_its_tests():
    found = analyse(unpaired_of({"conventional": BASE, "lerac": BETTER}))
    base, lerac = found.cells
    expected = stats.ttest_ind(BETTER, BASE, equal_var=False)
    assert lerac.evidence.p == pytest.approx(expected.pvalue)
    assert (lerac.evidence.sign_flip, lerac.evidence.wilcoxon, lerac.networks) == (None, None, ())
    assert lerac.evidence.labels.p == pytest.approx(2 / math.comb(12, 6))
    assert lerac.evidence.smallest == lerac.evidence.labels.p
    assert lerac.verdict.startswith("lerac is better than conventional: +0.063 [")
    assert "n = 6 and 6 runs, not paired, p < 0.0001." in lerac.verdict
    assert lerac.verdict.endswith(" The exact permutation test of labels confirms it: p = 0.0022.")
    assert lerac.outlook.text(SCORE).startswith("With 6 seeds of each regime, not paired, and a standard deviation of ")
    assert base.verdict is None
    [warning] = found.warnings["mine:train"]
    assert warning.startswith("mine:train, not paired: could not be checked, no lerac.attach in sight. So its differ")
    described = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert described["not_paired"] == {"mine:train": "could not be checked, no lerac.attach in sight"}
    difference, evidence = described["cells"][1]["difference"], described["cells"][1]["evidence"]
    assert (difference["paired"], difference["runs"], difference["by_seed"]) == (False, [6, 6], {})
    assert evidence.keys() & {"labels", "sign_flip", "wilcoxon"} == {"labels"}


@pytest.mark.parametrize(
    ("base", "mine", "verdict"),
    [
        (
            (0.5,) * 3,
            (0.6, 0.61),
            "+0.105 compared with conventional on 2 and 3 runs, not paired, too few for a verdict",
        ),
        ((0.5,), (0.6,), "+0.100 compared with conventional on 1 and 1 runs, not paired, too few for a verdict."),
        ((0.5,) * 5, (0.6,) * 6, "+0.100 from 6 and 5 runs, not paired and without spread in either regime; differ"),
        (BASE, tuple(v + 0.001 for v in BASE), "no difference to conventional shown: +0.001 [-0."),
        (BASE, (math.nan, *BETTER[1:]), "Diverged: 1 of 6 runs."),
    ],
)
def test_verdicts_of_few_or_equal_runs(base, mine, verdict):
    cell = analyse(unpaired_of({"conventional": base, "lerac": mine})).cells[1]
    assert verdict in cell.verdict
    json.dumps(cell.as_dict(), allow_nan=False)


def test_seeds_need_not_be_the_same():
    outcomes = [
        Outcome("e", regime, seed, SCORE, "done", {"test": {"score": value}}, pairing={})
        for regime, first, values in (("conventional", 0, BASE), ("lerac", 100, BETTER))
        for seed, value in enumerate(values, first)
    ]
    assert analyse(outcomes).cells[1].summary.difference.mean == pytest.approx(np.mean(BETTER) - np.mean(BASE))


def test_failures_are_compared_by_fishers_test():
    regimes = {"conventional": (0.5,) * 6, "lerac": (*[math.nan] * 5, 0.5)}
    assert analyse(unpaired_of(regimes)).cells[1].failures.p == pytest.approx(
        stats.fisher_exact([[5, 1], [0, 6]]).pvalue
    )
    assert analyse(unpaired_of({"conventional": (0.5,) * 3, "lerac": (0.6,) * 3})).cells[1].failures.p is None


def test_pooled_rows_are_of_paired_experiments_only_and_say_so():
    regimes = {"conventional": BASE, "lerac": BETTER}
    two = [*outcomes_of(regimes, experiment="a"), *outcomes_of(regimes, experiment="b")]
    one = unpaired_of(regimes, experiment="c")
    [alone], [row] = analyse(two).pooled, analyse([*two, *one]).pooled
    assert (row.experiments, row.left_out, row.not_paired) == (("a", "b"), (), ("c",))
    assert row.difference.mean == alone.difference.mean
    assert row.text().endswith(" Without c: not paired.")
    assert "Without" not in alone.text()
    found = analyse([*two[:12], *one])
    assert found.pooled == ()
    assert found.comparisons == 2  # and Holm is over both, by whatever test
    ps = [cell.evidence.p for cell in found.cells if cell.evidence]
    assert sorted(c.evidence.adjusted for c in found.cells if c.evidence) == pytest.approx(
        [2 * min(ps), max(*ps, 2 * min(ps))]
    )


def test_networks_are_not_compared_across_runs_that_are_not_paired(tmp_path):
    regimes = {"conventional": (0.5, 0.6), "lerac": (0.6, 0.7)}
    with patch("lerac.study.statistics.whole_study.compare_networks", return_value={}) as compare:
        analyse(
            [*unpaired_of(regimes, metric=ACCURACY), *outcomes_of(regimes, None, "b", ACCURACY)], folders=[tmp_path]
        )
    [(outcomes, *_)] = [call.args for call in compare.call_args_list]
    assert {one.experiment for one in outcomes} == {"b"}


def test_too_few_runs_for_any_exact_test_are_a_note():
    notes = analyse(unpaired_of({"conventional": BASE[:3], "lerac": BETTER[:3]})).notes
    assert notes == (
        "With 3 seeds of each regime, not paired, no exact test (permutation of labels) can go below p = 0.1; "
        "4 seeds can reach 0.05.",
    )


@pytest.mark.parametrize(
    ("regimes", "equal"),
    [
        ({"conventional": (0.5, 0.5), "lerac": (0.5, 0.6)}, "conventional"),
        ({"conventional": (0.5, 0.5, 0.5), "lerac": (0.7,) * 3}, "conventional, lerac"),
        ({"conventional": (0.5,), "lerac": (0.7,)}, None),
        ({"conventional": (0.1 + 0.2, 0.3), "lerac": (0.5, math.nan)}, None),
    ],
)
def test_equal_values_for_all_seeds_are_asked_about(regimes, equal):
    said = f"{equal}: equal values for all seeds; is the seed used?"
    assert analyse(outcomes_of(regimes)).warnings == ({"mine:train": (said,)} if equal else {})


@given(
    st.lists(st.sampled_from([0.0, 5e-324, 5e-10, 1e-9, 2e-9, 0.5, 1e16, 1e100, -1e100]), min_size=4, max_size=10),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_no_value_is_too_small_or_too_large_or_too_near(values, paired):
    half = len(values) // 2
    regimes = {"conventional": values[:half], "lerac": values[half : 2 * half]}
    found = analyse(outcomes_of(regimes) if paired else unpaired_of(regimes), claims={"score": 0.1})
    json.dumps(found.as_dict(), allow_nan=False)
    assert found.cells[1].verdict


def test_a_spread_of_rounding_gives_no_outlook():
    assert analyse(outcomes_of({"conventional": (0.0, 0.0), "lerac": (0.0, 1e-9)})).cells[1].outlook is None
