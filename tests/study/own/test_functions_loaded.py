"""Files of functions: what cannot be loaded, and what the command line refuses before it loads anything."""

import json
import sys
from pathlib import Path

import functions
import pytest

from lerac import cli
from lerac.study.errors import StopStudyError, printable
from lerac.study.own.functions import check_not_loading, find_function
from lerac.study.own.running import load_function

FILE = Path(functions.__file__)
NAME = "mine_to_be_loaded"  # of a module that nobody else has


@pytest.fixture(autouse=True)
def _this_process_is_as_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop(NAME, None)


def load(text, function="train"):
    file = Path(f"{NAME}.py").absolute()
    file.write_text(text)
    found = find_function(f"{file}:{function}")
    return load_function({"file": found.file, "function": function, "module": None}, found.code, str(Path.cwd()))


def test_a_file_is_loaded_as_a_script_would_be():
    Path("beside.py").write_text("import sys\nHERE = sys.argv\n")
    train = load("from beside import HERE\nimport os\ndef train(trial): return HERE, os.getcwd(), __name__")
    assert train(None) == ([str(Path(f"{NAME}.py").absolute())], str(Path.cwd()), NAME)
    del sys.modules["beside"]


GUARD = 'starts a study when it is loaded, as every run has to; put that under if __name__ == "__main__":'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import not_there\n", "cannot be loaded: No module named 'not_there' (ModuleNotFoundError, line 1)"),
        ("def train(trial)\n", "(SyntaxError, line 1)"),
        ("x = 1\n\nx.y\n", "'int' object has no attribute 'y' (AttributeError, line 3)"),
        ("import sys\nsys.exit('no')\n", "cannot be loaded: no (SystemExit, line 2)"),
        ("def other(trial): return 1\n", "has no function train; there is other in it"),
        ("train = 3\n", "has no function train; there is none in it"),
        ("import lerac.study\ndef train(trial): return 1\nlerac.study.compare(train, 'conventional', 1)\n", GUARD),
    ],
)
def test_a_file_that_cannot_be_loaded_stops_the_study_with_one_line(text, words):
    with pytest.raises(StopStudyError) as caught:
        load(text)
    assert str(caught.value).startswith(str(Path(f"{NAME}.py").absolute()))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    check_not_loading()  # that is over


def test_a_file_that_changes_while_runs_are_trained_stops_the_study():
    file = Path("mine.py").absolute()
    file.write_text("def train(trial): return 1\n")
    found = find_function(f"{file}:train")
    file.write_text("def train(trial): return 2\n")
    with pytest.raises(StopStudyError, match=r"mine\.py has changed since the study began; let it be while runs are"):
        load_function({"file": found.file, "function": "train", "module": None}, found.code, str(Path.cwd()))


def test_a_folder_that_is_gone_stops_the_study(tmp_path):
    with pytest.raises(StopStudyError, match="where the study was started, cannot be entered: No such file"):
        load_function({"file": str(FILE), "function": "plain", "module": None}, "", str(tmp_path / "gone"))


def compare(capsys, *words):
    code = cli.run(["compare", *map(str, words)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


PLAIN = f"{FILE}:plain"


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["none.py:train"], "none.py:train: there is no file none.py"),
        ([f"{FILE.parent}.py:train"], "there is no file"),
        ([f"{FILE}:"], "the name of a function was expected after the colon, got ''"),
        ([f"{FILE}:a.b"], "the name of a function was expected after the colon, got 'a.b'"),
        ([PLAIN, "digits"], "digits is no FILE.py:FUNCTION; recipes are compared by a command of their own"),
        ([PLAIN, "--source", "ours"], "--source is of recipes"),
        ([PLAIN, "--precision", "bf16"], "--precision is of recipes"),
        ([PLAIN, "--set", "lr"], "--set takes key=value like lr=0.1, got 'lr'"),
        ([PLAIN, "--set", "lr=1", "--set", "lr=2"], "--set lr=2: lr is given twice"),
        ([PLAIN, "--set", "lr=1", "--set", "lr.a=2"], "'lr' is a value, not a section"),
        ([PLAIN, "--set", "day=2026-01-01"], "settings: 'day' is no plain JSON"),
        ([PLAIN, "--code", "yes"], "--code takes accept, got 'yes'"),
        ([PLAIN, "--paired", "no"], "--paired takes require, got 'no'"),
        ([PLAIN, "--goal", "up"], "--goal must be max or min, got 'up'"),
        ([PLAIN, "--scale", "0"], "--scale must be a number above 0, got 0.0"),
        ([PLAIN, "--metric", ""], "--metric is empty"),
        ([PLAIN, "--scale", "1e300"], "--scale must be a number above 0, got 1e+300"),
        *(
            ([PLAIN, option, text], f"{option} {printable(repr(text))}: a short text was expected")
            for option in ("--metric", "--unit", "--name")
            for text in (" ", "a\nb", "\x1b[31m", "\udcff", "x" * 81)
        ),
        ([PLAIN, "--name", ""], "--name '': a short text was expected"),
        ([PLAIN, "--set", "a=\udcff"], "no sign may be one that cannot be printed, got '\\udcff'"),
        (
            ["--command", "sh {seed} {a}", "--results", "r", "--arm", "b=", "--set", "a=\udcff"],
            "cannot be printed, got",
        ),
        ([PLAIN, "--device", "gpu"], "--device gpu cannot be used here"),
        ([PLAIN, "--engine", "slurm"], "--engine must be local or ray, got 'slurm'"),
        ([PLAIN, "--threads", "0"], "--threads"),
        ([PLAIN, f"{FILE}:train", "--name", "a"], "--name a: 2 functions cannot have one name"),
        ([PLAIN, "--regimes", "warm"], "unknown regime 'warm'"),
        ([PLAIN, "--regimes", "lerac(k=-1)"], "k"),
        ([PLAIN, "--baseline", "cbs"], "baseline cbs"),
        (["digits", "--metric", "accuracy"], "--metric is of functions (FILE.py:FUNCTION)"),
        (["digits", "--threads", "2"], "--threads is of functions"),
        (["digits", "--paired", "require"], "--paired is of functions"),
        (["digits", "--code", "accept"], "--code is of functions"),
    ],
)
def test_what_the_command_line_refuses(capsys, words, refusal):
    code, out, err = compare(capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert refusal in err
    assert not Path("runs").exists()


def test_the_plan_names_runs_and_imports_nothing(capsys):
    Path("mine.py").write_text("raise RuntimeError('loaded')\n")
    code, out, _ = compare(capsys, "mine.py:train", "--seeds", "1", "--plan", "--set", "lr=0.1")
    assert code == 0
    assert out.splitlines() == [
        "mine:train conventional seed 0: to train",
        "mine:train warmup(curve=linear,k=5) seed 0: to train",
        "mine:train lerac(curve=exponential,k=5,ratio=1e-6) seed 0: to train",
        "3 runs, 3 to train",
    ]
    code, out, _ = compare(capsys, "mine.py:train", "--seeds", "1", "--plan", "--json", "--name", "ours")
    assert {run["recipe"] for run in json.loads(out)} == {"ours"}
    assert not Path("runs").exists()
