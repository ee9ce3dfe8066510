"""One study in several folders, as several machines make them."""

import json

import pytest
from studies import make_study, train_here

from lerac.study.errors import StudyError
from lerac.study.runs.folder import write_tables
from lerac.study.runs.merging import merge
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder

REGIMES = ("conventional", "lerac")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train_here(tmp_path_factory.mktemp("whole"), make_study(*REGIMES, seeds=range(4), epochs=1))


def merged(tmp_path, *folders):
    _, results = merge(folders)
    (tmp_path / "merged").mkdir(exist_ok=True)
    write_tables(tmp_path / "merged", results)
    return (tmp_path / "merged" / "results.csv").read_bytes()


def test_seeds_on_several_machines_in_any_order_and_overlapping(tmp_path, whole):
    first = train_here(tmp_path / "first", make_study(*REGIMES, seeds=(0, 1), epochs=1))
    second = train_here(tmp_path / "second", make_study(*REGIMES, seeds=(1, 2, 3), epochs=1))
    bytes_of_one_study = (whole / "results.csv").read_bytes()
    assert merged(tmp_path, first, second) == bytes_of_one_study
    assert merged(tmp_path, second, first) == bytes_of_one_study
    assert merged(tmp_path, whole, second) == bytes_of_one_study


def test_regimes_on_several_machines_one_of_them_not_ready(tmp_path, whole):
    one = train_here(tmp_path / "one", make_study("lerac", seeds=range(4), epochs=1))
    other = make_study("conventional", seeds=range(4), epochs=1)
    other_folder = train_here(tmp_path / "other", other, other.runs()[:2])
    halfway = merged(tmp_path, one, other_folder)
    assert halfway.count(b"\n") == 1 + (4 + 2) * 4
    train_here(other_folder, other)
    assert merged(tmp_path, one, other_folder) == (whole / "results.csv").read_bytes()


def test_one_training_by_two_names_keeps_both(tmp_path):
    study = make_study("lerac", "lerac(k=1)", epochs=1)
    folder = train_here(tmp_path / "one", study, study.runs()[:1])
    assert merged(tmp_path, folder) == (folder / "results.csv").read_bytes()
    assert b"lerac(k=1),0,test,accuracy" in merged(tmp_path, folder)


@pytest.mark.parametrize(("count", "value"), [("steps", 4), ("epochs", 1)])
def test_runs_that_diverged_at_different_steps_contradict_each_other(tmp_path, count, value):
    study = make_study(epochs=1, overrides=("optimizer.lr=1e30",))
    one, other = (train_here(tmp_path / name, study) for name in ("one", "other"))
    assert len(merge([one, other])[1]) == 1
    [run] = study.runs()
    status = RunFolder(other, run).status()
    (other / run.folder / "status.json").write_text(json.dumps({**status, count: value}))
    assert collect(other, [run])[0].diverged
    with pytest.raises(StudyError, match=f"other: .* seed 0 has another {count} than in the folders before it"):
        merge([one, other])
