"""The seam holds from request to report: what is no recipe is planned, trained, continued and reported."""

import csv
import io
import json
from statistics import fmean

import pytest
from pages import Page, page_of
from plain_kind import Plain, play
from rich.console import Console
from studies import make_study, train_here

from lerac import cli
from lerac.study.engines import engine_of
from lerac.study.engines.progress import TerminalProgress
from lerac.study.errors import StudyError
from lerac.study.plan.study import Study
from lerac.study.runs.folder import extend_study, read_study, write_study, write_tables
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder


def asked(*regimes, seeds=(0, 1, 2), gain=0.25):
    return Study(recipes=[Plain(name="mine:play", gain=gain)], regimes=list(regimes), seeds=list(seeds))


def train_all(folder, study, workers=2):
    """Train what is left by worker processes; give what was said, and the failures."""
    write_study(folder, study)
    left = [run for run in study.runs() if RunFolder(folder, run).status() is None]
    said = io.StringIO()
    with TerminalProgress(Console(file=said, width=200), folder, study.runs()) as progress:
        failures = engine_of("local")(folder, left, workers=workers, progress=progress)
    write_tables(folder, collect(folder, study.runs()))
    return said.getvalue(), failures


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, study = tmp_path_factory.mktemp("plain") / "study", asked("conventional", "mine", "diverging")
    said, failures = train_all(folder, study)
    assert failures == []
    return folder, study, said


def test_it_is_planned_written_and_read_again(trained):
    folder, study, _ = trained
    assert read_study(folder) == study
    assert json.loads((folder / "study.json").read_text())["recipes"] == [
        {"kind": "plain", "name": "mine:play", "gain": 0.25}
    ]
    assert [str(run) for run in study.runs()][:4] == [
        *(f"mine:play {regime} seed 0" for regime in study.regimes),
        "mine:play conventional seed 1",
    ]


def test_worker_processes_train_it_and_results_hold_every_number(trained):
    folder, study, said = trained
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    found = {(r["regime"], int(r["seed"]), r["metric"]): r["value"] for r in rows if r["recipe"] == "mine:play"}
    for regime in ("conventional", "mine"):
        for seed in study.seeds:
            assert float(found[regime, seed, "score"]) == play(regime, seed, {"gain": 0.25})
            assert float(found[regime, seed, "beside"]) == 1
    assert found["diverging", 0, "score"] == "nan"
    assert {(r["epochs"], r["steps"]) for r in rows} == {("", "")}
    config = RunFolder(folder, study.runs()[0]).config()
    assert (config["experiment"], config["settings"], config["environment"].keys() > {"torch"}) == (
        "mine:play", {"gain": 0.25}, True
    )  # fmt: skip
    assert "mine:play diverging seed 0: diverged (loss not finite)" in said
    assert "mine:play mine seed 1: test 0.384 (0 s)" in said


def test_the_same_command_continues_and_extends_it(trained):
    folder, study, _ = trained
    ended = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*/status.json")}
    said, failures = train_all(folder, study)
    assert (said, failures) == ("", [])
    with pytest.raises(StudyError, match=r"it has mine:play with gain 0\.25, now asked for 0\.5; choose another --out"):
        extend_study(folder, asked("mine", gain=0.5))
    larger = extend_study(folder, asked("failing", seeds=(1, 2, 3)))
    said, [failure] = train_all(folder, larger)
    assert failure.reason == "ValueError: a fault of mine"
    assert {path: path.stat().st_mtime_ns for path in ended} == ended
    write_study(folder, study)  # as it was, for the tests that follow
    write_tables(folder, collect(folder, study.runs()))


def test_page_tables_and_terminal_show_it(trained, capsys):
    folder, study, _ = trained
    assert cli.run(["report", str(folder), "--claim", "0.2"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    base = [play("conventional", seed, {"gain": 0}) for seed in study.seeds]
    assert f"mine {fmean(base) + 0.25:.3f} ± " in printed
    assert "mine: +0.250 compared with conventional on 3 seeds, too few for a verdict." in printed
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    for words in (
        "Experiment mine:play",
        "test score",
        "+0.250 [+0.250, +0.250]",
        "Runs9, all ended",
        "gain0.25",
        "the loss was not finite.",
    ):
        assert words in page.words
    for words in ("ecipe", "split", "the first version", "ot published", "Learning rates", "Smoothing", "validation"):
        assert words not in page.words
    assert {row[0] for row in page.data["rows"]} == {"mine:play"}
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert [(row["recipe"], row["regime"], row["unit"], row["n"]) for row in rows] == [
        ("mine:play", regime, "", n) for regime, n in zip(study.regimes, "332", strict=True)
    ]
    assert r"mine:play, score & conventional & $" in (folder / "table.tex").read_text()


def test_it_stands_beside_a_recipe(trained, tmp_path, capsys):
    folder, study, _ = trained
    recipes = make_study("conventional", seeds=(0, 1))
    together = study.model_copy(update={"regimes": ["conventional"], "seeds": [0, 1]}).extend(recipes)
    train_here(tmp_path, together)
    assert read_study(tmp_path) == together
    page = page_of(tmp_path, together, collect(tmp_path, together.runs()))
    assert "Experiments mine:play; small-cnn/digits, settings of our own" in page.words
    assert "Learning rates as planned" in page.words
    assert cli.run(["report", str(tmp_path), str(folder), "--out", str(tmp_path / "both")]) == 2
    assert "unknown regime 'mine'" in capsys.readouterr().err  # which the recipe cannot be trained by


def test_a_kind_that_nobody_knows_is_refused_in_one_line(tmp_path, capsys):
    write_study(tmp_path, asked("conventional"))
    text = (tmp_path / "study.json").read_text().replace('"plain"', '"strange"')
    (tmp_path / "study.json").write_text(text)
    assert cli.run(["report", str(tmp_path)]) == 2
    assert "'strange' is no kind of experiment that is known here" in capsys.readouterr().err
    with pytest.raises(ValueError, match="a recipe was expected, or an experiment of another kind, got 'digits'"):
        Study(recipes=["digits"], regimes=[], seeds=[])
