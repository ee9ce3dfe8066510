"""Commands: what they are told, what they leave, and what is refused. Their scripts load no torch."""

import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from lerac.cli import run
from lerac.study.engines.worker import Answer, attempt
from lerac.study.errors import StudyError
from lerac.study.own.command.request import parse_arms, request_command
from lerac.study.own.request import Judged
from lerac.study.plan.command import fill, filled, places, with_arm
from lerac.study.plan.study import Study
from lerac.study.runs.folder import extend_study, write_study
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder
from lerac.study.statistics.pairing.reasons import why_not_paired

PYTHON = shlex.quote(sys.executable)
ARMS = ("lerac=--k 3", "conventional=")
# What each script is told, and its results; nothing of it is for a shell.
TELLS = """
import json, os, sys
folder = sys.argv[2]
told = {name: os.environ.get(name) for name in ("LERAC_REGIME", "LERAC_SEED", "LERAC_FOLDER", "LERAC_SETTINGS")}
json.dump([sys.argv, told, os.getcwd(), os.environ], open(folder + "/told.json", "w"), default=dict)
json.dump({"top1": int(sys.argv[1]) + len(sys.argv)}, open(folder + "/result.json", "w"))
"""
ATTACHES = """
import json, os, sys
text = {"version": 1, "regime": os.environ["LERAC_REGIME"], "seed": int(os.environ["LERAC_SEED"]), "attached": [
    {"epoch_steps": 2, "epochs": 1, "weights": "w", "batch": "b", "steps": 2, "ended": True}]}
json.dump(text, open(os.environ["LERAC_FOLDER"] + "/attach.json", "w"))
json.dump({"top1": 1}, open(sys.argv[1] + "/result.json", "w"))
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("LERAC_REGIME", "LERAC_SEED", "LERAC_FOLDER", "LERAC_SETTINGS"):
        monkeypatch.delenv(name, raising=False)


def asked(command: str, arms=ARMS, results="{folder}/result.json", **options) -> Study:
    options = {"regimes": "conventional", "seeds": [0], "values": {}, "judged": Judged("top1")} | options
    return request_command(command, results, parse_arms(arms), **options)


def first(study: Study, **options) -> tuple[Answer, RunFolder]:
    """What comes of the first run of a study."""
    [run, *_] = study.runs()
    return attempt(Path("out"), run), RunFolder(Path("out"), run)


def python(code: str, name="script.py") -> str:
    Path(name).write_text(code)
    return f"{PYTHON} {name}"


def shell(script: str) -> str:
    Path("run.sh").write_text(script)
    return "sh run.sh {seed} {folder}"


def refused(capsys, *arguments) -> str:
    assert run(["compare", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


# Words


@pytest.mark.parametrize(
    ("text", "values", "result"),
    [
        ("{seed}", {"seed": "3"}, "3"),
        ("--a={seed}-{lr}", {"seed": "3", "lr": "{seed}"}, "--a=3-{seed}"),
        ('{"seed": {seed}}', {"seed": "3"}, '{"seed": 3}'),
        ("{{seed}}", {"seed": "3"}, "{seed}"),
        ("${seed} {optimizer.lr}", {"seed": "3", "optimizer.lr": "$x `ls`"}, "${seed} $x `ls`"),
        ("{} {1} { seed } {a b}", {}, "{} {1} { seed } {a b}"),
    ],
)
def test_placeholders_are_filled_once(text, values, result):
    assert fill(text, values) == result


def test_an_unknown_placeholder_names_the_known_ones():
    with pytest.raises(
        StudyError, match=r"\{sede\} in '--seed=\{sede\}' is unknown here; there is \{seed\}, \{folder\}"
    ):
        fill("--seed={sede}", {"seed": "1", "folder": "/f"})


@pytest.mark.parametrize(
    ("words", "arm", "result"),
    [
        (["a", "b"], ["--k", "3"], ["a", "b", "--k", "3"]),
        (["a", "{arm}", "b"], ["--k", "3"], ["a", "--k", "3", "b"]),
        (["a", "{arm}", "b"], [], ["a", "b"]),
        (["a", "--k={arm}", "{seed}"], ["{seed}"], ["a", "--k={seed}", "{seed}"]),
        (["{{arm}}"], ["x"], ["{{arm}}", "x"]),
    ],
)
def test_the_words_of_an_arm_are_appended_or_put_in_their_place(words, arm, result):
    assert with_arm(words, arm) == result
    assert "arm" not in places(*result)


def test_words_are_split_once_and_no_shell_reads_them():
    study = asked(f"{PYTHON} s.py {{seed}} 'a b' \"$HOME\" '*' '{{lr}}' \\; ~", values={"lr": "x; rm -rf / 'y"})
    words, _ = filled(study.runs()[0], "/with 'quotes' and spaces")
    assert words[1:] == ["s.py", "0", "a b", "$HOME", "*", "x; rm -rf / 'y", ";", "~", "--k", "3"]


# What a command is told


def test_a_command_is_told_of_its_run(monkeypatch):
    monkeypatch.setenv("LERAC_REGIME", "cbs")
    study = asked(f"{python(TELLS)} {{seed}} {{folder}} {{x}}", values={"x": [1, "ü"], "y": {"z": 0.5}}, seeds=[7],
                  name="mine")  # fmt: skip
    answer, files = first(study)
    assert answer.failure is None
    folder = files.path.absolute() / "files"
    argv, told, directory, environment = json.loads((folder / "told.json").read_text())
    assert argv == ["script.py", "7", str(folder), '[1, "\\u00fc"]', "--k", "3"]
    assert told == {
        "LERAC_REGIME": None,
        "LERAC_SEED": "7",
        "LERAC_FOLDER": str(folder),
        "LERAC_SETTINGS": json.dumps({"x": [1, "ü"], "y": {"z": 0.5}}),
    }
    assert Path(directory) == Path.cwd()
    assert environment["PYTHONHASHSEED"] == "0"
    status = files.status()
    assert status["test"] == {"top1": 13.0}
    assert status["seconds"] < 60


def test_a_shell_script_is_a_command_too():
    command = shell('echo "$1 says $LERAC_SEED"; echo more >&2; echo "{\\"top1\\": $1}" > "$2/result.json"')
    answer, files = first(asked(command, seeds=[5]))
    assert answer.failure is None
    assert files.status()["test"] == {"top1": 5.0}
    assert (files.path / "output.txt").read_text() == "5 says 5\nmore\n"


def test_arms_are_not_paired_because_nobody_can_tell():
    study = asked(shell('echo "{\\"top1\\": 1}" > "$2/result.json"'))
    for one in study.runs():
        assert attempt(Path("out"), one) == Answer()
    assert "could not be checked" in why_not_paired(collect(Path("out"), study.runs()))


def test_a_script_that_attaches_is_paired_and_told_of_its_regime():
    study = asked(f"{python(ATTACHES)} {{folder}} {{seed}} '{{regime}}'", arms=(), regimes="conventional,lerac(k=1)")
    for one in study.runs():
        assert attempt(Path("out"), one) == Answer()
    assert why_not_paired(collect(Path("out"), study.runs())) is None
    assert [one.regime for one in study.runs()] == ["conventional", "lerac(curve=exponential,k=1,ratio=1e-6)"]


def test_the_lr_of_a_regime_arrives():
    study = asked("sh -c 'echo {lr}' {seed}", arms=(), regimes="conventional(lr=0.1),lerac(lr=0.02)")
    assert [filled(one, "/f")[0][2] for one in study.runs()] == ["echo 0.1", "echo 0.02"]


def test_a_csv_whose_last_row_counts():
    rows = "epoch, top1 ,when\\n0,0.1,monday\\n1,0.7,tuesday\\n\\n"
    answer, files = first(asked(shell(f'printf "{rows}" > "$2/summary.csv"'), results="{folder}/summary.csv"))
    assert answer.failure is None
    assert files.status()["test"] == {"epoch": 1.0, "top1": 0.7}


def test_values_of_two_splits_and_one_that_is_not_finite():
    study = asked(shell('echo \'{"validation": {"top1": 2}, "test": {"top1": NaN}}\' > "$2/result.json"'))
    answer, files = first(study)
    assert answer.failure is None
    assert files.status()["state"] == "diverged"


# What fails


FAILING = {
    "exit code": ("echo almost; echo 'the very end' >&2; exit 3", "the command ended with exit code 3"),
    "killed": ("echo 'the very end'; kill -9 $$", "the command was killed by SIGKILL; memory was probably short"),
    "no results": ("echo 'the very end'; touch $2/other.txt", "which --results names; its folder has other.txt"),
    "no folder": ("echo 'the very end'; rm -r $2", "result.json, which --results names; nor is there its folder"),
    "no JSON": ("echo 'the very end'; echo top1=3 > $2/result.json", "result.json is no JSON"),
    "half of it": ("echo 'the very end'; printf '{\"top1\": 3' > $2/result.json", "result.json is no JSON"),
    "a list": ("echo 'the very end'; echo '[3]' > $2/result.json", "a JSON object of numbers was expected"),
    "a number": ("echo 'the very end'; echo '3' > $2/result.json", "a JSON object of numbers was expected"),
    "wrong key": (
        "echo 'the very end'; echo '{\"top5\": 3, \"loss\": 1}' > $2/result.json",
        "result.json has no test top1, only top5, loss",
    ),
    "of validation only": (
        "echo 'the very end'; echo '{\"validation\": {\"top1\": 3}}' > $2/result.json",
        "top1 is there of validation only",
    ),
    "words": ("echo 'the very end'; echo '{\"top1\": \"3\"}' > $2/result.json", "has 'top1': str '3' as test"),
    "truth": ("echo 'the very end'; echo '{\"top1\": true}' > $2/result.json", "result.json has 'top1': bool True"),
    "nothing": ("echo 'the very end'; echo '{}' > $2/result.json", "a dict of numbers"),
    "no UTF-8": ("echo 'the very end'; printf '\\377' > $2/result.json", "is no text in UTF-8"),
    "an old file": (
        "echo 'the very end'; echo '{\"top1\": 3}' > $2/result.json; touch -t 202001010000 $2/result.json",
        "result.json is older than the run",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAILING)
def test_a_failed_run_has_the_last_lines_of_its_output(kind):
    script, reason = FAILING[kind]
    answer, files = first(asked(shell(script)))
    assert not answer.hopeless
    assert reason in answer.failure
    assert "\n" not in answer.failure
    error = files.error()
    assert error.startswith(answer.failure)
    assert error.endswith("the very end\n")
    assert files.status() is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "has nothing"),
        ("top1\\n", "has only a header"),
        ("top1,loss\\n1,2\\n1\\n", "its last row has 1 cells, its header 2"),
        ("top1,loss\\n1,2\\nn/a,3\\n", "the last row has 'n/a' as top1, no number"),
        ("top5,loss\\n1,2\\n", "has no test top1, only top5, loss"),
        ("top1,top1\\n1,2\\n", "its header names top1 twice"),
    ],
)
def test_a_csv_that_cannot_count(content, reason):
    answer, _ = first(asked(shell(f"printf '{content}' > $2/summary.csv"), results="{folder}/summary.csv"))
    assert reason in answer.failure


def test_results_that_were_there_before_are_not_taken_for_those_of_the_run():
    Path("result.json").write_text('{"top1": 1}')
    answer, _ = first(asked("sh -c : {seed}", results="result.json"))
    assert "result.json is older than the run: the command has ended without writing it" in answer.failure
    answer, files = first(asked(shell('echo "{\\"top1\\": 2}" > result.json'), results="result.json"))
    assert answer.failure is None
    assert files.status()["test"] == {"top1": 2.0}


PRINTS = "import sys; [sys.stdout.write('x' * 99 + chr(10)) for _ in range(10**6)]; sys.exit(1)"


def test_100_mb_of_output_are_kept_and_the_last_lines_shown():
    study = asked(f"{python(PRINTS)} {{seed}}")
    answer, files = first(study)
    assert "exit code 1" in answer.failure
    assert (files.path / "output.txt").stat().st_size == 10**8
    assert len(files.error()) < 10_000


def test_a_line_without_end_is_cut():
    answer, files = first(asked(f"{python('print(chr(120) * 10**6); raise SystemExit(1)')} {{seed}}"))
    assert answer.failure is not None
    assert len(files.error()) < 1000


def test_what_an_earlier_attempt_printed_is_not_shown_as_the_last_lines():
    first(asked(shell("echo before; exit 1")))
    answer, files = first(asked(shell("exit 2")))
    assert "exit code 2" in answer.failure
    assert "before" not in files.error()
    assert "before" in (files.path / "output.txt").read_text()


def test_a_command_reads_no_input():
    answer, _ = first(asked(shell('cat > /dev/null; echo "{\\"top1\\": 1}" > "$2/result.json"')))
    assert answer == Answer()


# What no other run would fare better with


def test_a_regime_without_attach_stops_the_study():
    study = asked(shell('echo "{\\"top1\\": 1}" > "$2/result.json"'), arms=(), regimes="lerac,conventional")
    answer, files = first(study)
    assert answer.hopeless
    assert "add lerac.attach(optimizer, model, epoch_steps=len(loader))" in answer.failure
    assert "--arm" in answer.failure
    assert files.status() is None


def test_what_an_earlier_attempt_has_noted_is_not_of_this_one():
    first(asked(f"{python(ATTACHES + 'sys.exit(1)')} {{folder}} {{seed}}", arms=(), regimes="lerac"))
    [note] = Path("out").rglob("attach.json")
    os.utime(note, ns=(note.stat().st_atime_ns, note.stat().st_mtime_ns))
    python('import json, sys; json.dump({"top1": 1}, open(sys.argv[1] + "/result.json", "w"))')
    answer, _ = first(asked(f"{PYTHON} script.py {{folder}} {{seed}}", arms=(), regimes="lerac"))
    assert answer.hopeless
    assert "lerac.attach" in answer.failure


def test_a_program_that_is_gone_stops_the_study():
    Path("mine").write_text("#!/bin/sh\n")
    Path("mine").chmod(0o700)
    study = asked("./mine {seed}")
    Path("mine").unlink()
    answer, _ = first(study)
    assert answer.hopeless
    assert "./mine cannot be started in" in answer.failure


# A command that changes


CHANGED = r"mine: the command, or its --results, has changed since runs of it ended"


@pytest.mark.parametrize(
    ("command", "options"),
    [("sh run.sh {seed} {folder} --more", {}), ("sh run.sh {seed} {folder}", {"results": "{folder}/other.json"})],
)
def test_a_changed_command_is_refused_after_the_first_run(command, options):
    script = 'echo "{\\"top1\\": 1}" > "$2/result.json"'
    before = asked(shell(script), name="mine")
    write_study(Path("out"), before)
    assert extend_study(Path("out"), asked(command, name="mine", **options)).experiments[0].words == command.split()
    first(before)
    with pytest.raises(StudyError, match=CHANGED):
        extend_study(Path("out"), asked(command, name="mine", **options))
    accepted = extend_study(Path("out"), asked(command, name="mine", accept=True, **options))
    assert len(accepted.experiments[0].code) == 2


def test_arms_are_added_and_those_with_ended_runs_do_not_change():
    before = asked(shell('echo "{\\"top1\\": 1}" > "$2/result.json"'), name="mine")
    write_study(Path("out"), before)
    first(before)  # of lerac
    more = extend_study(Path("out"), asked(shell(""), ("new=--k 5", "conventional=--k 0"), name="mine"))
    assert more.regimes == ["lerac", "conventional", "new"]
    assert more.experiments[0].arms == {"lerac": ["--k", "3"], "conventional": ["--k", "0"], "new": ["--k", "5"]}
    with pytest.raises(
        StudyError, match=r"the arm lerac has changed since runs of it ended \(from '--k 3' to '--k 4'\)"
    ):
        extend_study(Path("out"), asked(shell(""), ("lerac=--k 4", "conventional="), name="mine"))


def test_what_another_command_has_left_is_removed():
    first(asked(shell("touch $2/half.txt; exit 1"), name="mine"))
    [half] = Path("out").rglob("half.txt")
    first(asked(shell("exit 1"), name="mine"))
    assert half.exists()
    first(asked(shell("exit 1") + " --other", name="mine"))
    assert not half.exists()


def test_arms_and_regimes_are_no_one_study():
    write_study(Path("out"), asked("sh x.sh {seed}", name="mine"))
    with pytest.raises(StudyError, match="it has mine with arms True, now asked for False"):
        extend_study(Path("out"), asked("sh x.sh {seed}", (), name="mine"))


# What the command line refuses


GOOD = ["--command", "sh x.sh {seed}", "--results", "{folder}/r.json"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--command", "sh x.sh {seed}"], "--command needs --results"),
        (["--command", "", "--results", "r"], "--command is empty"),
        (["--command", "sh 'x", "--results", "r"], "cannot be split into words as a shell does: No closing quotation"),
        (["--command", "sh x.sh", "--results", "r"], "--command must have {seed} among its words"),
        (["--command", "sh x.sh {{seed}}", "--results", "r"], "--command must have {seed} among its words"),
        (["--command", "sh {seed} {oops}", "--results", "r"], "{oops} in '{oops}' is unknown here"),
        (["--command", "sh {seed}", "--results", "{oops}"], "{oops} in '{oops}' is unknown here"),
        (["--command", "sh {seed} {lr}", "--results", "r"], "{lr} in '{lr}' is unknown here"),
        (["--command", "sh {seed} {arm}", "--results", "r"], "there is no --arm"),
        (["--command", "no-such-program {seed}", "--results", "r"], "there is no program no-such-program"),
        ([*GOOD, "--set", "lr=0.1"], "lr would not arrive: put {lr} into the command, or let the script read the"),
        ([*GOOD, "--regimes", "lerac(lr=0.1)"], "lr would not arrive"),
        ([*GOOD, "--set", "seed=1"], "--set seed: {seed} is of the run"),
        ([*GOOD, "--regimes", "nonsense"], "unknown regime 'nonsense'"),
        ([*GOOD, "--arm", "a=", "--regimes", "lerac"], "--regimes and --arm exclude each other"),
        ([*GOOD, "--arm", "a"], "--arm takes NAME=WORDS"),
        ([*GOOD, "--arm", "=--k 3"], "--arm takes NAME=WORDS"),
        ([*GOOD, "--arm", "lerac(k=3)=--k 3"], "with no = in the name"),
        ([*GOOD, "--arm", "a=", "--arm", "a=--k"], "--arm a is given twice"),
        ([*GOOD, "--arm", "a='"], "cannot be split"),
        ([*GOOD, "--arm", "a={arm}"], "--arm a: {arm} is where"),
        ([*GOOD, "--arm", "a=", "--baseline", "b"], "baseline b is not among the regimes of the study: a"),
        (["--command", "sh {seed} {regime}", "--results", "r", "--arm", "a="], "{regime} is of regimes"),
        (["--command", "sh {seed} -k={arm}", "--results", "r", "--arm", "a=1 2"], "takes an arm of one word"),
        (["digits", *GOOD], "--command and digits are of studies of their own"),
        (["digits", "--results", "r"], "--results is of functions (FILE.py:FUNCTION) and commands (--command)"),
        (["digits", "--arm", "a=b"], "--arm is of functions"),
        (["a.py:f", "--arm", "a=b"], "--arm is of --command"),
        ([*GOOD, "--precision", "bf16"], "--precision is of recipes"),
        ([*GOOD, "--goal", "up"], "--goal must be max or min"),
        ([], "Missing argument 'RECIPE…', or --command"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(capsys, arguments, says):
    assert says in refused(capsys, *arguments)
    assert not Path("runs").exists()


def test_a_setting_arrives_where_a_file_of_the_command_mentions_the_variable():
    Path("package").mkdir()
    for name in ("script.py", "package/train.py"):
        Path(name).write_text("import os; os.environ['LERAC_SETTINGS']")
    for command in ("python script.py {seed}", "python -m package.train {seed}", "sh -c 'echo $LERAC_SETTINGS' {seed}"):
        command = command.replace("python", PYTHON)
        assert asked(command, values={"lr": 1}).runs()[0].settings == {"lr": 1}


def test_what_a_command_is_called():
    Path("train.py").touch()
    names = {
        f"{PYTHON} train.py {{seed}} --out x.txt": "train.py",
        "sh -c 'echo {seed}'": "sh",
        "env python -m pkg.train {seed}": "pkg.train",
        "env torchrun --nproc-per-node 2 train.py {seed}": "train.py",
    }
    for command, name in names.items():
        [experiment] = asked(command).experiments
        assert experiment.name == name
    assert experiment.slug == "train-py"


def test_runs_of_arms_have_folders_of_their_own():
    arms = ("a b/../c=", "A B/../c=", "lerac=", "=".join(["x" * 300, ""]))
    folders = [one.folder for one in asked("sh {seed}", arms).runs()]
    assert len({folder.lower() for folder in folders}) == 4
    assert all(len(Path(folder).parts) == 3 and ".." not in Path(folder).parts for folder in folders)
    assert all(len(part) < 100 for folder in folders for part in Path(folder).parts)
