import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lerac.__main__
from lerac.cli import app, run
from lerac.study.runs.folder import read_study, write_tables
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import train_run
from lerac.study.statistics import POWER

SMALL = ["--set", "training.epochs=2", "--set", "data.train=90", "--set", "data.validation=40",
         "--set", "data.test=60", "--set", "warmup.k=1", "--set", "lerac.k=1"]  # fmt: skip

ENDED = r"^\[\d/4\] small-cnn/digits (.* seed \d): validation"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def refused(capsys, *arguments) -> str:
    """The one line that bad input gets."""
    assert run(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lerac: ")
    assert err.count("\n") == 1
    return err


def start(*arguments, **options):
    # A shell that starts the tests in the background has them, and their children, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [sys.executable, "-m", "lerac", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def epochs_of_lerac(folder):
    return sum(len(path.read_text().splitlines()) for path in folder.glob("cut/runs/*lerac*/*/metrics.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["compare", "nope"], "unknown recipe 'nope'"),
        (["compare", "digits", "--regimes", "lerak"], "unknown regime 'lerak'; allowed: conventional"),
        (["compare", "digits", "--regimes", "cbs(every=0.01)"], "every = 0.01 epochs is shorter than a step"),
        (["compare", "digits", "--set", "cbs.decay=2.0"], "cbs.decay: input should be less than or equal to 1"),
        (["compare", "digits", "--set", "cbs.u=2"], "unknown key 'cbs.u'; allowed in [cbs]: sigma, decay, every"),
        (["compare", "digits", "--regimes", "lerac(k=26)"], "outlasts training (25 epochs, 250 steps)"),
        (["compare", "digits", "--seeds", "x"], "--seeds takes a count"),
        (["compare", "digits", "--set", "training.epoch=1"], "unknown key 'training.epoch'; allowed in [training]"),
        (["compare", "digits", "--set", "data.train=1700"], "2897 examples asked for, but digits has 1797"),
        (["compare", "digits", "--set", "data.train=5"], "every split needs at least 10 examples"),
        (["compare", "digits", "--source", "paper"], "no settings from source 'paper', only from 'ours'"),
        (["compare", "digits", "--source", "rumour"], "rumour"),
        (["compare", "digits", "--engine", "slurm"], "--engine must be local or ray, got 'slurm'"),
        (["compare", "digits", "--precision", "fp16"], "--precision fp16 needs a GPU (--device cuda); on the CPU use"),
        (["compare", "digits", "--precision", "half"], "--precision must be one of float32, bf16, fp16, got 'half'"),
        (["compare", "digits", "--tracker", "paper"], "--tracker must be one of aim, clearml,"),
        (["compare", "digits", "--device", "toaster"], "--device toaster cannot be used here"),
        (["compare", "digits", "--workers", "0"], "--workers"),
        (["compare", "digits", "digits"], "small-cnn/digits is given twice"),
        (["compare"], "RECIPE"),
        (["compare", "digits", "--nope"], "--nope"),
        (["train", "digits", "--seed", "1", "--out", "o"], "--regime"),
        (["train", "digits", "--regime", "lerac,warmup", "--seed", "1", "--out", "o"], "lerac,warmup"),
        (["report", "nothing"], "nothing holds no study"),
        (["recipes", "show", "nope"], "unknown recipe 'nope'"),
        (["recipes", "--json", "show", "digits"], "recipes show prints TOML and takes no --json"),
        (["dance"], "dance"),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, says, capsys, tmp_path):
    assert says in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []  # nothing was written


def test_an_out_that_is_a_file(capsys, tmp_path):
    (tmp_path / "taken").write_text("mine")
    assert "taken is a file; a study needs a folder" in refused(capsys, "compare", "digits", "--out", "taken")
    says = refused(capsys, "data", "sample", "rte", "--root", "taken")
    assert "--root taken: taken is a file, not a folder" in says
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("arguments", [[], ["data"], ["figure"]])
def test_without_a_command_the_help_is_shown_as_it_is(arguments, capsys):
    assert run([*arguments, "--help"]) == 0
    shown = capsys.readouterr().out
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.split()) == ("", shown.split())
    assert err.count("\n") > 5


def test_help_explains_every_command(capsys):
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("compare", "train", "report", "recipes", "figure"))
    assert run(["compare", "--help"]) == 0
    out = capsys.readouterr().out
    for option in ("--regimes", "--seeds", "--set", "--source", "--out", "--workers", "--engine", "--device",
                   "--precision", "--tracker", "--plan", "--resume", "--json"):  # fmt: skip
        assert option in out
    assert f"[default: {POWER}]" in out


def test_recipes(capsys):
    assert run(["recipes", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    [demo] = [recipe for recipe in known if recipe["name"] == "small-cnn/digits"]
    assert (demo["model"], demo["dataset"], demo["sources"]) == ("small-cnn", "digits", ["ours"])
    assert run(["recipes"]) == 0
    assert "small-cnn/digits" in capsys.readouterr().out
    assert run(["recipes", "show", "digits"]) == 0
    shown = capsys.readouterr().out
    assert 'model = "small-cnn"' in shown
    Path("mine.toml").write_text(shown)
    assert run(["compare", "mine.toml", "--plan"]) == 0


def test_plan_trains_and_writes_nothing(capsys, tmp_path):
    regimes = "conventional,lerac(curve=linear,ratio=1e-5)"
    assert run(["compare", "digits", "--plan", "--seeds", "3,4", "--regimes", regimes]) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == [
        "small-cnn/digits conventional seed 3: to train",
        "small-cnn/digits lerac(curve=linear,ratio=1e-5) seed 3: to train",
        "small-cnn/digits conventional seed 4: to train",
        "small-cnn/digits lerac(curve=linear,ratio=1e-5) seed 4: to train",
        "4 runs, 4 to train",
    ]
    assert run(["compare", "digits", "--plan", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 5 * 5
    assert list(tmp_path.iterdir()) == []


def test_compare_from_end_to_end(capsys, tmp_path):
    """A run fails at first: code 1, and the same command trains what is missing."""
    command = ["compare", "digits", *SMALL, "--seeds", "2", "--regimes", "conventional,lerac", "--workers", "2"]
    folder = tmp_path / "runs" / "small-cnn__digits"
    assert run([*command, "--plan", "--json"]) == 0
    broken = folder / json.loads(capsys.readouterr().out)[0]["folder"] / "checkpoint.pt"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no checkpoint")
    assert run(command) == 1
    err = capsys.readouterr().err
    ended = re.findall(ENDED, err, re.MULTILINE)
    assert len(ended) == 3
    assert "failed: small-cnn/digits conventional seed 0: " in err
    assert f"(see {broken.parent.relative_to(tmp_path) / 'error.txt'})" in err
    assert "1 of 4 runs failed; the same command tries them again" in err
    assert "3 of 4 runs have ended" in (folder / "report.html").read_text()

    broken.unlink()
    assert run(command) == 0
    out, err = capsys.readouterr()
    ended += re.findall(ENDED, err, re.MULTILINE)
    assert sorted(ended) == [f"{regime} seed {seed}" for regime in ("conventional", "lerac") for seed in (0, 1)]
    values = {}
    for row in csv.DictReader((folder / "results.csv").read_text().splitlines()):
        if (row["split"], row["metric"]) == ("test", "accuracy"):
            values.setdefault(row["regime"], []).append(100 * float(row["value"]))
    assert values.keys() == {"conventional", "lerac"}
    for regime, pair in values.items():
        assert re.search(rf"^{regime} +{sum(pair) / 2:.2f} ± ", out, re.MULTILINE)
    assert "too few for a verdict" in " ".join(out.split())
    assert "report: runs/small-cnn__digits/report.html" in out
    assert max(map(len, out.splitlines())) <= 80
    assert (folder / "report.html").stat().st_size > 10_000

    before = (folder / "results.csv").read_bytes()
    assert run([*command, "--resume", "--json"]) == 0  # nothing is left to train
    out, err = capsys.readouterr()
    assert json.loads(out)["recipes"][0]["regimes"][1]["regime"] == "lerac"
    assert err == ""
    assert (folder / "results.csv").read_bytes() == before

    assert "holds another study: it has small-cnn/digits with training.epochs 2, now asked for 3" in refused(
        capsys, *command, "--set", "training.epochs=3"
    )
    (folder / "report.html").unlink()
    assert run(["report", str(folder)]) == 0
    assert (folder / "report.html").exists()
    capsys.readouterr()

    assert run(["train", "digits", *SMALL, "--regime", "warmup", "--seed", "7", "--out", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "done"
    assert b"warmup,7,test,accuracy" in (folder / "results.csv").read_bytes()
    assert run([*command, "--plan"]) == 0  # the union: three regimes, three seeds, five runs of nine trained
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"9 runs, 4 to train: about \d+ s of training, \d+ s side by side", last)


@pytest.mark.wide
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_interrupted_and_continued_is_undisturbed(tmp_path):
    command = ["compare", "digits", *SMALL[2:], "--set", "training.epochs=30", "--seeds", "2",
               "--regimes", "conventional,lerac", "--workers", "1"]  # fmt: skip
    for how in (signal.SIGKILL, signal.SIGINT):
        before = epochs_of_lerac(tmp_path)
        process = start(*command, "--out", "cut", start_new_session=True)
        deadline = time.monotonic() + 60
        while epochs_of_lerac(tmp_path) <= before and time.monotonic() < deadline:
            time.sleep(0.01)
        if how == signal.SIGINT:
            os.killpg(process.pid, how)  # as a terminal does: the workers get it, too
        else:
            process.kill()
        _, err = process.communicate(timeout=30)
        assert list(tmp_path.glob("cut/runs/*/1/status.json")) == []
        if how == signal.SIGINT:
            assert process.returncode == 130
            assert err.endswith("lerac: interrupted; the same command continues where it stopped\n")
            assert "Traceback" not in err
        time.sleep(1.5)  # orphans, if there were any, would go on
        written = {p: p.stat().st_mtime_ns for p in tmp_path.glob("cut/runs/*/*/metrics.jsonl")}
        assert written
        time.sleep(0.5)
        assert written == {p: p.stat().st_mtime_ns for p in tmp_path.glob("cut/runs/*/*/metrics.jsonl")}
    assert run([*command, "--out", "cut"]) == 0
    study = read_study(tmp_path / "cut")
    for one in study.runs():
        train_run(tmp_path / "whole", one)
    write_tables(tmp_path / "whole", collect(tmp_path / "whole", study.runs()))
    assert (tmp_path / "cut/results.csv").read_bytes() == (tmp_path / "whole/results.csv").read_bytes()


def test_without_the_extra_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(lerac.__main__, "find_spec", lambda name: None if name in ("typer", "rich") else True)
    with pytest.raises(SystemExit) as ended:
        lerac.__main__.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "lerac: the command line needs rich, typer: pip install 'lerac[study]'\n"


# What takes long to load, and no help or list needs.
LOADS_LONG = {"PIL", "accelerate", "jinja2", "lightning", "matplotlib", "numpy", "pandas", "ray", "scipy", "sklearn",
              "statsmodels", "timm", "torch", "torchvision", "transformers"}  # fmt: skip


def commands(app, *words):
    """Every command of the command line, as words, and the groups that hold them."""
    yield words
    for command in app.registered_commands:
        yield *words, command.name
    for group in app.registered_groups:
        yield from commands(group.typer_instance, *words, group.name)


@pytest.mark.parametrize(
    "calls",
    [
        [[*words, "--help"] for words in commands(app)],
        [["recipes"], ["recipes", "--json"], ["recipes", "show", "digits"]],
        [["compare"], ["dance"], ["figure", "9"], ["report", "--power", "x"]],
    ],
    ids=["help", "recipes", "usage errors"],
)
def test_what_needs_no_torch_does_not_load_it(calls):
    code = (
        "import json, sys; from lerac.cli import run; codes = [run(call) for call in json.loads(sys.argv[1])]; "
        "print(json.dumps([codes, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(calls)], capture_output=True, text=True, check=True)
    codes, loaded = json.loads(done.stdout.splitlines()[-1])
    assert set(codes) == ({2} if ["dance"] in calls else {0})
    assert LOADS_LONG.isdisjoint(loaded)
