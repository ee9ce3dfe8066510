"""A process for each run: what it is born with, what it leaves, and what ends it."""

import csv
import io
import json
import os
import signal
from pathlib import Path

import functions
import pytest
from processes import children
from rich.console import Console

from lerac import cli
from lerac.study.engines.local import train_all
from lerac.study.engines.progress import TerminalProgress
from lerac.study.own.functions import find_function
from lerac.study.own.request import Judged, request_functions
from lerac.study.runs.folder import write_study, write_tables
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder

FILE = Path(functions.__file__)


def asked(function, *, regimes="conventional,lerac(k=1)", seeds=(0, 1), file=FILE, **options):
    word = f"{file}:{function}"
    values, judged = options.pop("values", {}), Judged(metric="accuracy" if function == "train" else None)
    return request_functions(
        {word: find_function(word)}, regimes=regimes, seeds=seeds, values=values, judged=judged, **options
    )


def train(folder, study, workers=1, on_tick=lambda: None):
    """Train what is left; give what was said and the failures."""
    write_study(folder, study)
    left = [run for run in study.runs() if RunFolder(folder, run).status() is None]
    said = io.StringIO()
    with TerminalProgress(Console(file=said, width=200), folder, study.runs()) as progress:
        tick = progress.tick
        progress.tick = lambda: (tick(), on_tick())
        failures = train_all(folder, left, workers=workers, progress=progress)
    write_tables(folder, collect(folder, study.runs()))
    return said.getvalue(), failures


def rows(folder):
    return list(csv.DictReader((folder / "results.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Runs of a function that measures what it draws; they are seeds of one regime."""
    folder = tmp_path_factory.mktemp("drawn")
    study = asked("draws", regimes="conventional", seeds=(5, 6), values={"directory": str(Path.cwd())}, threads=2)
    study = study.model_copy(update={"recipes": [study.recipes[0].model_copy(update={"measure": "torch"})]})
    said, failures = train(folder, study)
    assert failures == []
    return folder, study, said


def test_generators_are_seeded_from_the_seed(drawn):
    folder, study, _ = drawn
    import random

    import numpy as np
    import torch

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
    assert one["pid"] != other["pid"]
    assert (one["threads"], one["here"], one["hash"]) == (2, 1, other["hash"])


def test_what_it_prints_is_kept_and_not_mixed_into_the_progress(drawn):
    folder, study, said = drawn
    assert "from" not in said.replace("functions:draws", "")
    for run in study.runs():
        assert (folder / run.folder / "output.txt").read_text() == "from the function\nfrom a child\n"


def test_nothing_leaks_from_run_to_run(tmp_path):
    train(tmp_path, asked("leaks", regimes="conventional", seeds=(0, 1, 2)))
    assert {row["value"] for row in rows(tmp_path)} == {"1.0"}
    assert "LEAK" not in os.environ


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
def test_a_run_that_is_killed_continues_from_its_save_or_anew_and_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("SLOW", "0.3")
    for function in ("saving", "starting_anew"):
        study, killed = asked(function, regimes="lerac(k=1)", seeds=(0,)), []
        [run] = study.runs()
        folder = tmp_path / function

        def kill(folder=folder, run=run, killed=killed):
            if len(killed) < 2 and len(RunFolder(folder, run).history()) > len(killed):
                for worker in children(os.getpid()):
                    for server in children(worker):
                        for pid in children(server):
                            os.kill(pid, signal.SIGKILL)
                            killed.append(pid)

        for _ in range(2):
            _, [failure] = train(folder, study, on_tick=kill)
            assert failure.reason == "the training's process died (killed by SIGKILL)"
            assert "memory was probably short; what it printed is in output.txt" in RunFolder(folder, run).error()
        _, failures = train(folder, study, on_tick=kill)
        assert failures == []
        assert len(killed) == 2
        status = RunFolder(folder, run).status()
        assert status["resumed"] == {"saving": "save", "starting_anew": "anew"}[function]
        monkeypatch.setenv("SLOW", "0")
        whole = tmp_path / f"{function}-whole"
        train(whole, study)
        assert "resumed" not in RunFolder(whole, run).status()
        assert (whole / "results.csv").read_bytes() == (folder / "results.csv").read_bytes()
        assert [entry["epoch"] for entry in RunFolder(folder, run).history()] == [0, 1, 2]
        [one, other] = [collect(where, [run])[0] for where in (whole, folder)]
        assert one.pairing == other.pairing
        assert None not in one.pairing.values()
        monkeypatch.setenv("SLOW", "0.3")


def test_processes_that_die_are_failed_runs(tmp_path):
    _, failures = train(tmp_path, asked("dies", regimes="conventional", seeds=(0, 1, 2)))
    assert [str(one.run) for one in failures] == ["functions:dies conventional seed 1"]
    assert len(rows(tmp_path)) == 2
    _, failures = train(tmp_path / "exits", asked("exits", regimes="conventional", seeds=(0,)))
    assert failures[0].reason == "SystemExit: 3"


def compare(capsys, *words):
    code = cli.run(["compare", *map(str, words), "--workers", "1"])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said


def test_what_ends_the_study_is_one_line_and_code_2(tmp_path, capsys):
    code, said = compare(
        capsys, f"{FILE}:never_attached", "--regimes", "lerac,conventional", "--seeds", "2", "--out", tmp_path / "study"
    )
    assert code == 2
    [line] = said.err.splitlines()
    assert line.startswith(
        "lerac: functions:never_attached (lerac(curve=exponential,k=5,ratio=1e-6), seed 0) has never"
    )
    assert "called attach" in line
    assert not list((tmp_path / "study").glob("runs/*/*/status.json"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import not_there\n", "cannot be loaded: No module named 'not_there' (ModuleNotFoundError, line 1)"),
        ("def train(trial)\n", "(SyntaxError, line 1)"),
        ("x = 1\n\nx.y\n", "'int' object has no attribute 'y' (AttributeError, line 3)"),
        ("import sys\nsys.exit('no')\n", "cannot be loaded: no (SystemExit, line 2)"),
        ("def other(trial): return 1\n", "has no function train; there is other in it"),
        (
            "import lerac.study\ndef train(trial): return 1\nlerac.study.compare(train, 'conventional', 1)\n",
            'starts a study when it is loaded, as every run has to; put that under if __name__ == "__main__":',
        ),
    ],
)
def test_a_file_that_cannot_be_loaded_ends_the_study(tmp_path, capsys, text, words):
    file = tmp_path / "mine.py"
    file.write_text(text)
    code, said = compare(capsys, f"{file}:train", "--regimes", "conventional", "--out", tmp_path / "study")
    assert code == 2
    [line] = said.err.splitlines()
    assert line.startswith(f"lerac: {file} ")
    assert words in line


def test_what_the_command_line_refuses(tmp_path, capsys):
    file = f"{FILE}:plain"
    for words, refusal in (
        ([f"{tmp_path}/none.py:train"], "there is no file"),
        ([f"{FILE}:"], "the name of a function was expected after the colon, got ''"),
        ([f"{FILE}:a.b"], "the name of a function was expected after the colon, got 'a.b'"),
        ([file, "digits"], "digits is no FILE.py:FUNCTION; recipes are compared by a command of their own"),
        ([file, "--source", "ours"], "--source is of recipes"),
        ([file, "--precision", "bf16"], "--precision is of recipes"),
        ([file, "--set", "lr"], "--set takes key=value like lr=0.1, got 'lr'"),
        ([file, "--set", "lr=1", "--set", "lr=2"], "--set lr=2: lr is given twice"),
        ([file, "--set", "lr=1", "--set", "lr.a=2"], "'lr' is a value, not a section"),
        ([file, "--set", "day=2026-01-01"], "settings: 'day' is no plain JSON"),
        ([file, "--code", "yes"], "--code takes accept, got 'yes'"),
        ([file, "--paired", "no"], "--paired takes require, got 'no'"),
        ([file, "--goal", "up"], "--goal must be max or min, got 'up'"),
        ([file, file.replace("plain", "train"), "--name", "a"], "--name a: 2 functions cannot have one name"),
        ([file, "--regimes", "warm"], "unknown regime 'warm'"),
        (["digits", "--metric", "accuracy"], "--metric is of functions (FILE.py:FUNCTION)"),
        (["digits", "--threads", "2"], "--threads is of functions"),
    ):
        code, said = compare(capsys, *words, "--out", tmp_path / "study")
        assert (code, said.out) == (2, "")
        [line] = said.err.splitlines()
        assert refusal in line
    assert not (tmp_path / "study").exists()


def test_the_plan_names_runs_and_imports_nothing(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("raise RuntimeError('loaded')\n")
    out = tmp_path / "study"
    code, said = compare(capsys, f"{file}:train", "--seeds", "1", "--plan", "--out", out, "--set", "lr=0.1")
    assert (code, out.exists()) == (0, False)
    assert said.out.splitlines() == [
        "mine:train conventional seed 0: to train",
        "mine:train warmup(curve=linear,k=5) seed 0: to train",
        "mine:train lerac(curve=exponential,k=5,ratio=1e-6) seed 0: to train",
        "3 runs, 3 to train",
    ]
    code, said = compare(capsys, f"{file}:train", "--seeds", "1", "--plan", "--json", "--out", out, "--name", "ours")
    assert {run["recipe"] for run in json.loads(said.out)} == {"ours"}
