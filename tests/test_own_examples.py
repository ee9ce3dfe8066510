"""Examples of people's own trainings, and the README's, are compared as their readers would."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path for path in (ROOT / "examples/compare").glob("*.py") if "def train(trial)" in path.read_text())


def compare(tmp_path, *words):
    command = [sys.executable, "-m", "lerac", "compare", *map(str, words), "--out", "out", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.wide
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_compared_and_paired(example, tmp_path):
    goal = ("--metric", "loss", "--goal", "min") if example.name == "language_model.py" else ()
    found = compare(tmp_path, f"{example}:train", "--seeds", 1, "--regimes", "conventional,lerac(k=1)", *goal)
    [row] = [cell for cell in found["analysis"]["cells"] if cell["regime"] != "conventional"]
    assert row["difference"]["n"] == 1
    assert not found["analysis"].get("not_paired")


def test_the_readmes_training_is_compared(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    [block] = [block for block in blocks if block.startswith("# mine.py")]
    (tmp_path / "mine.py").write_text(block)
    found = compare(tmp_path, "mine.py:train", "--seeds", 2, "--scale", 100, "--unit", "%")
    assert len(found["analysis"]["cells"]) == 3
    assert not found["analysis"].get("not_paired")
