import json
from pathlib import Path

import numpy as np
import pytest
import torch
from studies import make_run, make_study, train_here, untimed

import lerac
from lerac.study.files import write_json, write_text
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder, train_run


class Killed(BaseException):
    pass


def kill_at(monkeypatch, number, *, replaced):
    """Stop at the given write: before the new file is in its place, or right after."""
    replace, count = Path.replace, [0]

    def counting(self, target):
        count[0] += 1
        if count[0] == number and not replaced:
            raise Killed
        result = replace(self, target)
        if count[0] == number:
            raise Killed
        return result

    monkeypatch.setattr(Path, "replace", counting)
    return count


def test_files_of_a_run(finished):
    folder, study = finished
    for run in study.runs():
        files = RunFolder(folder, run)
        names = {p.name for p in files.path.iterdir()}
        assert names == {"config.json", "metrics.jsonl", "status.json", "checkpoint.pt", "predictions.npz", ".lock"}
        assert files.path == folder / "runs" / files.path.parent.name / str(run.seed)
        config, status = files.config(), files.status()
        assert config["regime"] == run.regime
        assert config["environment"]["torch"] == torch.__version__
        assert config["environment"]["lerac"] == lerac.__version__
        assert status["state"] == "done"
        assert (status["epochs"], status["steps"], status["device"]) == (2, 6, "cpu")
        assert len(files.history()) == 2
        predictions = np.load(files.path / "predictions.npz")
        assert (predictions["predicted"] == predictions["label"]).mean() == status["test"]["accuracy"]
        assert len(set(predictions["index"])) == 60


def test_runs_of_a_configuration_differ_in_the_last_folder_only():
    one, other = (run.folder for run in make_study(seeds=(0, 1)).runs())
    assert Path(one).parent == Path(other).parent
    assert (Path(one).name, Path(other).name) == ("0", "1")
    changed = make_run(overrides=("optimizer.lr=0.5",)).folder
    assert Path(changed).parent != Path(one).parent


def test_defaults_of_other_regimes_do_not_move_a_run():
    assert make_run(overrides=("lerac.ratio=0.5",)).folder == make_run().folder
    assert make_run("lerac", overrides=("lerac.ratio=0.5",)).folder != make_run("lerac").folder
    assert make_run("lerac", overrides=("cbs.sigma=0.25",)).folder == make_run("lerac").folder
    assert make_run("cbs", overrides=("cbs.sigma=0.25",)).folder != make_run("cbs").folder
    assert make_run("cbs", overrides=("lerac.ratio=0.5",)).folder == make_run("cbs").folder


def test_what_can_change_a_result_moves_a_run_and_nothing_else_does():
    different = ["conventional", "conventional(lr=0.5)", "warmup", "warmup(curve=exponential)", "warmup(ratio=0.5)",
                 "cbs", "cbs(sigma=0.25)", "cbs(decay=0.5)", "cbs(every=2)", "lerac", "lerac(k=2)", "lerac(ratio=0.5)",
                 "lerac(curve=linear)", "lerac(curve=staircase,updates=3)", "lerac(curve=staircase,updates=2)",
                 "lerac(curve=staircase,updates=2,base=2)", "lerac(depth=registered)", "lerac-reversed",
                 "lerac-shuffled", "cbs+lerac"]  # fmt: skip
    assert len({make_run(regime).folder for regime in different}) == len(different)
    recipe = make_study().recipes[0]
    in_full = f"lerac(k={recipe.lerac.k},ratio={recipe.lerac.ratio},curve={recipe.lerac.curve},depth=measured)"
    assert make_run(f"conventional(lr={recipe.optimizer.lr})").folder == make_run().folder
    assert make_run(in_full).folder == make_run("lerac").folder


@pytest.mark.parametrize(("regime", "replaced"), [("lerac", False), ("cbs", True), ("cbs+lerac", False)])
def test_killed_between_any_two_writes_and_continued(tmp_path, monkeypatch, regime, replaced):
    study = make_study(regime, epochs=2, overrides=("lerac.k=1.5", "cbs.every=0.4"))
    [run] = study.runs()
    with monkeypatch.context() as patch:
        count = kill_at(patch, 0, replaced=True)
        train_run(tmp_path / "whole", run)
    writes = count[0]
    assert writes == 7  # configuration, two checkpoints, two metrics, predictions, status
    train_here(tmp_path / "whole", study)
    whole = (tmp_path / "whole" / "results.csv").read_bytes()
    assert whole.count(b"\n") == 5
    for number in range(1, writes + 1):
        folder = tmp_path / str(number)
        with monkeypatch.context() as patch:
            kill_at(patch, number, replaced=replaced)
            with pytest.raises(Killed):
                train_run(folder, run)
        assert (RunFolder(folder, run).status() is not None) == (replaced and number == writes)
        train_here(folder, study)
        assert (folder / "results.csv").read_bytes() == whole
        one, other = (RunFolder(f, run).history() for f in (folder, tmp_path / "whole"))
        assert untimed(one) == untimed(other)


def test_left_over_temporary_files_go(tmp_path):
    run = make_run(epochs=1)
    path = tmp_path / run.folder
    path.mkdir(parents=True)
    (path / ".checkpoint.pt.123.tmp").write_bytes(b"half of one")
    (path / "error.txt").write_text("an earlier attempt")
    train_run(tmp_path, run)
    assert {p.name for p in path.iterdir()} == {
        "config.json", "metrics.jsonl", "status.json", "checkpoint.pt", "predictions.npz", ".lock"
    }  # fmt: skip


def test_an_ended_run_is_not_trained_again(tmp_path, monkeypatch):
    run = make_run(epochs=1)
    train_run(tmp_path, run)
    monkeypatch.setattr("lerac.study.runs.run.Training", None)
    train_run(tmp_path, run)


def test_a_diverged_run_is_recorded(tmp_path):
    study = make_study(epochs=2, overrides=("optimizer.lr=1e30",))
    train_here(tmp_path, study)
    [result] = collect(tmp_path, study.runs())
    assert result.diverged
    assert (result.state, result.steps, result.epochs) == ("diverged", 1, 0)
    rows = (tmp_path / "results.csv").read_text().splitlines()
    assert rows[1] == "small-cnn/digits,conventional,0,test,accuracy,nan,0,1"


def test_checkpoints_hold_plain_types_only(finished):
    folder, study = finished
    for run in study.runs():
        state = torch.load(folder / run.folder / "checkpoint.pt", weights_only=True)
        assert {
            "network",
            "optimizer",
            "scheduler",
            "curriculum",
            "smoothing",
            "best_weights",
            "history",
            "seconds",
        } <= set(state)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    write_text(path, "ä")
    assert path.read_bytes() == "ä".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]
