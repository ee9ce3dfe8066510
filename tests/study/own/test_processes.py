"""A process for each run: what it is born with, what it leaves, and what ends it. All are forked from one server."""

import csv
import io
import multiprocessing.forkserver
import os
import random
from pathlib import Path

import functions
import numpy as np
import pytest
import torch
from processes import gone
from rich.console import Console

from lerac.study.engines import here
from lerac.study.engines.progress import TerminalProgress
from lerac.study.engines.worker import Answer, attempt
from lerac.study.files import claim
from lerac.study.own import forked
from lerac.study.own.functions import find_function
from lerac.study.own.request import Judged, request_functions
from lerac.study.runs.folder import write_study, write_tables
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder

FILE = Path(functions.__file__)


@pytest.fixture(autouse=True, scope="module")
def _a_server_of_our_own():
    """One that has loaded our file; and none of it is left to other tests."""
    multiprocessing.forkserver._forkserver._stop()
    yield
    multiprocessing.forkserver._forkserver._stop()


def asked(function, *, regimes="conventional", seeds=(0, 1), threads=1, **values):
    word = f"{FILE}:by_name"
    return request_functions(
        {word: find_function(word)},
        regimes=regimes,
        seeds=seeds,
        values={"call": function} | values,
        judged=Judged(),
        threads=threads,
    )


def train(folder, study):
    """Train what is left; give what was said and the failures."""
    write_study(folder, study)
    left = [run for run in study.runs() if RunFolder(folder, run).status() is None]
    said = io.StringIO()
    with TerminalProgress(Console(file=said, width=200), folder, study.runs()) as progress:
        failures = here.train_all(folder, left, workers=None, progress=progress)
    write_tables(folder, collect(folder, study.runs()))
    return said.getvalue(), failures


def values(folder):
    return [row["value"] for row in csv.DictReader((folder / "results.csv").read_text().splitlines())]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Runs of a function that measures what it draws; they are seeds of one regime."""
    folder = tmp_path_factory.mktemp("drawn")
    study = asked("draws", seeds=(5, 6), threads=2, directory=str(Path.cwd()))
    study = study.model_copy(update={"recipes": [study.recipes[0].model_copy(update={"measure": "torch"})]})
    said, failures = train(folder, study)
    assert failures == []
    return folder, study, said


def test_generators_are_seeded_from_the_seed(drawn):
    folder, study, _ = drawn
    for run in study.runs():
        test = RunFolder(folder, run).status()["test"]
        random.seed(run.seed)
        np.random.seed(run.seed)
        torch.manual_seed(run.seed)
        assert test["python"] == random.random()
        assert test["numpy"] == np.random.rand()
        assert test["torch"] == torch.rand(()).item()


def test_each_run_is_a_process_in_the_callers_folder_with_its_threads(drawn):
    folder, study, _ = drawn
    [one, other] = [RunFolder(folder, run).status()["test"] for run in study.runs()]
    assert len({one["pid"], other["pid"], os.getpid()}) == 3
    assert (one["threads"], one["here"], one["hash"]) == (2, 1, other["hash"])


def test_what_it_prints_is_kept_and_not_mixed_into_the_progress(drawn):
    folder, study, said = drawn
    assert "from" not in said
    for run in study.runs():
        assert (folder / run.folder / "output.txt").read_text() == "from the function\nfrom a child\n"


def test_nothing_leaks_from_run_to_run(tmp_path):
    _, failures = train(tmp_path, asked("leaks", seeds=(0, 1, 2)))
    assert failures == []
    assert values(tmp_path) == ["1.0"] * 3
    assert "LEAK" not in os.environ


def test_a_function_may_start_processes_of_its_own(tmp_path):
    _, failures = train(tmp_path, asked("reads_ahead", seeds=(0,)))
    assert failures == []
    assert values(tmp_path) == ["70.0"]


@pytest.mark.parametrize(("function", "how"), [("saving_and_killed", "save"), ("killed", "anew")])
def test_a_run_that_is_killed_continues_from_its_save_or_anew_and_ends_the_same(function, how, tmp_path):
    study, whole = (asked(name, regimes="lerac(k=1)", seeds=(0,)) for name in (function, "saving"))
    [run], [undisturbed] = study.runs(), whole.runs()
    for epoch in range(functions.EPOCHS - 1):
        _, [failure] = train(tmp_path, study)
        assert failure.reason == "the training's process died (killed by SIGKILL)"
        files = RunFolder(tmp_path, run)
        assert "memory was probably short; what it printed is in output.txt" in files.error()
        assert [entry["epoch"] for entry in files.history()] == [*range(epoch + 1)]
    _, failures = train(tmp_path, study)
    assert failures == []
    assert RunFolder(tmp_path, run).status()["resumed"] == how

    assert train(tmp_path / "whole", whole)[1] == []
    assert "resumed" not in RunFolder(tmp_path / "whole", undisturbed).status()
    assert (tmp_path / "whole/results.csv").read_bytes() == (tmp_path / "results.csv").read_bytes()
    assert [entry["epoch"] for entry in RunFolder(tmp_path, run).history()] == [*range(functions.EPOCHS)]
    [one], [other] = collect(tmp_path / "whole", [undisturbed]), collect(tmp_path, [run])
    assert one.pairing == other.pairing
    assert None not in one.pairing.values()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("dies", "the training's process died (killed by SIGKILL)"),
        ("leaves", "the training's process died (exit code 7)"),
        ("exits", "SystemExit: 3"),
        ("fails", "RuntimeError: a fault of mine"),
    ],
)
def test_what_ends_a_process_is_a_failed_run_and_stops_no_other(function, reason, tmp_path):
    said, [failure] = train(tmp_path, asked(function, regimes="lerac(k=1)", seeds=(0, 1, 2)))
    assert failure.reason == reason
    assert failure.run.seed == 1
    assert len(values(tmp_path)) == 2
    assert "Traceback" not in said


def test_a_run_that_an_orphan_still_has_is_left_alone(tmp_path, monkeypatch):
    [run, other] = asked("plain").runs()
    files = RunFolder(tmp_path, run).path / "files"
    with claim(files):
        answer = forked.answer_of(run, files.parent, patience=0)
    assert answer.in_use == f"{files}: another lerac is training there; wait for it, or choose another --out"
    monkeypatch.setattr(forked, "call", lambda *_: answer)
    assert attempt(tmp_path, other) == Answer(answer.in_use)
    assert RunFolder(tmp_path, other).error() is None


def test_what_goes_wrong_before_the_function_is_called_is_a_failed_run(tmp_path, monkeypatch):
    [run, _] = asked("plain").runs()
    monkeypatch.setattr(forked, "_print_to", lambda *_: Path("/not/there").read_text())
    answer = forked.answer_of(run, RunFolder(tmp_path, run).path)
    assert answer.reason == "FileNotFoundError: [Errno 2] No such file or directory: '/not/there'"
    assert answer.trace.startswith("Traceback")


@pytest.mark.parametrize("error", [EOFError("unexpected EOF"), BrokenPipeError(), ConnectionRefusedError()])
def test_a_server_that_dies_is_a_failed_run(error, tmp_path, monkeypatch):
    def start(process):
        raise error

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", start)
    _, failures = train(tmp_path, asked("plain"))
    reason = f"the process that runs are forked from died while it loaded {FILE}"
    assert [failure.reason for failure in failures] == [reason] * 2
    assert RunFolder(tmp_path, failures[0].run).error().startswith(reason)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
def test_processes_that_a_function_leaves_behind_end_with_it(tmp_path):
    study = asked("leaves_a_child", seeds=(0,))
    train(tmp_path, study)
    child = int(RunFolder(tmp_path, study.runs()[0]).status()["test"]["child"])
    assert gone(child)


@pytest.mark.parametrize(
    ("device", "methods", "method"),
    [
        ("cpu", ["fork", "spawn", "forkserver"], "forkserver"),
        ("mps", ["spawn", "forkserver"], "forkserver"),
        ("cuda", ["fork", "spawn", "forkserver"], "spawn"),
        ("cuda:1", ["spawn", "forkserver"], "spawn"),
        ("cpu", ["spawn"], "spawn"),  # Windows
    ],
)
def test_processes_are_forked_but_not_where_cuda_is_used(device, methods, method, monkeypatch):
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: methods)
    assert forked.start_method(device) == method
