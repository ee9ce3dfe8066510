"""Commands by the command line, from `lerac compare` to table and report. Shell scripts: nothing of them is Python."""

import csv
import shlex
from pathlib import Path

import pytest
from in_this_process import in_this_process

from lerac import cli

# Three steps, of which each leaves a line; a script that was killed goes on where it was.
STEPS = """
while [ "$(cat "$2/steps" 2>/dev/null | wc -l)" -lt 3 ]; do
    echo "$1" >> "$2/steps"
    [ -z "$4" ] || [ -e "$2/killed" ] || { touch "$2/killed"; kill -9 $$; }
done
"""
RESULT = """echo "{\\"top1\\": $(( $1 * 10 + ${3:-0} + $(wc -l < "$2/steps") ))}" > "$2/result.json"\n"""
ARMS = ["--arm", "conventional=0", "--arm", "larger=3"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def compare(capsys, script, *words, command="sh run.sh {seed} {folder}", out="study"):
    """Exit code, stdout with no line broken, and stderr."""
    Path("run.sh").write_text(script)
    with in_this_process():
        options = ["--command", command, "--results", "{folder}/result.json", "--metric", "top1", "--name", "mine"]
        code = cli.run(["compare", *options, "--out", out, *words])
    said, err = capsys.readouterr()
    assert "Traceback" not in said + err
    return code, " ".join(said.split()), err


def test_arms_of_a_shell_script_from_end_to_end(capsys):
    code, out, err = compare(capsys, STEPS + RESULT, *ARMS, "--seeds", "2")
    assert code == 0
    assert "[4/4] mine larger seed 1" in err
    with Path("study/results.csv").open() as file:
        assert {(row["regime"], row["seed"]): float(row["value"]) for row in csv.DictReader(file)} == {
            (arm, str(seed)): 10.0 * seed + more + 3
            for arm, more in (("conventional", 0), ("larger", 3))
            for seed in range(2)
        }
    page = " ".join(Path("study/report.html").read_text().split())
    assert all("not paired: could not be checked" in said for said in (out, page))
    assert "+3.00" in out
    code, _, err = compare(capsys, "exit 1", *ARMS, "--seeds", "2")
    assert (code, err) == (0, "")  # nothing is left to do


def test_a_script_that_was_killed_goes_on_and_ends_in_the_same_bytes_as_two_parts_do(capsys):
    words = ["--arm", "larger=3", "--seeds", "2"]
    assert compare(capsys, STEPS + RESULT, *words, out="whole")[0] == 0
    dying = "sh run.sh {seed} {folder} {arm} dies"
    code, _, err = compare(capsys, STEPS + RESULT, *words, command=dying)
    assert code == 1
    assert err.count("failed: mine larger seed ") == 2
    assert "the command was killed by SIGKILL; memory was probably short (see " in err
    assert "2 of 2 runs failed; the same command tries them again" in err
    assert not list(Path("study").rglob("status.json"))
    assert compare(capsys, STEPS + RESULT, *words, command=dying)[0] == 0
    assert Path("study/results.csv").read_bytes() == Path("whole/results.csv").read_bytes()

    for seed in ("0-0", "1-1"):
        assert compare(capsys, STEPS + RESULT, *words[:2], "--seeds", seed, out=f"part {seed}")[0] == 0
    assert cli.run(["report", "part 0-0", "part 1-1", "--out", "merged"]) == 0
    assert Path("merged/results.csv").read_bytes() == Path("whole/results.csv").read_bytes()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo almost; exit 3", "the command ended with exit code 3"),
        ("kill -TERM $$", "the command was killed by SIGTERM"),
        (
            "echo '{\"top5\": 1}' > $2/result.json",
            "result.json has no test top1, only top5: --metric names one of those",
        ),
    ],
)
def test_a_failed_run_is_a_line_and_exit_code_1(capsys, script, says):
    code, _, err = compare(capsys, script, "--seeds", "1", "--arm", "mine=")
    assert code == 1
    ended, line, count = err.splitlines()
    assert ended.startswith("[0/1] mine mine seed 0: failed, ")
    assert line.startswith("failed: mine mine seed 0: ")
    assert says in line
    assert count == "1 of 1 runs failed; the same command tries them again"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "the command has ended without files/attach.json, so that nothing in it has called lerac.attach"),
        (["--paired", "require", "--arm", "a=", "--arm", "b="], "not paired: could not be checked"),
    ],
)
def test_what_no_other_run_would_do_better_is_one_line_and_exit_code_2(capsys, words, says):
    words = [*words, "--baseline", "a"] if "--arm" in words else words
    code, out, err = compare(capsys, STEPS + RESULT, *words, "--seeds", "2")
    assert (code, out) == (2, "")
    assert says in err.splitlines()[-1]


def test_a_changed_command_is_refused_or_accepted(capsys):
    words = ["--arm", "larger=3", "--seeds", "1"]
    assert compare(capsys, STEPS + RESULT, *words)[0] == 0
    other = f"sh run.sh {{seed}} {{folder}} {{arm}} {shlex.quote('')}"
    code, out, err = compare(capsys, STEPS + RESULT, *words, command=other)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "mine: the command, or its --results, has changed since runs of it ended (sha256 " in err
    code, out, _ = compare(capsys, STEPS + RESULT, *words[:2], "--seeds", "2", "--code", "accept", command=other)
    assert code == 0
    assert "The source has changed, which --code accept has accepted (sha256: " in out


def test_the_plan_names_runs_and_starts_nothing(capsys):
    code, out, _ = compare(capsys, "touch started", *ARMS, "--seeds", "1", "--plan")
    assert code == 0
    assert out == "mine conventional seed 0: to train mine larger seed 0: to train 2 runs, 2 to train"
    assert not Path("started").exists()
    assert not Path("study").exists()
