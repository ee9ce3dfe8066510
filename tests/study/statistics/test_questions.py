"""What is asked of the statistics: from --baseline, --claim and --power to the page."""

import csv
import json
import math
import shlex

import pytest
from pages import page_of
from small_recipes import small_recipe
from studies import make_study, train_here

from lerac import cli
from lerac.study.errors import StudyError
from lerac.study.metrics import ACCURACY, Metric
from lerac.study.plan.study import Study
from lerac.study.report.commands import commands_of
from lerac.study.runs.outcomes import collect, outcome_of
from lerac.study.statistics import Disagreement, analyse, tally
from lerac.study.statistics.question import Question, request_question

REGIMES = ["conventional", "lerac(curve=linear,ratio=1e-5)"]


@pytest.fixture
def several():
    """Two recipes by accuracy and one by years of age, six seeds; lerac diverged once."""
    recipes = [small_recipe(name) for name in ("small-cnn/digits", "small-vit/digits", "resnet18/utkface")]
    study = Study(recipes=recipes, regimes=REGIMES, seeds=list(range(6)))
    results = []
    for run in study.runs():
        gain = 0.0 if run.regime == "conventional" else 0.02 + 0.003 * (run.seed % 3)
        value = 0.5 + 0.01 * run.seed + gain
        if (run.recipe, run.regime, run.seed) == ("small-vit/digits", REGIMES[1], 2):
            value = math.nan
        scores = {"accuracy": value, "mae": 6 - value, "loss": 1.0}
        status = {"state": "diverged" if math.isnan(value) else "done", "test": scores, "validation": scores}
        status |= {"epochs": 2, "steps": 4, "seconds": 1.0, "device": "cpu"}
        results.append(outcome_of(run, status, [], None, []))
    return study, results


def test_words_are_read_as_the_study_has_them(several):
    study, _ = several
    question = request_question(study.regimes, study.metrics, REGIMES[1], ["accuracy=1", "mae=0.5"], 0.9)
    assert question == Question(REGIMES[1], {"accuracy": 0.01, "mae": 0.5}, 0.9)
    assert request_question([], [ACCURACY], claims=["2"]) == Question(None, {"accuracy": 0.02}, 0.8)
    bare = Metric("score", "min")
    assert request_question([], [bare], claims=["0.5"]).claims == {"score": 0.5}
    with pytest.raises(StudyError, match="--claim 0: a number above 0 was expected, like 1 or score=1"):
        request_question([], [bare], claims=["0"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"baseline": "cbs"}, "baseline cbs is not among the regimes of the study: conventional, lerac"),
        ({"baseline": "nothing"}, "nothing"),
        ({"claims": ["1"]}, "the study measures accuracy, mae; say which, like accuracy=1"),
        ({"claims": ["map50=1"]}, "--claim map50=1: the study measures accuracy, mae"),
        ({"claims": ["mae=-1"]}, "--claim mae=-1: a number of years above 0 was expected"),
        ({"claims": ["mae=much"]}, "--claim mae=much: a number of years above 0 was expected"),
        ({"claims": ["mae=1", "mae=2"]}, "--claim mae=2: the claim about mae is given twice"),
        ({"power": 1.0}, "--power 1: a probability between 0.05 and 1 was expected"),
    ],
)
def test_bad_words_are_refused(several, options, says):
    with pytest.raises(StudyError) as error:
        request_question(several[0].regimes, several[0].metrics, **options)
    assert says in str(error.value)


def test_a_page_of_several_recipes_and_metrics(several, tmp_path):
    study, results = several
    page = page_of(tmp_path, study, results, claims={"accuracy": 0.01})
    analysis = analyse(results, claims={"accuracy": 0.01})
    [pooled] = analysis.pooled  # years with years, accuracies with accuracies
    assert pooled.experiments == ("small-cnn/digits", "small-vit/digits")
    assert pooled.text().startswith(f"{REGIMES[1]} over 2 recipes, accuracy: mean difference +2.")
    assert "n = 11 pairs of runs" in pooled.text()
    assert page.words.count(pooled.text()) == 1
    assert "Recipes together" in page.words
    assert "5 of 6" not in page.words
    assert "1 of 6, 17% [0%, 64%]" in page.words
    assert page.words.count("as claimed, needs") == 2
    assert "1 points of accuracy, with 80% power" in page.words
    for cell in analysis.cells:
        assert cell.verdict is None or cell.verdict in page.words
    commands = [shlex.split(command) for command in commands_of(study, analysis)]
    claims = {word for words in commands for word in words if "accuracy=" in word}
    assert claims == {"accuracy=1"}
    assert sum("--claim" in words for words in commands) == len(commands) - 1  # not in the one about ages


def test_networks_are_counted():
    found = tally([Disagreement(0, 100, 9, 1, 0.02), Disagreement(1, 100, 3, 2, 1.0), Disagreement(2, 100, 1, 4, 0.4)])
    assert (found.pairs, found.better, found.clearly_better, found.worse, found.clearly_worse) == (3, 2, 1, 1, 0)
    assert (found.gained, found.lost) == (13, 7)


def test_the_page_compares_kept_predictions(report, finished):
    folder, study = finished
    results = collect(folder, study.runs())
    cell = analyse(results, folders=[folder]).cells[1]
    count = tally(cell.networks)
    assert count.pairs == 3
    assert "Network against network" in report.words
    cells = f'>3</td><td data-sort="{count.better}">{count.better} ({count.clearly_better})</td>'
    assert cells in report.html
    assert f"<td>{count.gained}</td><td>{count.lost}</td>" in report.html


def test_lerac_report_takes_another_baseline_and_a_claim(tmp_path, capsys):
    one, two = make_study("conventional", seeds=(0, 1)), make_study("lerac", seeds=(0, 1))
    folders = [str(train_here(tmp_path / name, study)) for name, study in (("one", one), ("two", two))]
    command = ["report", *folders, "--out", str(tmp_path / "both"), "--baseline", "lerac", "--claim", "2"]
    assert cli.run([*command, "--power", "0.9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recipes"][0]["baseline"] == found["analysis"]["baseline"] == "lerac"
    assert (found["analysis"]["claims"], found["analysis"]["power"]) == ({"accuracy": 0.02}, 0.9)
    rows = list(csv.DictReader((tmp_path / "both/table.csv").read_text().splitlines()))
    assert [(row["baseline"], row["difference"] == "") for row in rows] == [("lerac", False), ("lerac", True)]
    assert "paired difference to lerac (Student's t)" in (tmp_path / "both/table.tex").read_text()
    page = (tmp_path / "both/report.html").read_text()
    assert 'difference to <span class="piece">lerac</span>, points' in page
    assert "--baseline lerac --power 0.9 --claim accuracy=2" in page
    assert cli.run(["report", *folders, "--baseline", "cbs"]) == 2
    assert "baseline cbs is not among the regimes of the study" in capsys.readouterr().err
    again = ["report", *folders, "--out", str(tmp_path / "both"), "--json", "--baseline"]
    assert cli.run([*again, "nothing"]) == 2
    assert "unknown regime 'nothing'" in capsys.readouterr().err
