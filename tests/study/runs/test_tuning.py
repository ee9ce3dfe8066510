"""A tuning from its plan to the comparison of what it chose: by validation values alone, judged by other seeds."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from in_this_process import in_this_process
from pages import Page
from studies import SMALL, make_study, train_here

from lerac.cli import run

SETS = [word for one in (*SMALL, "training.epochs=2") for word in ("--set", one)]
RATES = "0.01,0.1,1e12"  # with the last, training diverges
ASKED = ["--regimes", "conventional,lerac", "--configs", "3", "--lr", RATES, "--ratio", "1e-3..1e-1"]
TUNE = ["tune", "digits", *ASKED, *SETS]


def lerac_(*words):
    with in_this_process():
        return run([*map(str, words)])


def answered(capsys, *words):
    capsys.readouterr()
    code = lerac_(*words)
    said = capsys.readouterr()
    return code, said.out, said.err


def rows(folder):
    return list(csv.DictReader((folder / "results.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tunings") / "tuned"
    assert lerac_(*TUNE, "--seeds", "20,21", "--out", folder) == 0
    return folder


@pytest.fixture(scope="module")
def compared(tuned) -> Path:
    folder = tuned.with_name("compared")
    assert lerac_("compare", "digits", *SETS, "--tuned", tuned, "--seeds", "2", "--out", folder) == 0
    return folder


def chosen(folder):
    return json.loads((folder / "study.json").read_text())["tuned"]["chosen"]


def test_budgets_are_equal_and_listed_before_the_first_run(tmp_path, capsys):
    code, out, _ = answered(capsys, *TUNE, "--seeds", "20,21", "--out", tmp_path / "new", "--plan", "--json")
    plan = json.loads(out)
    assert code == 0
    assert not (tmp_path / "new").exists()
    assert {regime: len(texts) for regime, texts in plan["tried"].items()} == {"conventional": 3, "lerac": 3}
    assert (plan["runs_each"], plan["runs_total"], plan["epochs"], len(plan["runs"])) == (6, 12, 2, 12)
    assert {one["regime"] for one in plan["runs"]} == {text for texts in plan["tried"].values() for text in texts}
    _, out, _ = answered(capsys, *TUNE, "--seeds", "20,21", "--out", tmp_path / "new", "--plan")
    assert "3 configurations × 2 seeds × 2 epochs for each of 2 regimes: 6 runs each, 12 runs, 24 epochs in all" in out
    assert "lr: 0.01,0.1,1e+12" in out
    assert "12 runs, 12 to train" in out


def test_no_test_value_is_in_its_folder_and_validation_is_what_compare_measures(tuned, tmp_path):
    study = json.loads((tuned / "study.json").read_text())
    regimes = [text for text in study["regimes"] if "1000000000000" not in text][1:3]
    beside = train_here(tmp_path / "beside", make_study(*regimes, seeds=(20, 21)))
    key = ("regime", "seed", "metric")
    measured = {tuple(row[k] for k in key): row["value"] for row in rows(beside) if row["split"] == "validation"}
    ours = {tuple(row[k] for k in key): row["value"] for row in rows(tuned) if row["regime"] in regimes}
    assert ours == measured
    assert {row["split"] for row in rows(tuned)} == {"validation"}
    of_test = {row["value"] for row in rows(beside) if row["split"] == "test" and row["metric"] == "loss"}
    assert len(of_test) == 4
    for path in (path for path in tuned.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not any(value.encode() in content for value in of_test), path
    for path in tuned.rglob("status.json"):
        assert "test" not in json.loads(path.read_text())
    assert not list(tuned.rglob("predictions.npz"))
    text = Page((tuned / "report.html").read_text()).words
    assert not re.search(r"\btest (accuracy|loss)", text)


def test_the_best_mean_is_chosen_and_what_diverged_is_not(tuned, capsys):
    code, out, _ = answered(capsys, "report", tuned, "--json")
    said = json.loads(out)
    assert code == 0
    for regime in said["regimes"]:
        tried = {one["regime"]: one for one in regime["configurations"]}
        assert sum(bool(one["diverged"]) for one in tried.values()) == 1
        fit = {name: one["mean"] for name, one in tried.items() if not one["diverged"]}
        assert regime["chosen"] == max(fit, key=fit.get)
        assert regime["validation"] == max(fit.values())
        assert regime["best_of"][-1] == pytest.approx(max(fit.values()))
        assert regime["best_of"] == sorted(regime["best_of"])


def test_the_page_says_budget_choice_edges_and_what_was_tried(tuned):
    page = Page((tuned / "report.html").read_text())
    assert "3 configurations × 2 seeds × 2 epochs for each of 2 regimes" in page.words
    assert "lies on an edge: lr = " in page.words
    assert len(page.pictures) == 4  # best of n, and an axis each of lr, k and ratio
    assert page.pictures[0].startswith("Expected best validation accuracy of n")
    assert "diverged, the loss was not finite" in page.words
    assert page.data["columns"][3] == "split"
    tune, compare = [shlex.split(line)[1:] for line in re.findall(r"<pre>(.*?)</pre>", page.html.replace("&#39;", "'"))]
    assert tune[0] == "tune"
    assert lerac_(*tune, "--plan") == 0
    assert lerac_(*compare, "--seeds", "1", "--plan") == 0


def test_what_was_chosen_is_compared_by_other_seeds_and_said(tuned, compared, capsys):
    texts = [*chosen(compared).values()]
    assert json.loads((compared / "study.json").read_text())["regimes"] == texts
    page = Page((compared / "report.html").read_text())
    assert "best of 3 configurations × 2 seeds from 20 to 21 × 2 epochs on validation data" in page.words
    assert "was chosen on an edge: lr = " in page.words
    again = ["compare", "digits", *SETS, "--tuned", tuned, "--out", compared]
    code, out, _ = answered(capsys, *again, "--regimes", "lerac", "--seeds", "3", "--json")
    [recipe] = json.loads(out)["recipes"]
    assert code == 0
    assert recipe["tuned"]["chosen"] == chosen(compared)
    assert [one["n"] for one in recipe["regimes"]] == [3, 3]  # it goes on, and is extended
    command = re.findall(r"<pre>(.*?)</pre>", (compared / "report.html").read_text())[0]
    assert lerac_(*shlex.split(command.replace("&#39;", "'"))[1:], "--plan") == 0


def refusals(tuned, compared, tmp_path):
    compare = ["compare", "digits", *SETS, "--tuned", tuned]
    new = ["--out", tmp_path / "new"]
    return [
        ([*compare, "--seeds", "19-21", *new], "20, 21 were used for tuning"),
        ([*compare, "--set", "optimizer.momentum=0.5", *new], "what was tuned has changed"),
        (["compare", "lenet/digits", "--tuned", tuned, *new], "is of small-cnn/digits, now asked for lenet/digits"),
        ([*compare, "--regimes", "lerac(k=1)", *new], "names without options choose"),
        ([*compare, "--regimes", "cbs", *new], "choose among what was tuned: conventional, lerac"),
        ([*compare, "--regimes", "lerac,lerac", *new], "given twice"),
        (["compare", "digits", *SETS, "--tuned", compared, *new], "that is no tuning"),
        (["compare", "digits", *SETS, "--out", tuned], "one of lerac tune, now asked for by lerac compare"),
        ([*TUNE, "--out", compared], "one of lerac compare, now asked for by lerac tune"),
        (["compare", "digits", *SETS, "--regimes", "conventional", "--out", compared], "add --tuned"),
        (["tune", "digits", "--arm", "a=b"], "arms cannot be tuned"),
        (["tune", "digits", "--epochs", "3"], "--epochs is of functions and commands"),
        (["tune"], "Missing argument"),
    ]


@pytest.mark.parametrize("number", range(13))
def test_what_would_not_be_fair_is_refused_in_one_line(tuned, compared, tmp_path, capsys, number):
    words, said = refusals(tuned, compared, tmp_path)[number]
    code, out, err = answered(capsys, *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err
    assert not (tmp_path / "new").exists()


def test_an_unfinished_tuning_is_not_chosen_from_and_another_choice_does_not_extend(tuned, compared, tmp_path, capsys):
    part = tmp_path / "part"
    shutil.copytree(tuned, part)
    next(part.glob("runs/*conventional*/20/status.json")).unlink()
    ask = ["compare", "digits", *SETS, "--tuned", part, "--out", compared]
    code, _, err = answered(capsys, *ask, "--seeds", "2")
    assert (code, "1 of 12 runs have not ended" in err, f"--out {part} continues it" in err) == (2, True, True)
    status = next(part.glob("runs/*lerac*/20/status.json"))
    changed = json.loads(status.read_text())
    if changed["state"] == "diverged":
        status = next(path for path in part.glob("runs/*lerac*/20/status.json") if path != status)
        changed = json.loads(status.read_text())
    changed["validation"]["accuracy"] = 0.0
    status.write_text(json.dumps(changed))
    assert lerac_(*TUNE, "--seeds", "20,21", "--out", part) == 0
    code, _, err = answered(capsys, *ask, "--seeds", "2")
    assert (code, "another tuning chose" in err) == (2, True)


def test_two_halves_merged_are_the_whole(tuned, tmp_path, capsys):
    halves = [tmp_path / "20", tmp_path / "21"]
    for half in halves:  # as each machine has it
        study = json.loads((tuned / "study.json").read_text())
        for path in tuned.glob(f"runs/*/{half.name}"):
            shutil.copytree(path, half / path.relative_to(tuned))
        (half / "study.json").write_text(json.dumps(study | {"seeds": [int(half.name)]}))
    assert lerac_("report", *halves, "--out", tmp_path / "both") == 0
    assert (tmp_path / "both" / "results.csv").read_bytes() == (tuned / "results.csv").read_bytes()
    words = [word for half in halves for word in ("--tuned", half)]
    code, out, _ = answered(
        capsys, "compare", "digits", *SETS, *words, "--seeds", "1", "--plan", "--json", "--out", tmp_path / "c"
    )
    assert code == 0
    whole = json.loads(answered(capsys, "report", tuned, "--json")[1])
    assert {one["regime"] for one in json.loads(out)} == {one["chosen"] for one in whole["regimes"]}
