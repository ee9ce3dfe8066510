"""Somebody's own functions with the real processes of the command line, where these could make a difference."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.wide, pytest.mark.timeout(900)]
FILE = Path(__file__).parents[1] / "study/own/functions.py"
# A program that compares, and is loaded by every run of what it compares.
SCRIPT = """
import lerac.study

def train(trial):
    return {{"value": trial.seed, "guarded": 1}}

{guard}
    study = lerac.study.compare(train, "conventional", 2, metric="value", out="study", workers=1)
    print(study.table[0]["n"], "runs")
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*words):
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=600, check=False)
    return done.returncode, done.stdout, done.stderr


def compare(*words, regimes="lerac(k=1)"):
    return run("-m", "lerac", "compare", *words, "--regimes", regimes, "--seeds", "2", "--workers", "1")


def test_the_second_function_of_a_study_is_spawned_and_trained_as_if_it_were_forked():
    both = [f"{FILE}:plain", f"{FILE}:number"]
    assert compare(*both, "--out", "both")[0] == 0
    assert compare(both[1], "--out", "one")[0] == 0
    rows = {row for row in Path("both/results.csv").read_text().splitlines() if "functions:number" in row}
    assert rows == {row for row in Path("one/results.csv").read_text().splitlines() if "functions:number" in row}
    assert len(rows) == 2


def test_what_cannot_be_loaded_is_one_line():
    Path("mine.py").write_text("print('loading')\nimport not_there\n")
    code, out, err = compare("mine.py:train")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.endswith("mine.py cannot be loaded: No module named 'not_there' (ModuleNotFoundError, line 2)\n")


def test_a_file_that_ends_the_process_that_loads_it_fails_each_run():
    Path("mine.py").write_text("import os\nos._exit(3)\n")
    code, _, err = compare("mine.py:train")
    assert code == 1
    assert err.count("died while it loaded") == 4  # the end of each run, and the failures of all
    assert "Traceback" not in err


def test_a_script_needs_its_guard_and_runs_with_it():
    Path("mine.py").write_text(SCRIPT.format(guard="if True:"))
    code, _, err = run("mine.py")
    assert code == 1
    assert err.splitlines()[-1].endswith(
        'mine.py starts a study when it is loaded, as every run has to; put that under if __name__ == "__main__": so '
        "that it happens only when the file is run as a script"
    )
    Path("mine.py").write_text(SCRIPT.format(guard='if __name__ == "__main__":'))
    code, out, err = run("mine.py")
    assert (code, out) == (0, "2 runs\n"), err
