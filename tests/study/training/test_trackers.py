"""Trackers watch a run: they have its numbers, and change none."""

import math

import pytest
from studies import equal, make_run, make_study, train_here, untimed, weights

from lerac.cli import run as cli
from lerac.regimes.effects import sigma_of
from lerac.study.errors import StudyError
from lerac.study.runs.run import RunFolder, train_run
from lerac.study.training.trackers import set_trackers
from lerac.study.training.training import Training

pytest.importorskip("tensorboard")
SMALL = ("data.train=90", "data.validation=40", "data.test=60", "training.epochs=2", "lerac.k=1")


def logged(folder):
    """What TensorBoard's own reader finds: tag → [(step, value), …], the later of equal steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, dict[int, float]] = {}
    for path in sorted({file.parent for file in folder.rglob("events.out.tfevents.*")}):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, {}).update({event.step: event.value for event in events.Scalars(tag)})
    return {tag: sorted(values.items()) for tag, values in found.items()}


@pytest.fixture
def tensorboard(monkeypatch):
    monkeypatch.setenv("LERAC_TRACKERS", "tensorboard")


def trained_with_logs(run, folder):
    training = Training(run, logs=folder)
    while not training.over:
        training.run_epoch()
    training.test()
    return training


def test_tensorboard_has_losses_scores_rates_and_sigma(tmp_path, tensorboard):
    run = make_run(
        "cbs+lerac(every=1,k=1.5,decay=0.5)", epochs=3, overrides=("training.accumulate=2", "schedule.name=cosine")
    )
    training = trained_with_logs(run, tmp_path)
    seen = logged(tmp_path / "trackers")
    history = training.history
    assert [entry["steps"] for entry in history] == [2, 4, 6]
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "sigma"):
        expected = [(entry["steps"], pytest.approx(entry[name], rel=1e-6)) for entry in history]
        assert seen[f"epoch/{name}"] == expected
    assert [value for _, value in seen["epoch/sigma"]] == [sigma_of(run.smoothing)(step) for step in (1, 3, 5)]
    assert [step for step, _ in seen["step/train_loss"]] == [0, 1, 2, 3, 4, 5]
    first = (64 * seen["step/train_loss"][0][1] + 26 * seen["step/train_loss"][1][1]) / 90
    assert first == pytest.approx(history[0]["train_loss"], rel=1e-6)
    assert [tag for tag in seen if tag.startswith("test/")] == ["test/loss", "test/accuracy"]

    curriculum, full = run.curriculum, run.settings["optimizer"]["lr"]
    layers = training._curriculum.layers
    assert {f"lr/{layer.name}" for layer in layers} | {"lr/all"} == {tag for tag in seen if tag.startswith("lr/")}
    for step in (0, 2):
        base = full * 0.5 * (1 + math.cos(math.pi * step / 6))
        assert dict(seen["lr/all"])[step] == pytest.approx(base, rel=1e-6)
        last = base * curriculum.ratio ** (1 - step / curriculum.k)
        assert dict(seen[f"lr/{layers[-1].name}"])[step] == pytest.approx(last, rel=1e-5)
        assert dict(seen[f"lr/{layers[0].name}"])[step] == pytest.approx(base, rel=1e-6)


@pytest.mark.parametrize("regime", ["conventional", "cbs+lerac(every=0.4,k=1.5)"])
def test_a_tracker_changes_no_bit(tmp_path, monkeypatch, regime):
    study = make_study(regime)
    [run] = study.runs()
    plain = train_here(tmp_path / "plain", study)
    monkeypatch.setenv("LERAC_TRACKERS", "tensorboard")
    watched = train_here(tmp_path / "watched", study)
    assert (watched / "results.csv").read_bytes() == (plain / "results.csv").read_bytes()
    one, other = RunFolder(plain, run), RunFolder(watched, run)
    assert one.path.relative_to(plain) == other.path.relative_to(watched)
    assert untimed(one.history()) == untimed(other.history())
    assert equal(one.checkpoint()["network"], other.checkpoint()["network"])
    assert not (one.path / "trackers").exists()
    assert logged(other.path / "trackers")["epoch/train_loss"]


def test_a_continued_run_logs_what_an_undisturbed_one_does(tmp_path, monkeypatch, tensorboard):
    run = make_run("lerac", epochs=3)
    train_run(tmp_path / "whole", run)
    run_epoch = Training.run_epoch

    def stop(self):
        run_epoch(self)
        if len(self.history) == 2:
            raise KeyboardInterrupt  # after it was logged, before it was saved

    with monkeypatch.context() as patch:
        patch.setattr(Training, "run_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            train_run(tmp_path / "stopped", run)
    train_run(tmp_path / "stopped", run)
    whole, stopped = (logged(tmp_path / name / run.folder / "trackers") for name in ("whole", "stopped"))
    assert {tag: values for tag, values in whole.items() if tag != "epoch/seconds"} == stopped


def test_a_diverged_run_is_logged_until_then(tmp_path, tensorboard):
    training = Training(make_run(overrides=("optimizer.lr=1e30",)), logs=tmp_path)
    training.run_epoch()
    assert training.diverged_at == 1
    seen = logged(tmp_path / "trackers")
    assert math.isfinite(seen["step/train_loss"][0][1])
    assert not math.isfinite(seen["step/train_loss"][1][1])
    assert "epoch/train_loss" not in seen


def test_without_a_folder_nothing_is_logged(tensorboard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training = Training(make_run(epochs=1))
    training.run_epoch()
    assert list(tmp_path.iterdir()) == []
    assert weights(training)


def test_the_command_line_logs_under_the_folders_of_the_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("LERAC_TRACKERS", "")
    sets = [word for value in SMALL for word in ("--set", value)]
    options = ["--regime", "lerac", "--seed", "0", "--out", str(tmp_path), "--tracker", "tensorboard"]
    assert cli(["train", "digits", *options, *sets]) == 0
    [run] = (tmp_path / "runs").glob("*/0")
    assert logged(run / "trackers")["step/train_loss"]
    assert "tensorboard" not in (run / "config.json").read_text() + (tmp_path / "study.json").read_text()


@pytest.mark.parametrize(("names", "message"), [
    (["tensorbord"], "--tracker must be one of aim, clearml, comet_ml,"),
    (["all"], "got 'all'"),
    (["tensorboard", "aim"], "--tracker aim: it is not installed; pip install aim"),
    (["comet_ml"], "--tracker comet_ml: it is not installed; pip install comet-ml"),
])  # fmt: skip
def test_a_tracker_that_cannot_be_used_is_refused(monkeypatch, names, message):
    monkeypatch.setenv("LERAC_TRACKERS", "")
    with pytest.raises(StudyError) as refused:
        set_trackers(names)
    assert message in str(refused.value)


def test_one_from_the_environment_is_checked_as_well(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("LERAC_TRACKERS", "aim")
    assert cli(["compare", "digits", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "lerac: --tracker aim: it is not installed; pip install aim\n"
    assert list(tmp_path.iterdir()) == []
