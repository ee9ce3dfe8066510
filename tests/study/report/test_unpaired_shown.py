"""What is not paired is called so wherever its numbers are shown: terminal, page, tables and JSON."""

import csv
import io
import json

import pytest
from pages import page_of
from plain_kind import SCORE, Plain
from rich.console import Console

from lerac.study.plan.study import Study
from lerac.study.report.tables import table_csv, table_tex
from lerac.study.runs.comparison import compare
from lerac.study.statistics import Outcome, analyse
from lerac.study.terminal.study import print_study, study_json

BASE, MINE = (0.50, 0.52, 0.49, 0.51, 0.50), (0.56, 0.57, 0.56, 0.58, 0.555)
DIFFERS = {"weights": "a", "first batch": "other", "steps": "10"}
SAME = DIFFERS | {"first batch": "a"}


def study_of(pairing, *names):
    """A study of conventional and lerac, five seeds each; pairing: experiment → what lerac's runs have in common."""
    outcomes = [
        Outcome(name, regime, seed, SCORE, "done", {"test": {"score": value}}, pairing=seen)
        for name in names
        for regime, values, seen in (("conventional", BASE, SAME), ("lerac", MINE, pairing[name]))
        for seed, value in enumerate(values)
    ]
    study = Study(
        recipes=[Plain(name=name, gain=0) for name in names], regimes=["conventional", "lerac"], seeds=[*range(5)]
    )
    return study, outcomes


def shown(study, outcomes):
    analysis = analyse(outcomes)
    comparisons, said = compare(study, outcomes, analysis), io.StringIO()
    print_study(Console(file=said, width=300), comparisons, analysis)
    return comparisons, analysis, said.getvalue()


@pytest.mark.parametrize(
    ("pairing", "reason"),
    [
        (DIFFERS, "not paired: first batch differs (lerac: seeds 0-4)"),
        ({}, "not paired: could not be checked, no lerac.attach in sight (lerac: seeds 0-4)"),
    ],
)
def test_what_is_not_paired_is_called_so(tmp_path, pairing, reason):
    study, outcomes = study_of({"mine:train": pairing}, "mine:train")
    comparisons, analysis, said = shown(study, outcomes)
    assert f"mine:train, {reason}. So its differences are those of the means" in said
    assert "n = 5 and 5 runs, not paired, p" in said
    page = page_of(tmp_path, study, outcomes)
    for words in (
        f"mine:train, {reason}. So its",
        "but not those of mine:train: they are not paired",
        "With 5 seeds of each regime, not paired, a true difference to conventional of",
        "difference of the means (Welch's t; not paired: ",
        "p is that of Welch's t-test",
        "p, permutation of labels",
        "of the means, since runs are not paired; diamond and bar",
    ):
        assert words in page.words
    for words in ("sign-flip", "Wilcoxon", "McNemar", "paired t-test", "joins the runs", "won, tied, lost"):
        assert words not in page.words
    mine = [*csv.DictReader(io.StringIO(table_csv(comparisons)))][1]
    assert mine["not_paired"] == reason.removeprefix("not paired: ")
    assert float(mine["labels_p"]) == float(mine["labels_p_holm"]) == pytest.approx(2 / 252)
    assert {mine[key] for key in ("pairs", "sign_flip_p", "wilcoxon_p")} == {""}
    assert reason in table_tex(comparisons)
    described = json.loads(json.dumps(study_json(comparisons, analysis), allow_nan=False))
    assert described["analysis"]["not_paired"] == {"mine:train": mine["not_paired"]}
    assert any(reason in warning for warning in described["recipes"][0]["warnings"])


def test_nothing_of_it_is_said_where_runs_are_paired(tmp_path):
    study, outcomes = study_of({"mine:train": SAME}, "mine:train")
    comparisons, analysis, said = shown(study, outcomes)
    everywhere = said + page_of(tmp_path, study, outcomes).words + table_tex(comparisons)
    assert "not paired" not in everywhere
    assert "Welch" not in everywhere
    assert analysis.as_dict()["not_paired"] == {}
    mine = [*csv.DictReader(io.StringIO(table_csv(comparisons)))][1]
    assert (mine["not_paired"], mine["labels_p"], mine["pairs"]) == ("", "", "5")


def test_one_of_two_experiments(tmp_path):
    study, outcomes = study_of({"a": SAME, "b": DIFFERS}, "a", "b")
    _, _, said = shown(study, outcomes)
    assert said.count("not paired:") == 1
    page = page_of(tmp_path, study, outcomes)
    for words in (
        "but not those of b: they are not paired",
        "p, sign-flip",
        "p, permutation of labels",
        "where runs are not paired, it is Welch's, and the permutation test of labels is exact",
    ):
        assert words in page.words


def test_runs_that_are_not_paired_are_not_joined_by_lines(tmp_path):
    """The pictures of both pages are of the same dots; lines of seeds are of the paired one only."""
    pages = [page_of(tmp_path, *study_of({"e": pairing}, "e")).html for pairing in (SAME, DIFFERS)]
    paired, unpaired = (page.count("opacity: 0.35") + page.count("stroke-opacity: 0.35") for page in pages)
    assert paired > unpaired == 0
