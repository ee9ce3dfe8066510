"""A folder that is deleted, whole or in part, while it is trained: never exit code 0 with results missing."""

import csv
import shutil

import pytest
from studies import make_run, make_study

from lerac.cli import run as command_line
from lerac.study.engines import here, local, session
from lerac.study.engines.worker import GONE, attempt
from lerac.study.errors import StorageError
from lerac.study.files import make_folder, write_text
from lerac.study.runs.run import RunFolder

ASKED = ["compare", "digits", "--regimes", "conventional,lerac", "--seeds", "2", "--out", "study", "--workers", "1"]
ASKED += [word for key in ("training.epochs=1", "data.train=90", "data.validation=40", "data.test=60", "lerac.k=1")
          for word in ("--set", key)]  # fmt: skip


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def delete_at(monkeypatch, number, what):
    """Delete a part of the study after a write of a run."""
    count, written = [0], RunFolder.write_checkpoint

    def counting(self, state):
        written(self, state)
        count[0] += 1
        if count[0] == number:
            shutil.rmtree(what(self))

    monkeypatch.setattr(RunFolder, "write_checkpoint", counting)


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("what", ["the study", "all runs", "the run", "the run before"])
def test_whatever_is_deleted_whenever(elsewhere, monkeypatch, capsys, number, what):
    def part(files):
        root = elsewhere / "study"
        before = min((root / "runs").glob("*/*"), key=lambda path: path.stat().st_mtime_ns)
        return {"the study": root, "all runs": root / "runs", "the run": files.path, "the run before": before}[what]

    monkeypatch.setattr(session, "engine_of", lambda name: here.train_all)
    with monkeypatch.context() as patch:
        delete_at(patch, number, part)
        code = command_line(ASKED)
    out, err = capsys.readouterr()
    assert code in (1, 2)
    assert "Traceback" not in err
    assert "No such file" in err or GONE in err or " is gone" in err
    if what == "the study":
        assert out == ""
        assert not (elsewhere / "study").exists()  # and nothing that looks like one
    if (what, number) != ("the run before", 4):
        return
    assert command_line(ASKED) == 0
    with (elsewhere / "study" / "results.csv").open(encoding="utf-8") as file:
        assert len([row for row in csv.DictReader(file) if row["split"] == "test"]) == 8


def test_a_study_deleted_between_two_runs_of_a_worker(tmp_path):
    study = make_study(seeds=(0, 1), epochs=1)
    first, second = study.runs()

    class Deleting:
        started = tick = lambda self, *_: None

        def ended(self, run, failure):
            shutil.rmtree(tmp_path / "study")

    with pytest.raises(StorageError, match=r"study is gone, with all that was in it"):
        local.train_all(tmp_path / "study", [first, second], workers=1, progress=Deleting())
    assert not (tmp_path / "study").exists()


def test_a_run_that_is_said_to_be_done_without_a_status_has_failed(tmp_path):
    run = make_run(epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lerac.study.runs.run.train", lambda run, files: None)
        assert attempt(tmp_path, run).failure == GONE
    assert attempt(tmp_path, run).failure is None


def test_only_who_begins_makes_folders(tmp_path):
    with pytest.raises(StorageError, match="No such file or directory"):
        write_text(tmp_path / "a" / "file", "x")
    assert not (tmp_path / "a").exists()
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/a cannot be written: Not a directory"):
        make_folder(tmp_path / "file" / "a")
