"""Functions trained in this process: what they are handed, what they may return, and every refusal's words."""

import csv
import json
import math

import functions
import pytest
import torch

import lerac.study
from lerac.study.errors import StudyError
from lerac.study.own.trial import Settings, Trial
from lerac.study.plan.own import OwnRun
from lerac.study.runs.folder import read_study


def compare(function, folder, *, regimes="conventional,lerac(k=1)", seeds=2, **options):
    return lerac.study.compare(function, regimes, seeds, out=folder / "study", workers=0, **options)


def refused(function, folder, **options):
    with pytest.raises(StudyError) as caught:
        compare(function, folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def results(folder):
    rows = csv.DictReader((folder / "study" / "results.csv").read_text().splitlines())
    return {(row["regime"], int(row["seed"]), row["split"], row["metric"]): row for row in rows}


HOSTILE = ["", " ", "a\nb", "\x1b[31m", "\ud800", "x" * 81]  # names that no table could show
LERAC = "lerac(curve=exponential,k=1,ratio=1e-6)"


def test_what_a_function_returns_is_in_results_table_and_text(tmp_path, capsys):
    state = torch.get_rng_state()
    study = compare(functions.train, tmp_path, metric="accuracy", scale=100, unit="%", seeds=3)
    assert torch.equal(torch.get_rng_state(), state)  # a notebook's own draws go on as if nothing had been
    rows = results(tmp_path)
    assert {(key[0], key[2], key[3]) for key in rows} == {
        (regime, split, metric)
        for regime in ("conventional", LERAC)
        for split, metric in (("test", "accuracy"), ("test", "other"), ("validation", "accuracy"))
    }
    assert {(row["epochs"], row["steps"]) for row in rows.values()} == {("3", "12")}
    values = [float(rows[LERAC, seed, "test", "accuracy"]["value"]) for seed in range(3)]
    assert [row["regime"] for row in study.table] == ["conventional", LERAC]
    assert study.table[1]["mean"] == pytest.approx(100 * sum(values) / 3)
    assert study.analysis.of("functions:train")[1].summary.values == dict(enumerate(values))
    assert str(study).startswith("functions:train")
    assert "report: " in str(study)
    assert "<table>" in study._repr_html_()
    assert LERAC in study._repr_html_()
    assert study.report.is_file()
    said = capsys.readouterr()
    assert "[6/6] functions:train" in said.err


@pytest.mark.parametrize(
    ("value", "measured"),
    [
        ("0.5", {"test": {"value": 0.5}}),
        ("torch.tensor(2)", {"test": {"value": 2.0}}),
        ("np.float32(0.5)", {"test": {"value": 0.5}}),
        ("{'mine': torch.tensor([0.25])}", {"test": {"mine": 0.25}}),
        ("{'test': {'mine': 1}, 'validation': {'other': 2}}", {"test": {"mine": 1.0}, "validation": {"other": 2.0}}),
    ],
)
def test_a_single_value_needs_no_metric(tmp_path, value, measured):
    compare(functions.returns, tmp_path, regimes="conventional", seeds=1, settings={"value": value})
    [status] = (tmp_path / "study").glob("runs/*/*/status.json")
    found = json.loads(status.read_text())
    assert {split: found[split] for split in measured} == measured
    [name] = measured["test"]
    assert read_study(tmp_path / "study").metrics[0].name == name
    again = compare(functions.returns, tmp_path, regimes="conventional", seeds=2, settings={"value": value})
    assert again.table[0]["n"] == 2


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("None", "returned None; a number, a dict of numbers, or"),
        ("'good'", "returned str 'good'; a number"),
        ("{}", "returned dict {}; a number"),
        ("[0.5]", r"returned list [0.5]; a number"),
        ("{'accuracy': 'good'}", "returned 'accuracy': str 'good' as test"),
        ("{'accuracy': torch.zeros(2)}", "returned 'accuracy': Tensor tensor([0., 0.]) as test"),
        *((f"{{{name!r}: 1}}", "a name has up to 80 signs that can be printed") for name in HOSTILE),
        ("{'accuracy': True}", "returned 'accuracy': bool True as test"),
        ("{'train': {'loss': 1}}", "returned values of 'train'"),
        ("{'test': 1, 'validation': {'loss': 1}}", "returned int 1 as test"),
        ("{'validation': {'loss': 1}}", "returned nothing of the test split; say by --metric which of them decides"),
        ("{'a': 1, 'b': 2}", "returned a, b of the test split; say by --metric which of them decides"),
    ],
)
def test_what_is_no_measurement_is_refused(tmp_path, value, words):
    text = refused(functions.returns, tmp_path, settings={"value": value})
    assert text.startswith("functions:returns (conventional, seed 0) returned")
    assert words in text


def test_a_missing_metric_lists_those_returned(tmp_path):
    text = refused(functions.several, tmp_path, metric="top1", regimes="conventional")
    assert "returned no test top1, only accuracy, loss: --metric names one of those" in text
    value = "{'test': {'loss': 1}, 'validation': {'top1': 1}}"
    text = refused(functions.returns, tmp_path / "b", metric="top1", settings={"value": value})
    assert "only loss; top1 is there of validation only" in text


@pytest.mark.parametrize(
    "value", ["float('nan')", "{'a': 1, 'b': float('inf')}", "torch.tensor(float('-inf'))", "1e101"]
)
def test_a_value_that_is_not_finite_is_a_failed_run(tmp_path, value, capsys):
    metric = "a" if "'a'" in value else None
    compare(functions.returns, tmp_path, regimes="conventional", seeds=1, metric=metric, settings={"value": value})
    assert {row["value"] for row in results(tmp_path).values()} == {"nan"}
    name = "test b is inf" if metric else "test value is "
    assert f"diverged ({name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("function", "regimes", "words"),
    [
        (functions.never_attached, "conventional,lerac(k=1)", "has never called attach, so that it was trained conven"),
        (functions.attached_twice, "lerac(k=1)", "is attached already: call lerac.attach once for each optimizer"),
        (functions.outlasting, "lerac(k=2)", "outlasts training"),
        (functions.fewer_steps, "lerac(k=1)", "len(loader) before a distributed prepare is not the number of steps"),
        (functions.ignores_rate, "conventional(lr=0.1)", 'the function never read trial.settings["lr"]'),
    ],
)
def test_what_no_other_run_would_do_better_ends_the_study(tmp_path, function, regimes, words):
    text = refused(function, tmp_path, regimes=regimes)
    assert words in text
    assert f"functions:{function.__name__} (" in text
    assert "seed 0)" in text


def test_numbers_of_steps_are_said(tmp_path):
    text = refused(functions.fewer_steps, tmp_path)
    assert "took 12 optimizer steps, and attach was promised 16 (epoch_steps=4 × epochs=4)" in text


def test_a_rate_of_the_regime_arrives_in_the_settings(tmp_path):
    compare(functions.plain, tmp_path, regimes="conventional,conventional(lr=0.125)", settings={"lr": 0.25})
    configs = [json.loads(path.read_text()) for path in (tmp_path / "study").glob("runs/*/0/config.json")]
    assert {config["regime"]: config["settings"]["lr"] for config in configs} == {
        "conventional": 0.25,
        "conventional(lr=0.125)": 0.125,
    }


@pytest.mark.parametrize(
    "look",
    [
        lambda s: s["lr"],
        lambda s: s.get("lr"),
        lambda s: s.pop("lr"),
        lambda s: dict(s),
        lambda s: dict(**s),
        lambda s: {**s},
        lambda s: s | {"a": 1},
        lambda s: list(s.items()),
        lambda s: list(s.values()),
        lambda s: s.copy(),
        lambda s: json.dumps(s),
    ],
)
def test_looking_at_a_setting_is_noticed(look):
    settings = Settings({"lr": 1.0, "depth": {"a": 1}})
    assert settings.read == set()
    assert settings == {"lr": 1.0, "depth": {"a": 1}}
    look(settings)
    assert "lr" in settings.read


def test_one_of_the_runs_fails_and_the_others_go_on(tmp_path, capsys):
    study = compare(functions.fails, tmp_path)
    assert [row["n"] for row in study.table] == [2, 1]
    said = " ".join(capsys.readouterr().err.split())
    assert f"failed: functions:fails {LERAC} seed 1: RuntimeError: a fault of mine (see " in said
    assert "1 of 4 runs failed; the same command tries them again" in said
    [error] = (tmp_path / "study").glob("runs/*/1/error.txt")
    assert error.read_text().startswith("Traceback")
    assert "functions.py" in error.read_text()


def test_what_cannot_be_asked_for_is_refused(tmp_path):
    def nested(trial):
        return 1

    for options, words in (
        ({"goal": "most"}, "--goal must be max or min, got 'most'"),
        ({"scale": 0}, "--scale must be a number above 0, got 0"),
        ({"scale": math.inf}, "--scale must be a number above 0, got inf"),
        ({"metric": ""}, "--metric is empty"),
        ({"settings": {"a": object()}}, "settings: 'a' is no plain JSON (Object of type object"),
        ({"settings": {"a": math.nan}}, "settings: 'a' is no plain JSON"),
        ({"settings": {1: 2}}, "settings: names are text, got 1"),
        ({"regimes": "warm"}, "unknown regime 'warm'"),
        ({"seeds": True}, "seeds must be a count or a list of integers, got True"),
        ({"seeds": [0, 0.5]}, "seeds must be integers, got 0.5"),
        ({"seeds": 0}, "names no seed"),
        ({"threads": 0}, "--threads must be 1 or more, got 0"),
        ({"device": "gpu"}, "--device gpu cannot be used here"),
        ({"code": "no"}, "code must be 'accept' or None, got 'no'"),
        ({"paired": "yes"}, "paired must be 'require' or None, got 'yes'"),
        ({"name": ""}, "--name ''"),
        ({"engine": "slurm"}, "--engine must be local or ray, got 'slurm'"),
    ):
        assert words in refused(functions.plain, tmp_path, **options)
    assert not (tmp_path / "study").exists()
    assert "a function train(trial) was expected, got 3" in refused(3, tmp_path)
    assert compare(nested, tmp_path, seeds=1, regimes="conventional").table[0]["recipe"] == "notebook:nested"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda trial: 1, "train is a lambda, which worker processes cannot load"),
        ((lambda: lambda trial: 1)(), "train is a lambda"),
        (functions.Net, "is no plain function"),
        (eval("lambda t: 1", {"__name__": "gone"}), "train is a lambda"),
    ],
)
def test_what_workers_cannot_load_is_offered_no_workers(tmp_path, function, words):
    def nested(trial):
        return 1

    for one, said in ((function, words), (nested, "nested is defined inside of another function")):
        with pytest.raises(StudyError) as caught:
            lerac.study.compare(one, "conventional", 1, out=tmp_path / "study", workers=1)
        assert said in str(caught.value)
        assert "or pass workers=0, which trains in this process" in str(caught.value)


def test_a_function_of_a_notebook_is_offered_no_workers(tmp_path):
    space = {"__name__": "__main__"}
    exec("def train(trial): return 1", space)
    space["train"].__module__ = "a_notebook"
    with pytest.raises(StudyError, match="train is defined in a notebook or at a prompt, and worker processes cannot"):
        lerac.study.compare(space["train"], "conventional", 1, out=tmp_path, workers=1)
    assert compare(space["train"], tmp_path, regimes="conventional").table[0]["n"] == 2


def trial_in(folder, **settings):
    run = OwnRun("function", "a:b", "conventional", 3, settings, {}, "", {"name": None}, str(folder), "a-b")
    folder.joinpath("files").mkdir(exist_ok=True)
    return Trial(run, folder)


def test_a_trial_says_who_it_is(tmp_path):
    trial = trial_in(tmp_path, lr=1)
    assert (trial.seed, trial.regime, trial.device, trial.settings) == (3, "conventional", "cpu", {"lr": 1})
    assert trial.folder.is_absolute()
    assert trial.folder.is_dir()
    with pytest.raises(ValueError, match="framework must be one of lightning, transformers, got 'keras'"):
        trial.callback("keras", epochs=3)


def test_reports_are_curves_and_the_last_word_counts(tmp_path):
    trial = trial_in(tmp_path)
    trial.report(0, loss=torch.tensor(2.0), accuracy=0.5)
    trial.report(1, loss=1)
    trial.report(3, loss=math.nan)
    trial.report(1, loss=0.5)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in line.items() if k != "seconds"} for line in lines] == [
        {"epoch": 0, "loss": 2.0, "accuracy": 0.5},
        {"epoch": 1, "loss": 0.5},
    ]
    for arguments, error, words in (
        (("1",), TypeError, "takes an integer, got '1'"),
        ((True,), TypeError, "takes an integer, got True"),
        ((-1,), ValueError, "counts from 0, got -1"),
    ):
        with pytest.raises(error, match=words):
            trial.report(*arguments, loss=1)
    with pytest.raises(TypeError, match=r"report\(…, loss=…\) takes a number, got 'low'"):
        trial.report(2, loss="low")
    with pytest.raises(ValueError, match="seconds are counted already"):
        trial.report(2, seconds=1)


def test_what_is_saved_is_loaded_with_the_generators(tmp_path):
    import random

    import numpy as np

    trial = trial_in(tmp_path)
    assert trial.load() is None
    assert not trial.loaded
    trial.report(0, loss=1)
    trial.save({"weights": torch.ones(2), "epoch": 1, "names": ("a", ["b", None]), "set": {1}})
    drawn = random.random(), np.random.rand(), torch.rand(2)
    again = trial_in(tmp_path)
    state = again.load()
    assert again.loaded
    assert (state["epoch"], state["names"], state["set"]) == (1, ("a", ["b", None]), {1})
    assert torch.equal(state["weights"], torch.ones(2))
    assert (random.random(), np.random.rand()) == drawn[:2]
    assert torch.equal(torch.rand(2), drawn[2])
    again.report(1, loss=2)
    assert [json.loads(line)["epoch"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [0, 1]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": object()}, r"state\['a'\] is a object; tensors and plain types can be saved"),
        ([1, {"b": functions.Net()}], r"state\[1\]\['b'\] is a Net; tensors"),
        ({"a": functions.np.zeros(2)}, "is a ndarray; .* torch.from_numpy makes a tensor of it"),
    ],
)
def test_what_could_not_be_loaded_again_is_not_saved(tmp_path, state, words):
    trial = trial_in(tmp_path)
    with pytest.raises(TypeError, match=words):
        trial.save(state)
    assert trial.load() is None


def test_a_damaged_state_is_refused(tmp_path):
    trial = trial_in(tmp_path)
    trial.save({"a": 1})
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(StudyError, match=r"checkpoint\.pt cannot be read; delete it to train this run from the start"):
        trial.load()


def test_a_training_that_ends_within_its_curriculum_is_a_warning(tmp_path):
    study = compare(functions.ends_early, tmp_path, regimes="conventional,lerac(k=2)")
    assert [row["n"] for row in study.table] == [2, 2]
    text = " ".join(str(study).split())
    assert "Training ended within the curriculum of lerac(curve=exponential,k=2,ratio=1e-6): a smaller k" in text
    assert "not paired" not in text
