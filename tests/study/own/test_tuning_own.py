"""Functions and commands tuned: by what they measure on validation data, which is all that is kept."""

import csv
import html
import json
import re
import shlex
import sys
from pathlib import Path

import functions
import pytest
from in_this_process import in_this_process

import lerac.study
from lerac.cli import run
from lerac.study.errors import StudyError


def answered(capsys, *words):
    capsys.readouterr()
    with in_this_process():
        code = run([*map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def rows(folder):
    return list(csv.DictReader((folder / "results.csv").read_text().splitlines()))


def by_validation(trial):
    value = functions.fit(trial, *functions.start(trial))
    trial.report(9, test_accuracy=0.987654321, accuracy=value)
    return {"validation": {"accuracy": value}, "test": {"accuracy": 0.987654321}}


def of_test_only(trial):
    return {"accuracy": functions.fit(trial, *functions.start(trial))}


def several(trial):
    functions.fit(trial, *functions.start(trial))
    return {"validation": {"accuracy": 1.0, "loss": 2.0}}


OF_FUNCTIONS = {"configs": 2, "lr": "0.1..1", "epochs": 3, "epoch_steps": 4, "workers": 0}


def test_functions_are_tuned_by_what_they_return_as_validation(tmp_path):
    tuning = lerac.study.tune(by_validation, seeds="7-8", out=tmp_path / "f", **OF_FUNCTIONS)
    assert [*tuning.chosen] == ["conventional", "warmup", "lerac"]
    assert "chosen" in str(tuning)
    assert not any(b"0.987654321" in path.read_bytes() for path in (tmp_path / "f").rglob("*") if path.is_file())
    assert {row["split"] for row in rows(tmp_path / "f")} == {"validation"}
    told = lerac.study.compare(by_validation, "lerac", 1, tuned=tuning, out=tmp_path / "c", workers=0)
    assert [row["regime"] for row in told.table] == [tuning.chosen["lerac"]]
    with pytest.raises(StudyError, match="7 was used for tuning"):
        lerac.study.compare(by_validation, seeds=[6, 7], tuned=tmp_path / "f", out=tmp_path / "d", workers=0)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (of_test_only, r"return \{\"validation\": \{…\}\}: tuning chooses by validation values"),
        (functions.number, r"return \{\"validation\": \{…\}\}: tuning chooses by validation values"),
        (several, "returned accuracy, loss of the validation split; say by --metric"),
        (functions.never_attached, 'never read trial.settings\\["lr"\\]'),
    ],
)
def test_a_function_that_cannot_be_tuned_is_refused(tmp_path, function, said):
    with pytest.raises(StudyError, match=said):
        lerac.study.tune(function, "conventional", seeds="7-7", out=tmp_path / "f", **OF_FUNCTIONS)


def test_a_function_with_an_axis_below_a_step_is_told_what_to_say(tmp_path):
    options = {**OF_FUNCTIONS, "epoch_steps": None}
    with pytest.raises(StudyError, match=r"shorter than a step.*--epoch-steps N of lerac tune"):
        lerac.study.tune(by_validation, "lerac", seeds="7-7", k="0.01..0.02", out=tmp_path / "f", **options)


def test_a_command_is_tuned_and_what_it_says_of_test_data_is_dropped(tmp_path, capsys):
    script = Path(functions.__file__).with_name("by_validation.py")
    words = ["--command", f"{sys.executable} {script} {{lr}} {{seed}}", "--results", "{folder}/result.json"]
    tune = ["tune", *words, "--regimes", "conventional", "--configs", "3", "--lr", "0.1,0.25,0.9"]
    code, out, err = answered(capsys, *tune, "--seeds", "5-5", "--out", tmp_path / "t", "--json")
    assert code == 0, err
    assert json.loads(out)["regimes"][0]["chosen"] == "conventional(lr=0.25)"
    assert not any(b"0.987654321" in path.read_bytes() for path in (tmp_path / "t").rglob("*") if path.is_file())
    page = html.unescape((tmp_path / "t" / "report.html").read_text())
    again = [shlex.split(line.partition(" && ")[2]) for line in re.findall(r"<pre>(.*?)</pre>", page)]
    assert [line[1] for line in again] == ["tune", "compare"]
    assert all(answered(capsys, *line[1:], "--plan")[0] == 0 for line in again)
    compare = ["compare", *words, "--tuned", tmp_path / "t", "--out", tmp_path / "c", "--json"]
    code, out, err = answered(capsys, *compare, "--seeds", "1")
    assert code == 0, err
    assert json.loads(out)["recipes"][0]["regimes"][0]["mean"] == 0.987654321
    changed = [word.replace("{lr} {seed}", "{lr} {seed} more") for word in words]
    code, _, err = answered(capsys, "compare", *changed, "--tuned", tmp_path / "t", "--out", tmp_path / "d")
    assert (code, "has changed" in err) == (2, True)
