"""Commands that ask for functions and commands again do what they say when they are pasted, wherever that is."""

import os
import re
import shlex
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from pages import Page

import lerac.study
from lerac import cli
from lerac.study.errors import StudyError
from lerac.study.own.command.request import parse_arms, request_command
from lerac.study.own.functions import find_function
from lerac.study.own.request import Judged, request_functions
from lerac.study.report.commands import Where, commands_of
from lerac.study.report.own_commands import written
from lerac.study.runs.folder import read_study, write_study
from lerac.study.runs.outcomes import collect
from lerac.study.statistics import analyse

REGIMES = ["conventional", "warmup", "lerac(curve=linear,ratio=1e-05)", "cbs+lerac", "lerac(lr=0.03)", "lerac-shuffled"]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    PLAIN, lambda one: st.lists(one, max_size=2) | st.dictionaries(TEXT, one, max_size=2), max_leaves=4
)
NAMES = st.sampled_from(["lr", "optimizer", "weight_decay", "with-hyphen", "a b", "a=b", "a.b", "", "ünï"]) | TEXT
JUDGED = st.builds(
    Judged,
    st.sampled_from([None, "accuracy", "top 1", "'; rm -rf x", "val/acc@1"]),
    st.sampled_from([None, "max", "min"]),
    st.sampled_from(["", "%", "ms of $(time)"]),
    st.sampled_from([1.0, 100.0, 1 / 3, 1e-05]),
)
COMMON = st.fixed_dictionaries(
    {
        "seeds": st.sampled_from([[0], [7], [0, 1, 2, 3], [3, 4, 9]]),
        "judged": JUDGED,
        "name": st.sampled_from([None, "mine", "my own: 50% `x`"]),
        "threads": st.sampled_from([1, 3]),
    }
)
REGIME_TEXTS = st.lists(st.sampled_from(REGIMES), min_size=1, max_size=4, unique=True).map(",".join)
FOLDERS = st.sampled_from(["out", "o u t", "ö'; rm -rf x", "runs/$(pwd)"])


def pasted(command: str, *more: str) -> int:
    """Do what a shell does with `cd FOLDER && lerac …`."""
    [cd, folder, then, program, *words] = shlex.split(command)
    assert (cd, then, program) == ("cd", "&&", "lerac")
    os.chdir(folder)
    return cli.run([*words, *more])


def again(study, command: str, folder: Path, elsewhere: Path, patch) -> None:
    """The command asks for the same study, runs and all, although it is pasted elsewhere."""
    patch.chdir(elsewhere)
    assert pasted(command, "--plan") == 0
    found = read_study(folder)
    assert found == study
    assert [run.folder for run in found.runs()] == [run.folder for run in study.runs()]
    assert list(elsewhere.iterdir()) == []


@given(st.data(), COMMON, REGIME_TEXTS, st.dictionaries(NAMES, VALUES, max_size=3), FOLDERS)
@settings(max_examples=20, deadline=None)
def test_a_function_is_asked_for_again_from_anywhere(data, common, regimes, values, folder):
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        home, elsewhere = Path(root, "home"), Path(root, "elsewhere")
        home.mkdir(), elsewhere.mkdir()
        patch.chdir(home)
        file = data.draw(st.sampled_from(["mine.py", "a folder/ünï $x.py"]))
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text("def train(trial): ...\n")
        word = f"{file}:train"
        try:
            study = request_functions({word: find_function(word)}, regimes=regimes, values=values, **common)
        except StudyError:  # a sign that cannot be printed
            reject()
        write_study(Path(folder), study)
        folder = Path(folder).absolute()
        [command] = commands_of(study, analyse(collect(folder, study.runs())), Where([folder], folder))
        if command.startswith("cd "):
            again(study, command, folder, elsewhere, patch)
        else:  # settings that no --set can give
            told = {}
            call = SimpleNamespace(
                study=SimpleNamespace(compare=lambda *words, **told_: told.update(told_, words=words))
            )
            exec(command, {"lerac": call, "train": "the function"})
            assert told.pop("words") == ("the function", study.regimes, study.seeds)
            judged = Judged(*(told.pop(name, usual) for name, usual in vars(Judged()).items()))
            assert told.pop("out") == str(folder)
            asked = {"values": told.pop("settings"), "name": told.pop("name", None), "threads": told.pop("threads", 1)}
            assert told == {}
            same = request_functions(
                {word: find_function(word)}, regimes=",".join(study.regimes), seeds=study.seeds, judged=judged, **asked
            )
            assert same == study


def test_most_settings_can_be_given_in_a_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("")
    values = {"lr": 0.1, "name": "adamw", "optimizer": {"betas": [0.9, 0.99], "eps": 1e-08}, "e": {}, "t": 'a "b"\n'}
    study = request_functions(
        {"mine.py:train": find_function("mine.py:train")},
        regimes="conventional",
        seeds=[0],
        values=values,
        judged=Judged(),
    )
    [command] = commands_of(study, analyse([]))
    assert command == (
        f"cd {tmp_path} && lerac compare mine.py:train --regimes conventional --seeds 0-0 --set lr=0.1 "
        "--set name=adamw --set 'optimizer.betas=[0.9, 0.99]' --set optimizer.eps=1e-08 --set 'e={}' "
        '--set \'t="a \\"b\\"\\n"\''
    )


@given(
    COMMON,
    REGIME_TEXTS,
    st.sampled_from(["", "a b", "{folder}/x y", '"; rm $HOME', "-k=3", "{lr}"]),
    st.booleans(),
    FOLDERS,
)
@settings(max_examples=12, deadline=None)
def test_a_command_is_asked_for_again_from_anywhere(common, regimes, word, arms, folder):
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        home, elsewhere = Path(root, "home"), Path(root, "elsewhere")
        home.mkdir(), elsewhere.mkdir()
        patch.chdir(home)
        Path("train.sh").write_text("LERAC_SETTINGS")
        words = shlex.join(["sh", "train.sh", "{seed}", "{folder}", word, *(["{arm}"] if arms else [])])
        given_arms = parse_arms([f"one={shlex.join(['--k 3', word])}", "my own="] if arms else [])
        study = request_command(
            words, "{folder}/re sult.json", given_arms, regimes=regimes, values={"lr": 0.1, "a": {"b": "c d"}}, **common
        )
        write_study(Path(folder), study)
        baseline = study.regimes[-1]
        analysis = analyse(collect(Path(folder), study.runs()), baseline=baseline, power=0.9)
        [command] = commands_of(study, analysis, where := Where([Path(folder)], Path(folder)))
        if baseline != "conventional":
            assert shlex.split(command)[shlex.split(command).index("--baseline") + 1] == baseline
        again(study, command, where.out.absolute(), elsewhere, patch)


@given(st.lists(TEXT))
@settings(max_examples=60, deadline=None)
def test_words_are_read_as_they_were_written(words):
    assert shlex.split(written(words)) == words


def test_placeholders_stand_as_they_were_typed():
    words = "python train.py --seed {seed} --out={folder}/a \"two words\" ''"
    assert written(shlex.split(words)) == words.replace("''", '""')


def commands_on(page: Path) -> list[str]:
    text = Page(page.read_text(encoding="utf-8")).text
    return [line for line in text.splitlines() if re.match(r"cd .* && lerac |lerac ", line)]


@pytest.mark.wide
@pytest.mark.parametrize(
    "words",
    [
        ["--command", "sh train.sh {seed} {folder}", "--results", "{folder}/result.json", "--arm", "conventional=1",
         "--arm", "mine=2", "--metric", "top1"],
        ["mine.py:train", "--regimes", "conventional,lerac(k=1)", "--set", "value=0.5"],
    ],
    ids=["command", "function"],
)  # fmt: skip
def test_what_is_left_of_a_study_is_trained_by_the_command_on_its_page(tmp_path, monkeypatch, words):
    """A run taken away, and pasted in another folder: the same bytes."""
    monkeypatch.chdir(tmp_path)
    Path("train.sh").write_text('echo "{\\"top1\\": 1.$1$3}" > "$2/result.json"\n')
    Path("mine.py").write_text(FUNCTION)
    (tmp_path / "other").mkdir()
    assert cli.run(["compare", *words, "--seeds", "1", "--workers", "1", "--out", "my study"]) == 0
    folder = tmp_path / "my study"
    before = (folder / "results.csv").read_bytes()
    [*_, status] = sorted(folder.glob("runs/*/*/status.json"))
    status.unlink()
    [command] = commands_on(folder / "report.html")
    monkeypatch.chdir(tmp_path / "other")
    assert pasted(command) == 0
    assert status.exists()
    assert (folder / "results.csv").read_bytes() == before
    assert commands_on(folder / "report.html") == [command]
    assert list((tmp_path / "other").iterdir()) == []


FUNCTION = """
import torch
def train(trial):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trial.attach(optimizer, model, epoch_steps=2, epochs=2)
    for _ in range(4):
        loss = model(torch.ones(1, 2)).square().sum()
        loss.backward()
        optimizer.step()
    return {"loss": loss + trial.settings["value"]}
"""


def test_what_only_python_can_name_is_a_call(tmp_path, monkeypatch):
    """A function of a notebook: the call is pasted where it is defined."""
    monkeypatch.chdir(tmp_path)
    called = []

    def train(trial):
        called.append((trial.regime, trial.seed, trial.settings["none"]))
        return trial.seed

    told = lerac.study.compare(
        train, "conventional", [3, 5], out="o", workers=0, name="my own", goal="min", power=0.9, settings={"none": None}
    )
    [command] = re.findall(r"lerac\.study\.compare\(.*\)", Page(told.report.read_text(encoding="utf-8")).text)
    assert "goal='min', name='my own', settings={'none': None}, power=0.9, " in command
    before, [status] = Path("o/results.csv").read_bytes(), Path("o").glob("runs/*/5/status.json")
    status.unlink()
    called.clear()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    exec(command, {"lerac": lerac, "train": train})
    assert called == [("conventional", 5, None)]
    assert (tmp_path / "o/results.csv").read_bytes() == before
