"""Whatever the docs show is run: docstring examples, the README's Python, and every file in `examples/`."""

import doctest
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lerac

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    info.name for info in pkgutil.walk_packages(lerac.__path__, "lerac.") if not info.name.endswith("__main__")
)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
COMPARED = sorted(path for path in (ROOT / "examples/compare").glob("*.py") if "def train(trial)" in path.read_text())


@pytest.mark.parametrize("module", ["lerac", *MODULES])
def test_docstring_examples(module):
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert failed == 0


def test_docstring_examples_are_there():
    assert doctest.testmod(lerac.curves).attempted >= 6
    assert doctest.testmod(importlib.import_module("lerac.curriculum.lerac")).attempted >= 5


def test_the_readmes_python_runs(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    scope: dict[str, object] = {}
    for block in blocks:  # in order, as a reader would
        exec(compile(block, "README.md", "exec"), scope)
    curriculum = scope["curriculum"]
    assert isinstance(curriculum, lerac.LeRaC)
    assert curriculum.finished


def test_the_python_of_the_page_on_smoothing_runs(capsys):
    [block] = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/smoothing.md").read_text(), re.DOTALL | re.MULTILINE)
    scope: dict[str, object] = {}
    exec(compile(block, "docs/smoothing.md", "exec"), scope)
    assert isinstance(scope["cbs"], lerac.CBS)
    assert scope["cbs"].sigma == 0.9
    assert "0  feature maps\n  3  feature maps" in capsys.readouterr().out


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_examples_run(example, tmp_path):
    strict = ["-W", "error", "-W", "ignore:`get_trial_id` is meant"]  # Ultralytics asks Ray, wherever Ray is installed
    done = subprocess.run([sys.executable, *strict, example], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


def compare(tmp_path, *words):
    command = [sys.executable, "-m", "lerac", "compare", *map(str, words), "--out", "out", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("example", COMPARED, ids=lambda p: p.name)
def test_examples_of_own_trainings_are_compared_and_paired(example, tmp_path):
    goal = ("--metric", "loss", "--goal", "min") if example.name == "language_model.py" else ()
    found = compare(tmp_path, f"{example}:train", "--seeds", 2, "--regimes", "conventional,lerac(k=1)", *goal)
    [row] = [cell for cell in found["analysis"]["cells"] if cell["regime"] != "conventional"]
    assert row["difference"]["n"] == 2
    assert "not paired" not in json.dumps(found)


def test_the_readmes_own_training_is_compared(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    [block] = [block for block in blocks if block.startswith("# mine.py")]
    (tmp_path / "mine.py").write_text(block)
    found = compare(tmp_path, "mine.py:train", "--seeds", 2, "--scale", 100, "--unit", "%")
    assert len(found["analysis"]["cells"]) == 3
    assert "not paired" not in json.dumps(found)


def test_a_script_that_knows_nothing_of_us_is_compared_by_arms(tmp_path):
    script = ROOT / "examples/compare/timm_train.py"
    found = compare(
        tmp_path,
        *("--command", f"{sys.executable} {script} --seed {{seed}} --output {{folder}} --epochs 2 {{arm}}"),
        *("--arm", "conventional=", "--arm", "warmup=--warmup-epochs 1"),
        *("--results", "{folder}/summary.csv", "--metric", "eval_top1", "--seeds", 2),
    )
    assert {cell["regime"] for cell in found["analysis"]["cells"]} == {"conventional", "warmup"}
    assert "not paired" in json.dumps(found)
