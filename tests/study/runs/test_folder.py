import csv

import pytest
import torch
from studies import make_study, train_here

from lerac.study.errors import StudyError
from lerac.study.lock import claim
from lerac.study.runs.folder import extend_study, read_study, write_study
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder


def test_results_hold_every_number_exactly_and_no_time(finished):
    folder, study = finished
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert list(rows[0]) == ["recipe", "regime", "seed", "split", "metric", "value", "epochs", "steps"]
    keys = [(r["recipe"], r["regime"], int(r["seed"]), r["split"], r["metric"]) for r in rows]
    assert keys == sorted(keys)
    assert len(rows) == 12 * 4
    values = dict(zip(keys, (float(r["value"]) for r in rows), strict=True))
    for result in collect(folder, study.runs()):
        key = (result.experiment, result.regime, result.seed)
        assert values[(*key, "test", "accuracy")] == result.value("test")
        assert values[(*key, "validation", "loss")] == result.value("validation", "loss")
        best = max(entry["validation_accuracy"] for entry in result.history)
        assert values[(*key, "validation", "accuracy")] == best
    timings = list(csv.DictReader((folder / "timings.csv").read_text().splitlines()))
    assert list(timings[0]) == ["recipe", "regime", "seed", "seconds", "device"]
    assert len(timings) == 12
    assert all(float(t["seconds"]) > 0 for t in timings)


def test_study_json_is_the_study(finished):
    folder, study = finished
    assert read_study(folder) == study


def test_a_study_grows_by_seeds_regimes_and_recipes(tmp_path):
    write_study(tmp_path, make_study("conventional", seeds=(0, 1)))
    more = make_study("lerac(k=1)", "conventional", seeds=(1, 5))
    union = extend_study(tmp_path, more)
    assert (union.regimes, union.seeds) == (["conventional", "lerac(k=1)"], [0, 1, 5])
    wide = make_study(overrides=('model="resnet18"',))
    union = extend_study(tmp_path, wide)
    assert [recipe.name for recipe in union.recipes] == ["small-cnn/digits", "resnet18/digits"]


def test_where_a_value_comes_from_does_not_make_another_study(tmp_path):
    write_study(tmp_path, make_study())
    same = make_study(overrides=("optimizer.weight_decay=1e-4",))
    assert extend_study(tmp_path, same).recipes == make_study().recipes


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.epochs=7", "training.epochs 2, now asked for 7"),
        ("lerac.ratio=0.5", "lerac.ratio .*, now asked for 0.5"),
    ],
)
def test_another_study_is_refused(tmp_path, override, says):
    write_study(tmp_path, make_study())
    before = (tmp_path / "study.json").read_bytes()
    with pytest.raises(StudyError, match=f"holds another study: .*{says}; choose another --out"):
        extend_study(tmp_path, make_study(overrides=(override,)))
    assert (tmp_path / "study.json").read_bytes() == before


def test_another_device_is_another_study(tmp_path):
    write_study(tmp_path, make_study())
    other = make_study().model_copy(update={"device": "cuda"})
    with pytest.raises(StudyError, match="device cpu, now asked for cuda"):
        extend_study(tmp_path, other)


def test_a_broken_study_json_is_refused_by_name(tmp_path):
    (tmp_path / "study.json").write_text('{"version": 2}')
    with pytest.raises(StudyError, match=r"study.json cannot be read: version"):
        extend_study(tmp_path, make_study())
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(StudyError, match=r"study.json cannot be read"):
        read_study(tmp_path)


def test_adding_seeds_leaves_what_is_there(tmp_path):
    small, large = make_study(seeds=(0,), epochs=1), make_study(seeds=(0, 1), epochs=1)
    train_here(tmp_path, small)
    before = (tmp_path / "results.csv").read_text()
    train_here(tmp_path, extend_study(tmp_path, large))
    assert (tmp_path / "results.csv").read_text().startswith(before)


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    with claim(tmp_path), pytest.raises(StudyError, match="another lerac is training there"), claim(tmp_path):
        pass
    with claim(tmp_path):
        pass


def test_a_run_continued_elsewhere_names_both_environments(tmp_path, monkeypatch):
    study = make_study(epochs=1)
    [run] = study.runs()
    RunFolder(tmp_path, run).write_config()
    monkeypatch.setattr("lerac.study.runs.run.environment", lambda device: {"torch": "9.9"})
    train_here(tmp_path, study)
    [result] = collect(tmp_path, [run])
    assert [e["torch"] for e in result.environments] == [torch.__version__, "9.9"]
