import json
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from lerac.study.data.tasks import MAE
from lerac.study.errors import StudyError
from lerac.study.metrics import ACCURACY
from lerac.study.plan.study import Run
from lerac.study.runs.outcomes import collect, outcome_of
from lerac.study.statistics import (
    Predictions,
    analyse,
    disagreement,
    failures,
    holm,
    interquartile_mean,
    paired_difference,
    pool,
    probability_of_improvement,
    read_predictions,
    sign_flip_test,
    summarise,
)

NAN = math.nan
BASE = (0.50, 0.52, 0.49, 0.51, 0.50, 0.53)
BETTER = (0.56, 0.57, 0.56, 0.58, 0.555, 0.60)
SIMILAR = (0.51, 0.50, 0.50, 0.505, 0.49, 0.535)


def results_of(measured, dataset="digits"):
    """Results of recipe → regime → values by seed; NaN diverged, None has not ended."""
    found = []
    for recipe, regimes in measured.items():
        data = recipe.split("/")[1]
        for regime, values in regimes.items():
            for seed, value in enumerate(values):
                run = Run(recipe, regime, {"dataset": data, "training": {"epochs": 2}}, None, None, seed)
                status = None
                if value is not None:
                    name = "mae" if data == "utkface" else "accuracy"
                    status = {"state": "diverged" if math.isnan(value) else "done", "test": {name: value}}
                found.append(outcome_of(run, status, [], None, []))
    return found


def one_by_one(pairs, better):
    """P(X > Y) + ½ P(X = Y) by a loop."""
    wins = [[1.0 if better(x, y) else 0.5 if x == y else 0.0 for x in one for y in other] for one, other in pairs]
    return sum(sum(w) / len(w) for w in wins) / len(wins)


def by_seed(*values):
    return dict(enumerate(values))


def test_one_recipe():
    regimes = {"conventional": BASE, "lerac": BETTER, "cbs": SIMILAR}
    found = analyse(results_of({"a/digits": regimes}))
    base, lerac, cbs = found.cells
    assert (found.baseline, found.comparisons, found.pooled) == ("conventional", 2, ())
    assert (base.evidence, base.improvement, base.verdict) == (None, None, None)
    expected = [stats.ttest_rel(regimes[r], BASE).pvalue for r in ("lerac", "cbs")]
    assert [cell.evidence.p for cell in (lerac, cbs)] == pytest.approx(expected)
    assert [cell.evidence.adjusted for cell in (lerac, cbs)] == pytest.approx(holm(expected))
    assert lerac.evidence.sign_flip.p == lerac.evidence.smallest == 1 / 32
    assert lerac.evidence.sign_flip.adjusted == pytest.approx(2 / 32)
    assert lerac.improvement.probability == 1
    assert (cbs.improvement.won, cbs.improvement.lost) == (3, 3)
    assert cbs.improvement.probability == one_by_one([(SIMILAR, BASE)], lambda x, y: x > y)
    assert 0 <= cbs.improvement.low < cbs.improvement.probability < cbs.improvement.high <= 1
    assert lerac.verdict.startswith("lerac is better than conventional: +6.25 points [+5.")
    assert lerac.verdict.endswith(
        "This rests on normal differences: with 6 seeds and 2 comparisons no exact test can go below p = 0.062; "
        "7 seeds could."
    )
    assert found.notes == (
        "With 6 seeds no exact test (sign-flip, Wilcoxon) can go below p = 0.031, or p = 0.062 after Holm over 2 "
        "comparisons; 7 seeds can reach 0.05.",
        "p is adjusted over the 2 comparisons of the study (Holm).",
    )


def test_five_seeds_and_the_report_says_so():
    regimes = {"conventional": BASE[:5], "lerac": BETTER[:5]}
    found = analyse(results_of({"a/digits": regimes}))
    [note] = found.notes
    assert note == ("With 5 seeds no exact test (sign-flip, Wilcoxon) can go below p = 0.062; 6 seeds can reach 0.05.")
    assert found.of("a/digits")[1].verdict.endswith("no exact test can go below p = 0.062; 6 seeds could.")
    six = analyse(results_of({"a/digits": {"conventional": BASE, "lerac": BETTER}}))
    assert six.notes == ()
    assert six.cells[1].verdict.endswith(" The exact sign-flip test confirms it: p = 0.031.")


def test_an_interval_that_holm_does_not_follow_is_explained():
    slightly = tuple(b + d for b, d in zip(BASE, (0.01, 0.012, -0.001, 0.02, 0.005, 0.004), strict=True))
    alone = analyse(results_of({"a/digits": {"conventional": BASE, "lerac": slightly}})).cells[1]
    assert "lerac is better than conventional" in alone.verdict
    many = {"conventional": BASE, "lerac": slightly, "cbs": SIMILAR, "warmup": SIMILAR[::-1]}
    cell = analyse(results_of({"a/digits": many})).cells[1]
    assert cell.summary.difference.low > 0
    assert cell.evidence.p < 0.05 < cell.evidence.adjusted
    assert cell.verdict.startswith("lerac: no difference to conventional shown: ")
    assert cell.verdict.endswith("The interval excludes 0 only if this comparison is looked at alone.")


def test_an_exact_test_that_disagrees_is_said():
    better = tuple(0.5 + thousandths / 1000 for thousandths in (9, 8, 9, 8, -3, 9, -2))
    cell = analyse(results_of({"a/digits": {"conventional": (0.5,) * 7, "lerac": better}})).cells[1]
    assert cell.evidence.smallest < 0.05
    assert (cell.evidence.p, cell.evidence.sign_flip.p) == (pytest.approx(0.0386, abs=1e-4), 0.0625)
    assert cell.verdict.startswith("lerac is better than conventional")
    assert cell.verdict.endswith(
        "The exact sign-flip test, which needs no normal differences, does not confirm it: p = 0.062."
    )


def test_conventional_training_with_values_of_its_own_is_the_baseline_if_it_is_the_only_one():
    tuned = {"conventional(lr=0.01)": BASE, "lerac": BETTER}
    assert analyse(results_of({"a/digits": tuned})).baseline == "conventional(lr=0.01)"
    assert analyse(results_of({"a/digits": {**tuned, "conventional(lr=0.1)": BASE}})).baseline is None
    assert analyse(results_of({"a/digits": {**tuned, "conventional": BASE}})).baseline == "conventional"


def test_another_baseline():
    found = analyse(results_of({"a/digits": {"conventional": BASE, "lerac": BETTER}}), baseline="lerac")
    conventional, lerac = found.cells
    assert conventional.verdict.startswith("conventional is worse than lerac: -6.25 points")
    assert lerac.evidence is None
    with pytest.raises(StudyError, match="baseline cbs is not among the regimes of the study: conventional, lerac"):
        analyse(results_of({"a/digits": {"conventional": BASE, "lerac": BETTER}}), baseline="cbs")


@pytest.mark.parametrize("values", [(), (0.5,), BASE])
def test_one_regime_only(values):
    found = analyse(results_of({"a/digits": {"lerac": values}}))
    assert (found.baseline, found.comparisons, found.pooled) == (None, 0, ())
    assert found.notes == (
        "No comparison: conventional is not among the regimes; any of them can be made the baseline.",
    )
    assert [cell.verdict for cell in found.cells] == [None] * len(found.cells)


def test_unfinished_and_without_spread():
    regimes = {
        "conventional": (0.5, 0.5, 0.5, None, NAN),
        "lerac": (0.6, 0.6, 0.6, 0.6, 0.6),
        "cbs": (None,) * 5,
        "warmup": (0.5, 0.5, 0.5, 0.5, 0.5),
    }
    found = analyse(results_of({"a/digits": regimes}))
    base, lerac, cbs, warmup = found.cells
    assert base.verdict == (
        "conventional itself has not ended on seeds 3 and diverged on seeds 4; no regime is compared on these."
    )
    assert (lerac.evidence.p, lerac.evidence.adjusted, lerac.outlook) == (None, None, None)
    assert lerac.evidence.sign_flip.p == 0.25
    assert (cbs.evidence, cbs.improvement, cbs.outlook) == (None, None, None)
    assert cbs.verdict == "cbs: nothing to compare with conventional. Not ended yet: 5 seeds."
    assert warmup.evidence.wilcoxon.p == 1
    assert warmup.improvement.tied == 3  # and better than the run that diverged
    assert warmup.improvement.won == 1
    assert "Of these, 3 have no p: too few pairs of runs, or no spread. They count as p = 1." in found.notes
    json.dumps(found.as_dict(), allow_nan=False)


def test_several_recipes_are_pooled_by_metric():
    measured = {
        "a/digits": {"conventional": BASE, "lerac": BETTER},
        "b/digits": {"conventional": BASE[:4], "lerac": SIMILAR[:4]},
        "c/digits": {"conventional": (None, None), "lerac": (0.5, 0.5)},
        "d/utkface": {"conventional": (6.1, 6.3, 6.2), "lerac": (6.0, 6.1, 5.9)},
    }
    found = analyse(results_of(measured))
    [row] = found.pooled
    assert (row.regime, row.metric, row.experiments, row.left_out) == (
        "lerac", ACCURACY, ("a/digits", "b/digits"), ("c/digits",)
    )  # fmt: skip
    differences = np.array([x - y for x, y in zip(BETTER + SIMILAR[:4], BASE + BASE[:4], strict=True)])
    assert row.difference.mean.value == pytest.approx(differences.mean())
    assert row.difference.iqm.value == pytest.approx(np.sort(differences)[2:-2].mean())
    assert row.difference.test.p == pytest.approx(sign_flip_test(differences.tolist()).p)
    assert row.difference.mean.low < row.difference.mean.value < row.difference.mean.high
    pairs = [(BETTER, BASE), (SIMILAR[:4], BASE[:4])]
    assert row.improvement.probability == pytest.approx(one_by_one(pairs, lambda x, y: x > y))
    age = found.of("d/utkface")[1]
    assert age.metric is MAE
    assert age.improvement.probability == one_by_one([((6.0, 6.1, 5.9), (6.1, 6.3, 6.2))], lambda x, y: x < y)
    again = analyse(results_of(measured))
    assert json.dumps(found.as_dict(), allow_nan=False) == json.dumps(again.as_dict())


def test_pooled_bootstrap_as_scipy_resamples():
    groups = [np.random.default_rng(i).normal(i, 1, size=12) for i in range(3)]
    differences = [paired_difference(by_seed(*g.tolist()), dict.fromkeys(range(12), 0.0)) for g in groups]
    for what, statistic in (("mean", np.mean), ("iqm", lambda x, axis: interquartile_mean(x))):
        found = getattr(pool(differences), what)
        expected = stats.bootstrap(
            groups,
            lambda *g, axis, statistic=statistic: statistic(np.concatenate(g, axis=-1), axis=-1),
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03)
    with pytest.raises(ValueError, match="no differences to pool"):
        pool([])


def test_one_pair_has_no_interval():
    found = pool([paired_difference({0: 0.5}, {0: 0.25})] * 2)
    assert (found.mean.value, found.mean.low, found.iqm.high, found.pairs) == (0.25, None, None, (1, 1))
    single = probability_of_improvement([({0: 0.5}, {0: 0.25})])
    assert (single.probability, single.low, single.pairs) == (1, None, 1)
    assert probability_of_improvement([({0: 0.5}, {1: 0.25})]) is None


def test_failures_count_in_the_probability_of_improvement():
    found = probability_of_improvement([(by_seed(0.9, NAN, NAN), by_seed(0.5, 0.5, NAN))])
    assert (found.pairs, found.won, found.lost, found.tied) == (3, 1, 1, 1)
    inf = -math.inf
    assert found.probability == pytest.approx(one_by_one([((0.9, inf, inf), (0.5, 0.5, inf))], lambda x, y: x > y))
    worse = probability_of_improvement([(by_seed(5.0, NAN), by_seed(6.0, 6.0))], MAE)
    assert (worse.won, worse.lost) == (1, 1)


def test_failures_against_scipy():
    base, lerac = summarise(
        {"conventional": by_seed(*[0.5] * 8), "lerac": by_seed(NAN, NAN, NAN, NAN, NAN, NAN, 0.5, None)}
    )
    found = failures(lerac, base)
    interval = stats.binomtest(6, 7).proportion_ci(0.95, method="exact")
    assert (found.diverged, found.ended, found.rate) == (6, 7, 6 / 7)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(stats.binomtest(6, 6).pvalue)
    assert failures(base).p is failures(base, base).p is None
    assert failures(base).rate == 0
    [nothing] = summarise({"lerac": {0: None}})
    assert (failures(nothing).rate, failures(nothing).low) == (None, None)


def test_diverged_runs_are_in_the_verdict():
    regimes = {"conventional": BASE, "lerac": (NAN, *BETTER[1:])}
    cell = analyse(results_of({"a/digits": regimes})).cells[1]
    assert "Diverged: 1 of 6 runs. Not counted, because their loss was not finite: seeds 0." in cell.verdict
    assert cell.improvement.lost == 1
    assert cell.failures.p == 1


def test_claims():
    results = results_of({"a/digits": {"conventional": BASE, "lerac": SIMILAR}})
    claimed = analyse(results, claims={"accuracy": 0.01}, power=0.9).cells[1].outlook
    assert (claimed.claimed, claimed.power, claimed.needed.difference) == (True, 0.9, 0.01)
    measured = analyse(results).cells[1]
    assert measured.outlook.needed.difference == pytest.approx(abs(measured.summary.difference.mean))
    with pytest.raises(StudyError, match="claim about mae: the study measures accuracy"):
        analyse(results, claims={"mae": 0.1})


def predictions(right, name="run", **changes):
    label = np.arange(len(right)) % 3
    arrays = {"index": np.arange(len(right)), "label": label, "predicted": np.where(right, label, (label + 1) % 3)}
    return Predictions(name, **arrays | changes)


def test_two_networks():
    one, base = [1] * 9 + [0, 1, 0], [1] * 2 + [0] * 7 + [1, 1, 0]
    found = disagreement(3, predictions(one), predictions(base))
    assert (found.seed, found.examples, found.gained, found.lost) == (3, 12, 7, 1)
    assert found.p == pytest.approx(stats.binomtest(1, 8).pvalue)
    assert found.p == pytest.approx(mcnemar([[3, 7], [1, 1]], exact=True).pvalue)
    assert disagreement(0, predictions(one), predictions(one)).p == 1


def test_networks_that_cannot_be_compared():
    one = predictions([1, 0, 1], "a")
    with pytest.raises(StudyError, match="a has 3 examples, b 2: not the same test split"):
        disagreement(0, one, predictions([1, 0], "b"))
    with pytest.raises(StudyError, match="a and b differ in 2 of 3 examples"):
        disagreement(0, one, predictions([1, 0, 1], "b", index=np.array([0, 2, 1])))
    with pytest.raises(StudyError, match="a and b differ in 1 of 3 labels"):
        disagreement(0, one, predictions([1, 0, 1], "b", label=np.array([0, 1, 1])))
    with pytest.raises(StudyError, match=r"b: predictions of float32 .* compares classes"):
        disagreement(0, one, predictions([1, 0, 1], "b", predicted=np.zeros(3, dtype=np.float32)))


def test_damaged_predictions(tmp_path):
    path = tmp_path / "predictions.npz"
    assert read_predictions(path) is None
    path.write_bytes(b"PK nothing")
    with pytest.raises(StudyError, match=r"predictions.npz is damaged"):
        read_predictions(path)
    np.savez(path, index=np.arange(3))
    with pytest.raises(StudyError, match=r"predictions.npz is damaged .*label"):
        read_predictions(path)


def test_networks_of_a_trained_study(finished):
    folder, study = finished
    results = collect(folder, study.runs())
    found = analyse(results, folders=[folder / "elsewhere", folder])
    assert analyse(results).cells[1].networks == ()
    base, *others = found.cells
    assert base.networks == ()
    for cell in others:
        assert [network.seed for network in cell.networks] == study.seeds
        for network in cell.networks:
            gain = cell.summary.difference.by_seed[network.seed]
            assert (network.gained - network.lost) / network.examples == pytest.approx(gain)
    json.dumps(found.as_dict(), allow_nan=False)
