"""`lerac compare` on a terminal: p, notes, and the paper's numbers beside ours."""

import io
import math

import pytest
from rich.console import Console

from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import load_recipe
from lerac.study.runs.comparison import compare
from lerac.study.runs.outcomes import outcome_of
from lerac.study.statistics import analyse
from lerac.study.terminal.study import print_study, study_json


def compared(name, *regimes, seeds=5, diverged=(), **options):
    """Every regime a little better than the one before it, on every seed; `diverged` are (regime, seed)."""
    study = Study(recipes=[load_recipe(name)], regimes=list(regimes), seeds=list(range(seeds)))
    results = []
    for run in study.runs():
        gain = 0.001 * regimes.index(run.regime) * (1 + 0.1 * (run.seed % 2))
        value = math.nan if (run.regime, run.seed) in diverged else 0.8 + 0.01 * run.seed + gain
        scores = {"accuracy": value, "loss": 1.0}
        state = "diverged" if math.isnan(value) else "done"
        status = {"state": state, "test": scores, "validation": scores}
        results.append(outcome_of(run, status, [], None, []))
    analysis = analyse(results, **options)
    return compare(study, results, analysis), analysis


def printed(name, *regimes, **options):
    text = io.StringIO()
    print_study(Console(file=text, width=80), *compared(name, *regimes, **options))
    assert max(map(len, text.getvalue().splitlines())) <= 80
    return text.getvalue()


def words(text):
    return " ".join(text.split())


def test_the_papers_numbers_stand_beside_ours_where_they_are_known():
    text = printed("cvt13/cifar10", "conventional", "lerac", "lerac(curve=linear)", "lerac-reversed")
    rows = text.splitlines()[1:]
    heading = ["regime", "test", "accuracy,", "%", "−", "conventional", "[95%]", "p", "(Holm)", "n", "paper"]
    assert rows[0].split() == heading
    conventional, lerac = rows[1:3]
    assert conventional.split() == ["conventional", "82.00", "±", "1.58", "–", "–", "5", "71.84", "±", "0.37"]
    assert lerac.split()[-4:] == ["5", "72.90", "±", "0.28"]
    assert "72.49 ± 0.27" in text
    [reversed_row] = [row for row in rows if row.startswith("lerac-rev") and "±" in row]
    assert reversed_row.split()[-2:] == ["5", "–"]
    assert "paper: mean and standard deviation of 5 runs, as its first version reports them." in words(text)
    assert "selects the epoch on the test data" in words(text)


def test_p_is_a_column_and_the_notes_stand_once_at_the_end():
    text = words(printed("digits", "conventional", "lerac", "warmup"))
    assert "− conventional [95%] p (Holm) n" in text
    assert text.count("p is adjusted over the 2 comparisons of the study (Holm).") == 1
    assert text.count("With 5 seeds no exact test (sign-flip, Wilcoxon) can go below p = 0.062, or p = 0.12") == 1
    alone = words(printed("digits", "conventional", "lerac"))
    assert "− conventional [95%] p n conventional" in alone
    assert "Holm" not in alone
    assert "6 seeds can reach 0.05." in alone


def test_another_baseline_and_a_claim():
    regimes = ("conventional", "lerac(curve=linear)")
    text = words(printed("digits", *regimes, baseline=regimes[1], claims={"accuracy": 0.005}))
    assert "− baseline [95%]" in text
    assert "conventional is worse than lerac(curve=linear): -0.10 points" in text
    assert "A difference of 0.50 points, as claimed, needs 6 seeds" in text
    assert "as measured" not in words(printed("digits", *regimes))


def test_a_diverged_run_is_counted_and_the_table_still_fits():
    regimes = ("conventional", "lerac", "warmup")
    text = words(printed("cvt13/cifar10", *regimes, diverged=[("lerac", 1)]))
    assert "Diverged: 1 of 5 runs." in text
    assert "4, 1 diverged" in words(printed("digits", *regimes, diverged=[("lerac", 1)]))


def test_one_seed_and_one_regime():
    assert "on 1 seed, too few for a verdict." in words(printed("digits", "conventional", "lerac", seeds=1))
    lines = printed("digits", "conventional").splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("conventional")] == [["conventional", "82.00"]]
    alone = words(printed("digits", "lerac"))
    assert alone.count("No comparison: conventional is not among the regimes") == 1
    assert "[95%]" not in alone


def test_json_has_them_in_the_unit_of_ours():
    found = study_json(*compared("cvt13/cifar10", "conventional", "warmup"))
    [recipe] = found["recipes"]
    assert recipe.keys() == {"recipe", "baseline", "confidence", "regimes", "verdicts", "metric", "warnings"}
    rows = {row["regime"]: row for row in recipe["regimes"]}
    assert rows["conventional"]["published"] == {"mean": pytest.approx(0.7184), "sd": pytest.approx(0.0037)}
    assert rows["conventional"]["mean"] == pytest.approx(0.82)
    assert rows["warmup"]["published"] is None
    _, cell = found["analysis"]["cells"]
    assert cell["difference"]["mean"] == rows["warmup"]["difference"]["mean"] == pytest.approx(0.00104)
    assert cell["evidence"]["sign_flip"]["p"] == 0.0625
    assert (found["analysis"]["claims"], found["analysis"]["power"]) == ({}, 0.8)


@pytest.mark.parametrize(("name", "regimes"), [("digits", ["conventional"]), ("cvt13/cifar10", ["warmup"])])
def test_nothing_is_said_of_the_paper_where_nothing_is_known(name, regimes):
    assert "paper" not in printed(name, *regimes)
