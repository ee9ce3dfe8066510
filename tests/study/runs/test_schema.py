"""What cannot be in a file of a study is refused in one line that names file and key, and is never taken for done."""

import copy
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import make_study, train_here

import lerac.study.runs.run as runs
from lerac.cli import run as command_line
from lerac.study.engines.worker import attempt
from lerac.study.errors import StudyError
from lerac.study.files import folder_in
from lerac.study.plan.study import Study
from lerac.study.runs.folder import read_study
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder
from lerac.study.runs.schema import checked_config, checked_history, checked_status
from lerac.study.statistics.networks import disagreement, read_predictions

STUDY = make_study("lerac", seeds=(0, 1))
RUN, OTHER = STUDY.runs()
STRANGE = [None, True, [], {}, [{}], "", "done", "0.5", -1, -0.5, 1e999, math.nan, 10**40, {"": ""}, {"accuracy": {}}]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return train_here(tmp_path_factory.mktemp("finished"), STUDY)


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "study")


def keys(value, at=()):
    """Every place in a JSON value, but the whole."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in pairs:
        yield (*at, key)
        yield from keys(inside, (*at, key))


def changed(value, place, new):
    value = copy.deepcopy(value)
    inside = value
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = new
    return value


def said(action, *arguments) -> str:
    """The one line of a refusal; empty if there is none."""
    try:
        action(*arguments)
    except StudyError as error:
        says = str(error)
    else:
        return ""
    assert "\n" not in says
    return says


def fits(place, new) -> bool:
    """Whether a strange value may stand there all the same."""
    number = type(new) in (int, float) and math.isfinite(new)
    key = place[0]
    if key == "state":
        return new == "done"
    if key in ("validation", "test"):
        if len(place) == 1:
            return new in (None, {})
        return number and (place[1] == "loss" or 0 <= new <= 1)
    if key == "environment":
        return isinstance(new, str) if len(place) == 2 else isinstance(new, dict) and new in ({}, {"": ""})
    if key == "device":
        return new is None or isinstance(new, str)
    return new is None  # counts and seconds, of which none fits here


@pytest.mark.parametrize("file", ["status.json", "config.json"])
def test_every_value_of_status_and_config_that_cannot_be_is_named(finished, file):
    path = finished / RUN.folder / file
    whole = json.loads(path.read_text())
    check = checked_status if file == "status.json" else checked_config
    assert check(path, whole, RUN) == whole
    tried = 0
    for place in keys(whole):
        if file == "config.json" and place[0] not in ("seed", "environment"):
            continue  # of each kind of run its own
        for new in STRANGE:
            says = said(check, path, changed(whole, place, new), RUN)
            assert (says == "") == fits(place, new), (place, new)
            if says:
                assert says.startswith(f"{path} is damaged: {place[0]}"), (place, new)
            tried += 1
    assert tried > 80


@pytest.mark.parametrize("file", ["status.json", "config.json"])
@pytest.mark.parametrize("whole", [[], [1], "done", 7, True, 0.5, {}, {"environment": {}}, {"state": "done"}])
def test_what_is_no_status_or_config_at_all_is_refused(finished, file, whole):
    check = checked_status if file == "status.json" else checked_config
    says = said(check, Path(file), whole, RUN)
    assert says.startswith(f"{file} is damaged: ") or (file, whole) == ("config.json", {"environment": {}})


def test_what_others_add_is_kept_and_what_need_not_be_there_is_not_asked_for():
    environment = {"torch": "2"}
    for status in (
        {"state": "diverged", "environment": {}},
        {
            "state": "done",
            "environment": environment,
            "test": {"accuracy": 1, "mine": 3.5},
            "of mine": [1, {"a": None}],
        },
        {"state": "done", "environment": environment, "validation": {"accuracy": 0.0}, "seconds": 7},
    ):
        assert checked_status(Path("status.json"), status, RUN) is status
    config = {"environment": environment, "trained_on": {"sha256": "ab"}, "mine": None}
    assert checked_config(Path("config.json"), config, RUN) is config


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"state": "done", "test": {"loss": 1.0}}, "a run that is done has test.accuracy or validation.accuracy"),
        ({"state": "done", "test": {"accuracy": 1.5}}, "test.accuracy must be in [0, 1], got 1.5"),
        ({"state": "done", "test": {"accuracy": 1.0}, "epochs": 9}, "epochs must be at most 2, got 9"),
        ({"state": "ended", "test": {"accuracy": 1.0}}, "state input should be 'done' or 'diverged', got 'ended'"),
        ({"state": "done", "test": {"accuracy": "1"}}, "test.accuracy input should be a valid number, got '1'"),
        ({"state": "done", "test": "a" * 10**6}, "test input should be a valid dictionary, got 'aaaa"),
    ],
)
def test_states_and_values_that_cannot_be_are_not_taken_for_done(folder, capsys, status, says):
    path = folder / RUN.folder / "status.json"
    path.write_text(json.dumps({**status, "environment": {}}))
    refused = said(collect, folder, [RUN])
    assert says in refused
    assert len(refused) < len(str(path)) + 250
    assert says in attempt(folder, RUN).failure
    assert command_line(["report", str(folder)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert str(path) in err


@pytest.mark.parametrize("file", ["status.json", "config.json", "metrics.jsonl"])
@pytest.mark.parametrize(
    "content", [b"", b"null", b"{", b"NaN", b"[" * 10**5, b'{"a":' * 10**5, b"1" * 5000, b"\xff", b"\x00", b'{"state"}']
)
def test_what_is_no_json_is_refused(folder, file, content):
    path = folder / RUN.folder / file
    path.write_bytes(content)
    says = said(collect, folder, [RUN])
    assert says.startswith(f"{path} is damaged") or (file, content) == ("metrics.jsonl", b"")


def test_every_value_of_a_history_that_cannot_be_is_named(finished):
    path = finished / RUN.folder / "metrics.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert checked_history(path, entries, RUN) == entries
    for place in keys(entries):
        for new in STRANGE:
            says = said(checked_history, path, changed(entries, place, new), RUN)
            number = type(new) in (int, float) and math.isfinite(new)
            free = number and len(place) == 2 and place[1] not in ("epoch", "steps", "seconds")
            optional = new is None and place[-1] in ("steps", "seconds")
            assert (says == "") == (free or optional), (place, new)
            assert says == "" or says.startswith(f"{path} is damaged: line {place[0] + 1}: ")
    for strange in ([*entries, entries[1]], entries[1:], entries[::-1], [entries[0], {"epoch": 1}]):
        assert said(checked_history, path, strange, RUN).startswith(f"{path} is damaged: ")
    assert "3 epochs of 2" in said(checked_history, path, [*entries, {**entries[1], "epoch": 2}], RUN)


def test_a_kind_of_run_that_records_what_it_likes_may(tmp_path):
    class Plain:
        epochs, seed = None, 0

    for entries in ([{"epoch": 5}, {"epoch": 9, "loss": -3}], [{"epoch": 1, "mine": 1e300}], []):
        assert checked_history(tmp_path, entries, Plain()) == entries
    assert "line 2: epoch 5 does not follow" in said(checked_history, tmp_path, [{"epoch": 5}] * 2, Plain())


def whole_study() -> dict:
    return json.loads(STUDY.model_dump_json())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"recipes": []}, "recipes is empty, at least one was expected"),
        ({"regimes": []}, "regimes is empty, at least one was expected"),
        ({"seeds": []}, "seeds is empty, at least one was expected"),
        ({"seeds": [0, 0]}, "seeds names one twice, got [0, 0]"),
        ({"regimes": ["lerac", "lerac"]}, "regimes names one twice"),
        ({"regimes": ["lerac( k=3.0 )"]}, "regimes: write lerac(k=3) for 'lerac( k=3.0 )'"),
        ({"regimes": ["lerak"]}, "unknown regime 'lerak'"),
        ({"regimes": ["lerac(k=30)"]}, "outlasts training"),
        ({"seeds": [-1]}, "seeds.0 input should be greater than or equal to 0, got -1"),
        ({"seeds": [10**30]}, "seeds.0 "),
        ({"threads": 0}, "threads input should be greater than or equal to 1, got 0"),
        ({"processes": 0}, "processes "),
        ({"precision": "half"}, "precision must be one of float32, bf16, fp16, got 'half'"),
        ({"recipes": [{"kind": ["plain"]}]}, "recipes.0 ['plain'] is no kind of experiment"),
        ({"recipes": [{"kind": "\x1b[2J"}]}, "no sign may be one that cannot be printed"),
        ({"mine": 1}, "mine extra inputs are not permitted"),
        ({"version": 2}, "version "),
    ],
)
def test_a_study_that_no_command_writes_is_refused_by_key(tmp_path, capsys, change, says):
    (tmp_path / "study.json").write_text(json.dumps(whole_study() | change))
    refused = said(read_study, tmp_path)
    assert refused.startswith(f"{tmp_path}: study.json cannot be read: ")
    assert says in refused
    assert command_line(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_value_anywhere_in_study_json_is_taken_or_refused_in_one_line(data):
    whole = whole_study()
    place = data.draw(st.sampled_from(sorted(keys(whole), key=str)))
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
        max_leaves=5,
    )
    text = json.dumps(changed(whole, place, data.draw(json_values | st.sampled_from(STRANGE))))
    says = said(lambda: Study.from_json(text))
    assert says == "" or says.startswith("study.json cannot be read: ")
    if not says:
        assert Study.from_json(text).runs()


def test_a_checkpoint_of_another_run_is_refused(folder, tmp_path):
    for run in (RUN, OTHER):
        (folder / run.folder / "status.json").unlink()
    path = folder / RUN.folder / "checkpoint.pt"
    shutil.copy(folder / OTHER.folder / "checkpoint.pt", path)
    failure = attempt(folder, RUN).failure
    assert f"{path} is of the run '{OTHER.folder}'; delete it to train this run from the start" in failure
    assert attempt(folder, OTHER).failure is None


@pytest.mark.parametrize("strange", [[], 3, None, "x", torch.zeros(3), {"network": {}}, {}], ids=str)
def test_a_checkpoint_of_another_content_is_refused(folder, strange):
    (folder / RUN.folder / "status.json").unlink()
    path = folder / RUN.folder / "checkpoint.pt"
    torch.save(strange, path)
    failure = attempt(folder, RUN).failure
    assert str(path) in failure
    assert failure.endswith("delete it to train this run from the start")


def test_every_entry_of_a_checkpoint_that_cannot_be_is_refused(folder):
    """Training may go on from what is left only if it is the same training."""
    (folder / RUN.folder / "status.json").unlink()
    files = RunFolder(folder, RUN)
    path, whole = files.path / "checkpoint.pt", files.checkpoint()
    training = runs.Training(RUN)
    runs._continue(training, copy.deepcopy(whole), path)
    for key in whole:
        for new in ("gone", None, [], 7, "x", {}, {"last_epoch": -1}, {"a": torch.zeros(2)}, [{"epoch": 0}]):
            state = copy.deepcopy(whole)
            state[key] = new
            if new == "gone":
                del state[key]
            if (new is None and whole[key] is None) or (key, new) in (("seconds", 7), ("diverged_at", 7)):
                continue
            if key in ("scaler", "plateau", "smoothing", "best_smoothing"):
                continue  # not of this run, and not looked at
            says = said(runs._continue, training, state, path)
            assert str(path) in says, (key, new)
            assert says.endswith("delete it to train this run from the start")


def test_predictions_that_are_none_are_refused(finished, tmp_path):
    path = tmp_path / "predictions.npz"
    whole = dict(np.load(finished / RUN.folder / "predictions.npz"))
    strange = [np.zeros(()), np.zeros(3), np.zeros((60, 2), int), np.array(["a"] * 60), np.zeros(60, complex)]
    for key in whole:
        for array in strange:
            np.savez_compressed(path, **{**whole, key: array})
            one, other = (read_predictions(p) for p in (path, finished / RUN.folder / "predictions.npz"))
            assert said(disagreement, 0, one, other)
    for content in (b"", b"PK", b"\x93NUMPY", json.dumps([1]).encode()):
        path.write_bytes(content)
        assert said(read_predictions, path).startswith(f"{path} is damaged")


@pytest.mark.parametrize("relative", ["../x", "runs/../../x", "/etc", "runs/.."])
def test_no_name_of_a_folder_leads_out_of_a_study(tmp_path, relative):
    assert "would be outside of it" in said(folder_in, tmp_path, relative)
