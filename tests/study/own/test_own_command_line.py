"""Every sentence of docs/your-own-training.md about functions that refuses or warns, as the command line says it.

Functions are trained in this process: that processes change nothing of it is for `test_processes.py`.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import functions
import pytest
from in_this_process import in_this_process

from lerac import cli
from lerac.study.own.functions import find_function
from lerac.study.own.running import holding

FILE = Path(functions.__file__)
LERAC = "lerac(curve=exponential,k=1,ratio=1e-6)"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def compare(capsys, function, *words, regimes="conventional,lerac(k=1)", seeds=2, file=FILE):
    """Exit code, stdout and stderr, with no line broken."""
    name = function if isinstance(function, str) else function.__name__
    function = getattr(functions, name) if isinstance(function, str) else function
    options = ["--regimes", regimes, "--seeds", str(seeds), "--out", "study"]
    with in_this_process(), holding({f"{file.stem}:{name}": function}):
        code = cli.run(["compare", f"{file}:{name}", *options, *words])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, " ".join(out.split()), err


def setting(name, value):
    return ["--set", f"{name}={json.dumps(value)}"]


NEVER = (
    f"functions:never_attached ({LERAC}, seed 0) has never called attach, so that it was trained conventionally: add"
)
TWICE = "this SGD is attached already: call lerac.attach once for each optimizer, or remove() on what it gave"
OTHER = "regime 'cbs' is fixed in the training, and the running study asks for 'conventional': leave regime out"
STEPS = f"functions:fewer_steps ({LERAC}, seed 0) took 12 optimizer steps, and attach was promised 16 (epoch_steps=4"
UNREAD = (
    'the regime says lr=0.1, and the function never read trial.settings["lr"]: train with that rate, or leave lr out'
)
REQUIRE = ["--paired", "require"]


@pytest.mark.parametrize(
    ("function", "words", "says"),
    [
        ("never_attached", [], NEVER),
        ("attached_twice", [], f"functions:attached_twice (conventional, seed 0): {TWICE}"),
        ("attaches_another_regime", [], f"functions:attaches_another_regime (conventional, seed 0): {OTHER}"),
        ("outlasting", ["--regimes", "lerac(k=2)"], "outlasts training"),
        ("fewer_steps", ["--regimes", "lerac(k=1)"], STEPS),
        ("fewer_steps", [], "len(loader) before a distributed prepare is not the number of steps after it"),
        ("attaches", setting("arguments", "epoch_steps=0"), "(conventional, seed 0): epoch_steps must be at least 1"),
        (
            "attaches",
            setting("arguments", "epoch_steps='4'"),
            "(conventional, seed 0): epoch_steps must be a whole number",
        ),
        ("attaches", setting("arguments", "epoch_steps=4, epochs=-1"), "(conventional, seed 0): epochs must be"),
        ("attaches", setting("arguments", "epoch_steps=4, layers=3"), "(conventional, seed 0): layers must be"),
        ("ignores_rate", ["--regimes", "lerac(k=1,lr=0.1)"], UNREAD),
        ("several", ["--metric", "top1"], "returned no test top1, only accuracy, loss: --metric names one of those"),
        ("several", [], "returned accuracy, loss of the test split; say by --metric which of them decides"),
        ("returns", setting("value", "'good'"), "returned str 'good'; a number, a dict of numbers, or"),
        ("returns", setting("value", "None"), "returned None; a number, a dict of numbers, or"),
        ("other_weights", REQUIRE, "functions:other_weights: not paired: weights differ"),
        ("other_batch", REQUIRE, "functions:other_batch: not paired: first batch differs"),
        ("other_steps", REQUIRE, "functions:other_steps: not paired: steps differ"),
        ("other_steps", REQUIRE, "--paired require makes this an error"),
        ("unattached", [*REQUIRE, "--regimes", "conventional,conventional(lr=1)"], "no lerac.attach in sight"),
    ],
)
def test_what_no_other_run_would_do_better_is_one_line_and_exit_code_2(capsys, function, words, says):
    code, out, err = compare(capsys, function, *words)
    *ended, line = err.splitlines()
    assert (code, out) == (2, "")
    assert line.startswith("lerac: ")
    assert says in line
    assert all(one.startswith("[") for one in ended)  # runs that had ended before
    assert not Path("study/results.csv").exists()


FAILS = [
    ("fails", [], "RuntimeError: a fault of mine"),
    ("exits", [], "SystemExit: 3"),
    (
        "does",
        setting("what", "trial.callback('keras')"),
        "ValueError: framework must be one of lightning, transformers",
    ),
    ("does", setting("what", "trial.report(-1)"), "ValueError: report(epoch, …) counts from 0, got -1"),
    ("does", setting("what", "trial.report(0, loss='low')"), "TypeError: report(…, loss=…) takes a number, got 'low'"),
    (
        "does",
        setting("what", "trial.save({'a': Net()})"),
        "TypeError: state['a'] is a Net; tensors and plain types can",
    ),
]


def test_failed_runs_are_a_line_each_and_exit_code_1_and_are_tried_again(capsys, monkeypatch):
    for function, words, says in FAILS:
        monkeypatch.setattr("lerac.study.report.telling.tell", lambda *_: Silent)
        code, _, err = compare(capsys, function, *words, "--out", f"study-{FAILS.index((function, words, says))}")
        assert code == 1
        failed = [line for line in err.splitlines() if line.startswith("failed: ")]
        assert f"failed: functions:{function} {LERAC} seed 1: {says}" in err
        assert all("(see " in line and line.endswith("error.txt)") for line in failed)
        assert f"{len(failed)} of 4 runs failed; the same command tries them again" in err


class Silent:
    show = staticmethod(lambda **options: None)


def test_a_run_that_is_not_finite_has_failed_and_the_study_goes_on(capsys):
    code, out, err = compare(capsys, "returns", *setting("value", "{0: 1.0, 1: float('nan')}[trial.seed]"),
                             regimes="conventional")  # fmt: skip
    assert code == 0
    assert "functions:returns conventional seed 1: diverged (test value is nan)" in err
    assert "1 diverged" in out


class Callback:
    """Stands in for that of a framework, which need not be installed."""

    def __init__(self, regime):
        self.regime = regime


PROMISED = "took 12 optimizer steps, and the callback was promised {}). Count optimizer steps, not batches"


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ("", 0, ""),
        ("epochs=None", 0, ""),
        ("epochs=3", 0, ""),
        ("epochs=10", 2, PROMISED.format("40 (epoch_steps=4 × epochs=10")),
        ("epochs=2.5", 2, PROMISED.format("10 (epoch_steps=4 × epochs=2.5")),
        ("epochs=0", 1, "ValueError: epochs must be a finite number above 0, got 0"),
        ("epochs='3'", 1, "TypeError: epochs must be the number of epochs of the whole training, or None, got '3'"),
    ],
)
def test_a_framework_that_runs_other_epochs_than_was_promised_is_refused(capsys, monkeypatch, options, code, says):
    monkeypatch.setitem(sys.modules, "lerac.integrations.lightning", SimpleNamespace(LeRaCCallback=Callback))
    monkeypatch.setattr("lerac.study.report.telling.tell", lambda *_: Silent)
    found, _, err = compare(capsys, "by_callback", *setting("options", options), regimes="lerac(k=1)", seeds=1)
    assert (found, says in err) == (code, True)


@pytest.mark.parametrize("name", ["value", "top1"])
def test_any_of_several_may_decide_whatever_it_is_called(capsys, monkeypatch, name):
    monkeypatch.setattr("lerac.study.report.telling.tell", lambda *_: Silent)
    words = [*setting("value", "{'a': 1, 'value': 2, 'top1': 3}"), "--metric", name]
    code, _, err = compare(capsys, "returns", *words, seeds=1, regimes="conventional")
    assert code == 0
    assert f"test {2 if name == 'value' else 3}" in err


def test_equal_values_for_all_seeds_are_asked_about(capsys):
    code, out, _ = compare(capsys, "unseeded")
    assert code == 0
    assert "equal values for all seeds; is the seed used?" in out


def test_an_interrupt_is_exit_code_130_and_the_same_command_continues(capsys):
    code, out, err = compare(capsys, "interrupted", regimes="conventional")
    assert (code, out) == (130, "")
    assert err.endswith("lerac: interrupted; the same command continues where it stopped\n")
    assert len(list(Path("study").glob("runs/*/*/status.json"))) == 1


def test_changed_code_is_refused_or_accepted_with_both_hashes(capsys):
    file = Path("mine.py")
    file.write_text("# first\n")
    assert compare(capsys, functions.plain, file=file)[0] == 0
    before = find_function("mine.py:plain").code[:10]
    file.write_text("# second\n")
    now = find_function("mine.py:plain").code[:10]

    code, out, err = compare(capsys, functions.plain, file=file, seeds=3)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"mine.py has changed since runs of it ended (sha256 {before}, now {now})" in err
    assert "lerac compare with --code accept has them together" in err

    code, out, _ = compare(capsys, functions.plain, "--code", "accept", file=file, seeds=3)
    assert code == 0
    for said in (out, Path("study/report.html").read_text()):
        assert (
            f"The source has changed, which --code accept has accepted (sha256: {before} 4 runs, {now} 2 runs)" in said
        )


def test_code_may_change_until_a_run_has_ended_by_it(capsys):
    works = []

    def mine(trial):
        return functions.plain(trial) if works else 1 / 0

    file = Path("mine.py")
    file.write_text("# first\n")
    assert compare(capsys, mine, file=file, seeds=1)[0] == 1
    works.append(True)
    file.write_text("# second\n")
    code, out, _ = compare(capsys, mine, file=file, seeds=1)
    assert code == 0
    assert "has changed" not in out


def test_parts_of_a_study_are_merged(capsys):
    for part in ("0,1", "2,3"):
        assert compare(capsys, "plain", "--seeds", part, "--out", f"part-{part}")[0] == 0
    assert compare(capsys, "plain", seeds=4)[0] == 0
    assert cli.run(["report", "part-0,1", "part-2,3", "--out", "merged"]) == 0
    assert Path("merged/results.csv").read_bytes() == Path("study/results.csv").read_bytes()
    assert "not paired" not in capsys.readouterr().out


def test_parts_of_changed_code_are_not_merged(capsys):
    file = Path("mine.py")
    for part in ("0,1", "2,3"):
        file.write_text(f"# {part}\n")
        assert compare(capsys, functions.plain, "--seeds", part, "--out", f"part-{part}", file=file)[0] == 0
    assert cli.run(["report", "part-0,1", "part-2,3", "--out", "merged"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "mine.py has changed" in err
    assert "lerac compare with --code accept has them together in one folder" in err
