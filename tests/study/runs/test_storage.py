"""What a full disk, a disk fault, a crash and another process do to the files of a study."""

import errno
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from studies import make_run, make_study, train_here

from lerac.study.engines.worker import attempt
from lerac.study.errors import FolderInUseError, StorageError
from lerac.study.files import claim, write_bytes, write_text
from lerac.study.runs import run as runs
from lerac.study.runs.folder import write_study, write_tables
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder, train_run
from lerac.study.training.training import Training


def full_from(monkeypatch, number):
    """The disk has no room for this write and all that follow."""
    replace, count = Path.replace, [0]

    def counting(self, target):
        count[0] += 1
        if count[0] >= number > 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", counting)
    return count


@contextmanager
def no_file_above(size):
    """The system refuses to let any file grow further, in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def train_and_write(folder, study):
    write_study(folder, study)
    [run] = study.runs()
    if (answer := attempt(folder, run)).failure:
        assert answer.hopeless
        raise StorageError(answer.failure)
    write_tables(folder, collect(folder, [run]))


def test_a_disk_that_is_full_from_any_write_on(tmp_path, monkeypatch):
    study = make_study("lerac")
    [run] = study.runs()
    with monkeypatch.context() as patch:
        count = full_from(patch, 0)
        train_and_write(tmp_path / "whole", study)
    assert count[0] == 10  # study, configuration, two checkpoints and metrics, predictions, status, two tables
    whole = (tmp_path / "whole" / "results.csv").read_bytes()
    epochs = []
    for number in range(1, count[0] + 1):
        folder = tmp_path / str(number)
        with monkeypatch.context() as patch:
            full_from(patch, number)
            with pytest.raises(StorageError) as refused:
                train_and_write(folder, study)
        says = str(refused.value)
        assert ": No space left on device. Nothing is damaged; once it can be, the same command goes on" in says
        assert "\n" not in says
        assert list(folder.rglob("*.tmp")) == []
        assert RunFolder(folder, run).error() is None
        epochs.append(len((RunFolder(folder, run).checkpoint() or {"history": []})["history"]))
        train_and_write(folder, study)
        assert (folder / "results.csv").read_bytes() == whole
    assert epochs == [0, 0, 0, 1, 1, 2, 2, 2, 2, 2]


def test_what_the_system_refuses_in_the_middle_of_a_checkpoint(tmp_path):
    run = make_run(epochs=2)
    with no_file_above(20_000), pytest.raises(StorageError, match=r"checkpoint\.pt cannot be written: File too large"):
        train_run(tmp_path, run)
    assert {path.name for path in (tmp_path / run.folder).iterdir()} == {".lock", "config.json"}
    train_run(tmp_path, run)
    assert RunFolder(tmp_path, run).status()["state"] == "done"


def test_an_error_of_ours_is_not_taken_for_the_systems(tmp_path):
    def wrong(file):
        raise ValueError("ours")

    write_text(tmp_path / "file", "old")
    with pytest.raises(ValueError, match=r"^ours$") as raised:
        write_bytes(tmp_path / "file", wrong)
    assert not isinstance(raised.value, StorageError)
    assert (tmp_path / "file").read_text() == "old"


def test_files_and_their_folder_are_on_the_disk_before_the_call_returns(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(Path(f"/proc/self/fd/{fd}").readlink().name), fsync(fd)))
    write_text(tmp_path / "a", "x")
    assert synced == [f".a.{os.getpid()}.tmp", tmp_path.name]
    synced.clear()
    run = make_run(epochs=1)
    train_run(tmp_path, run)
    assert synced[-3:] == [
        "metrics.jsonl", f".status.json.{os.getpid()}.tmp", str(run.seed)
    ]  # fmt: skip


@pytest.mark.parametrize("damage", ["truncated", "empty", "a bit", "not ours"])
def test_a_damaged_checkpoint_is_found_and_without_it_the_run_is_the_same(tmp_path, damage):
    study = make_study("lerac")
    [run] = study.runs()
    whole = train_here(tmp_path / "whole", study)
    path = tmp_path / run.folder / "checkpoint.pt"
    training = Training(run)
    training.run_epoch()
    RunFolder(tmp_path, run).write_config()
    RunFolder(tmp_path, run).write_epoch(training)
    content = bytearray(path.read_bytes())
    weights = content.find(next(iter(training.state_dict()["network"].values())).numpy().tobytes())
    assert weights > 0
    content[weights] ^= 1
    path.write_bytes(
        {"truncated": bytes(content[:-500]), "empty": b"", "a bit": bytes(content), "not ours": b"PK\x03\x04"}[damage]
    )
    with pytest.raises(ValueError, match=r"checkpoint\.pt cannot be read; delete it to train this run from the start"):
        train_run(tmp_path, run)
    path.unlink()
    train_here(tmp_path, study)
    assert (tmp_path / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()


def test_what_killed_processes_left_is_removed_by_whoever_has_the_folder_next(tmp_path):
    (tmp_path / ".results.csv.99.tmp").write_text("half")
    (tmp_path / ".mine").write_text("kept")
    with claim(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", ".mine"}


def test_a_run_that_another_process_trains_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "A_MOMENT", 0.1)
    run = make_run(epochs=1)
    with claim(tmp_path / run.folder):
        with pytest.raises(FolderInUseError, match="another lerac is training there"):
            train_run(tmp_path, run)
        answer = attempt(tmp_path, run)
        assert "another lerac is training there" in answer.failure
        assert not answer.hopeless
        assert {path.name for path in (tmp_path / run.folder).iterdir()} == {".lock"}
    assert attempt(tmp_path, run).failure is None


def test_a_file_system_without_locks_is_said_once(tmp_path, monkeypatch):
    def unsupported(file, how):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr("fcntl.flock", unsupported)
    says = r"its file system has no locks .*see that no other lerac works there"
    with pytest.warns(UserWarning, match=says), claim(tmp_path):
        pass
    assert attempt(tmp_path, make_run(epochs=1)).failure is None  # of a warning, this test would fail


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageError, match=r"taken/.*Not a directory"), claim(tmp_path / "taken" / "study"):
        pass


class Broken(Training):
    """Measures no finite loss on one of its splits, from an epoch on."""

    split, epoch = "validation", 1

    def measure(self, split):
        measured = super().measure(split)
        if split is getattr(self._data, self.split) and len(self.history) >= self.epoch:
            object.__setattr__(measured, "loss", float("nan"))
        return measured


@pytest.mark.parametrize(("split", "epochs", "steps"), [("validation", 1, 6), ("test", 2, 6)])
def test_a_loss_that_is_not_finite_in_validation_or_in_the_test(tmp_path, monkeypatch, split, epochs, steps):
    study = make_study()
    [run] = study.runs()
    monkeypatch.setattr(runs, "Training", type("", (Broken,), {"split": split}))
    train_here(tmp_path, study)
    status = RunFolder(tmp_path, run).status()
    assert (status["state"], status["epochs"], status["steps"]) == ("diverged", epochs, steps)
    assert (
        f"small-cnn/digits,conventional,0,test,accuracy,nan,{epochs},{steps}" in (tmp_path / "results.csv").read_text()
    )


def test_a_run_killed_before_it_said_that_it_diverged_says_so_when_continued(tmp_path, monkeypatch):
    study = make_study(epochs=3, overrides=("optimizer.lr=1e30",))
    [run] = study.runs()
    whole = train_here(tmp_path / "whole", study)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_status", lambda self, status: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train_run(tmp_path, run)
    assert RunFolder(tmp_path, run).checkpoint()["diverged_at"] == 1
    with monkeypatch.context() as patch:
        patch.setattr(Training, "run_epoch", None)  # nothing is left to train
        train_here(tmp_path, study)
    assert (tmp_path / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    assert torch.load(tmp_path / run.folder / "checkpoint.pt", weights_only=True)["history"] == []
