"""Whatever the docs show is run: docstring examples, the README's Python, and every file in `examples/`."""

import doctest
import importlib
import json
import os
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


# Runs each file as a script in a process of its own, in which only what takes longest to load is there: torch with all
# that its optimizers load, and scikit-learn's data sets. What a file writes is in a file of its name.
EACH_IN_ITS_OWN_PROCESS = """
import json, os, runpy, sys
import sklearn.datasets, torch._dynamo
codes = {}
for name, path in json.load(sys.stdin).items():
    if not (child := os.fork()):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(1, 2)
        runpy.run_path(path, run_name="__main__")
        sys.exit()
    codes[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(codes))
"""


@pytest.mark.wide
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.timeout(900)
def test_examples_run(tmp_path):
    strict = ["-W", "error", "-W", "ignore:`get_trial_id` is meant"]  # Ultralytics asks Ray, wherever Ray is installed
    done = subprocess.run(
        [sys.executable, *strict, "-c", EACH_IN_ITS_OWN_PROCESS], cwd=tmp_path, capture_output=True, text=True,
        input=json.dumps({path.name: str(path) for path in EXAMPLES}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout)
    assert codes.keys() == {path.name for path in EXAMPLES}
    for name, code in codes.items():
        said = (tmp_path / name).read_text()
        assert code == 0, f"{name}: {said}"
        assert said, name
