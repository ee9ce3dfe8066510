"""Grids of regimes in whatever is compared: recipes, functions, commands; what tables say of them; never arms."""

import csv
import json

import functions
from studies import SMALL, make_run

import lerac.study
from lerac.cli import run
from lerac.study.own.command.request import parse_arms, request_command
from lerac.study.own.request import Judged
from lerac.study.plan.request import request_study

GRID = "conventional,lerac(k={0.5,1},ratio={1e-2,1e-4}),unfreeze(k={1})"
TEXTS = [
    "conventional",
    *(f"lerac(k={k},ratio={ratio})" for k in ("0.5", "1") for ratio in ("0.01", "0.0001")),
    "unfreeze(k=1)",
]


def test_a_recipe_has_the_runs_of_the_regimes_one_by_one():
    overrides = [*SMALL, "training.epochs=2"]
    grid, listed = (request_study(["digits"], text, [0, 1], overrides, None, "cpu") for text in (GRID, ",".join(TEXTS)))
    assert grid == listed
    assert grid.regimes == TEXTS
    assert grid.runs()[1].folder == make_run("lerac(k=0.5,ratio=0.01)").folder


def test_the_plan_says_how_many_runs(capsys, tmp_path):
    command = ["compare", "digits", "--plan", "--seeds", "3", "--out", str(tmp_path / "study"), "--regimes"]
    assert run([*command, "lerac(k={1,3,5},ratio={1e-2,1e-4,1e-6})"]) == 0
    assert capsys.readouterr().out.endswith("27 runs, 27 to train\n")
    assert run([*command, "lerac(k={1,{3}})"]) == 2
    assert "write it like" in capsys.readouterr().err


def test_of_a_function_table_and_csv_say_which_options_each_row_has(tmp_path):
    study = lerac.study.compare(functions.train, GRID, 1, out=tmp_path / "study", workers=0, metric="accuracy")
    rows = study.table
    assert [row["name"] for row in rows] == ["conventional", *["lerac"] * 4, "unfreeze"]
    assert [(row["k"], row["ratio"], row["curve"]) for row in rows] == [
        (None, None, None),
        *((k, ratio, "exponential") for k in (0.5, 1.0) for ratio in (0.01, 0.0001)),
        (1.0, None, None),
    ]
    assert "sigma" not in rows[0]
    written = list(csv.DictReader((tmp_path / "study/table.csv").read_text().splitlines()))
    assert [row["regime"] for row in written] == [row["regime"] for row in rows]
    for row, line in zip(rows, written, strict=True):
        assert list(line) == list(row)
        assert [line[key] for key in ("name", "k", "ratio", "curve")] == [
            "" if row[key] is None else str(row[key]) for key in ("name", "k", "ratio", "curve")
        ]
    page = (tmp_path / "study/report.html").read_text()
    for regime in json.loads((tmp_path / "study/study.json").read_text())["regimes"]:
        assert regime in page


def test_without_options_the_table_is_as_before(tmp_path):
    study = lerac.study.compare(
        functions.train, "conventional", 2, out=tmp_path / "study", workers=0, metric="accuracy"
    )
    assert {"name", "k"}.isdisjoint(study.table[0])


def test_a_command_has_a_grid_and_arms_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("import lerac  # lerac.attach\n")
    common = {"regimes": GRID, "seeds": [0], "values": {}, "judged": Judged("top1"), "here": False}
    command, results = "python train.py --seed {seed} --lr {lr}", "{folder}/result.json"
    plain = request_command(command.replace(" --lr {lr}", ""), results, {}, **common)
    assert [run.regime.partition("(")[0] for run in plain.runs()] == ["conventional", *["lerac"] * 4, "unfreeze"]
    grid = {**common, "regimes": "lerac(k={1,2},lr={0.1,0.3})"}
    assert [run.settings["lr"] for run in request_command(command, results, {}, **grid).runs()] == [0.1, 0.3, 0.1, 0.3]
    arms = parse_arms(["a=--k {seed}", "lerac{1,2}=--k {1,2}"])
    study = request_command(command.replace(" --lr {lr}", ""), results, arms, **common)
    assert study.regimes == ["a", "lerac{1,2}"]
    assert [run.regime for run in study.runs()] == ["a", "lerac{1,2}"]
