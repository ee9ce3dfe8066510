"""Every command that we print does what it says when it is pasted, wherever that is."""

import ast
import json
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from pages import Page
from studies import SMALL

import lerac
from lerac import cli
from lerac.study.data import DATASETS
from lerac.study.data.places import MARKER
from lerac.study.files import write_json, write_text
from lerac.study.plan.request import parse_seeds, request_study
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import recipe_text
from lerac.study.report.commands import Where, _quoted, commands_of
from lerac.study.runs.folder import read_study, write_study
from lerac.study.runs.outcomes import collect
from lerac.study.statistics import analyse

FILES = ["mine.toml", "with some spaces.toml", 'quo\'te $HOME `x` "y".toml', "ünï & <b>.toml"]
REGIMES = ["conventional", "warmup", "lerac(curve=linear,ratio=1e-05)", "cbs+lerac", "lerac(lr=0.03)", "lerac-shuffled"]
SETS = [
    "training.epochs=7", "training.early_stopping=none", "training.early_stopping=3", "training.clip_norm=1e-05",
    "training.drop_last=true", "network.width=24", "optimizer.name=adamw", "schedule.name=constant", "cbs=none",
    "data.label_noise=0.125", "training.compile=none", "model=lenet",
]  # fmt: skip
SEEDS = ["1", "3", "7-7", "0-4,9", "3,4,7", "100-109", "5,6"]
SOURCES = [None, "paper", "official"]


def pasted(command: str, *more: str) -> int:
    words = shlex.split(command)
    assert words[0] == "lerac"
    return cli.run([*words[1:], *more])


def asked_again(commands: list[str], folder: Path, capsys) -> tuple[Study, set[str]]:
    """Paste the commands; give what the folder would hold then, and the runs that they plan."""
    planned: set[str] = set()
    for command in commands:
        capsys.readouterr()
        assert pasted(command, "--plan", "--json") == 0, (command, capsys.readouterr().err)
        planned |= {run["folder"] for run in json.loads(capsys.readouterr().out)}
    return read_study(folder), planned


@st.composite
def requests(draw):
    """Words of `lerac compare`, as people type them, with names of recipe files to be written."""
    files = draw(st.lists(st.sampled_from(FILES), max_size=1))
    names = files or [draw(st.sampled_from(["digits", "small-vit/digits", "resnet18/cifar10"]))]
    sets = draw(st.lists(st.sampled_from(SETS), max_size=4, unique_by=lambda one: one.partition("=")[0]))
    if names == ["resnet18/cifar10"]:
        sets = [one for one in sets if not one.startswith(("network", "optimizer", "schedule", "model", "cbs"))]
    source = draw(st.sampled_from(SOURCES)) if names == ["resnet18/cifar10"] else None
    return {
        "names": names,
        "regimes": draw(st.lists(st.sampled_from(REGIMES), min_size=1, max_size=4, unique=True)),
        "seeds": draw(st.sampled_from(SEEDS)),
        "sets": sets,
        "source": source,
        "precision": draw(st.sampled_from(["float32", "bf16"])),
        "baseline": draw(st.booleans()),
        "power": draw(st.sampled_from([0.8, 0.123456789, 0.9])),
        "claim": draw(st.sampled_from([None, 0.0123456789, 0.02])),
        "folder": draw(st.sampled_from(["out", "o u t", "ö'; rm -rf x", "runs/$(pwd)"])),
        "root": draw(st.booleans()),
    }


@given(request_=requests())
@settings(max_examples=40, deadline=None)
def test_the_same_study_is_asked_for_again_from_anywhere(request_):
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch, Captured() as capsys:
        home, elsewhere = Path(root, "home"), Path(root, "elsewhere")
        home.mkdir(), elsewhere.mkdir(), (home / "data").mkdir()
        patch.chdir(home)
        patch.delenv("LERAC_DATA", raising=False)
        for file in FILES:
            Path(file).write_text(recipe_text("digits"), encoding="utf-8")
        try:
            study = request_study(
                request_["names"], ",".join(request_["regimes"]), parse_seeds(request_["seeds"]), request_["sets"],
                request_["source"], "cpu", request_["precision"],
            )  # fmt: skip
        except lerac.study.errors.StudyError:
            reject()  # a curriculum that outlasts training, for one
        folder = Path(request_["folder"])
        write_study(folder, study)
        if request_["root"]:
            patch.setenv("LERAC_DATA", str(home / "data"))
        claims = {"accuracy": request_["claim"]} if request_["claim"] else {}
        baseline = study.regimes[-1] if request_["baseline"] else None
        analysis = analyse(collect(folder, study.runs()), baseline=baseline, power=request_["power"], claims=claims)
        commands = commands_of(study, analysis, Where([folder], folder))
        assert len(commands) == 1
        folder = folder.absolute()
        assert ("--data-root" in commands[0]) == (request_["root"] and study.recipes[0].dataset == "cifar10")
        patch.delenv("LERAC_DATA", raising=False)
        patch.chdir(elsewhere)
        again, planned = asked_again(commands, folder, capsys)
        assert again == study
        assert planned == {run.folder for run in study.runs()}
        assert list(elsewhere.iterdir()) == []
        words = shlex.split(commands[0])
        if baseline not in (None, "conventional"):
            assert words[words.index("--baseline") + 1] == baseline
        if request_["power"] != 0.8:
            assert float(words[words.index("--power") + 1]) == request_["power"]
        if claims:
            assert float(words[words.index("--claim") + 1].partition("=")[2]) == pytest.approx(100 * request_["claim"])


class Captured:
    """What capsys does, for examples of hypothesis."""

    def __enter__(self):
        import contextlib
        import io

        self._streams = io.StringIO(), io.StringIO()
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(contextlib.redirect_stdout(self._streams[0]))
        self._stack.enter_context(contextlib.redirect_stderr(self._streams[1]))
        return self

    def __exit__(self, *_):
        self._stack.close()

    def readouterr(self):
        from types import SimpleNamespace

        found = SimpleNamespace(out=self._streams[0].getvalue(), err=self._streams[1].getvalue())
        for stream in self._streams:
            stream.seek(0), stream.truncate()
        return found


def commands_on(page: Path) -> list[str]:
    text = Page(page.read_text(encoding="utf-8")).text
    return [line for line in text.splitlines() if re.match(r"lerac (compare|report) ", line)]


WORDS = ["compare", "digits", *(word for one in SMALL for word in ("--set", one)), "--set", "training.epochs=1"]


def test_a_study_goes_on_by_the_command_on_its_page(tmp_path, monkeypatch):
    """Trained, one run taken away, and pasted in another folder: the same bytes."""
    monkeypatch.chdir(tmp_path)
    assert cli.run([*WORDS, "--regimes", "conventional", "--seeds", "1", "--out", "my study", "--workers", "1"]) == 0
    folder = tmp_path / "my study"
    before = (folder / "results.csv").read_bytes()
    [status, *_] = sorted(folder.glob("runs/*/*/status.json"))
    status.unlink()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    [command] = commands_on(folder / "report.html")
    assert pasted(command) == 0
    assert status.exists()
    assert (folder / "results.csv").read_bytes() == before
    assert commands_on(folder / "report.html") == [command]
    assert list((tmp_path / "other").iterdir()) == []


def test_the_page_of_several_folders_is_made_again(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seeds, regimes in (("one", [0, 1], "conventional"), ("two", [1], "conventional,lerac")):
        write_study(Path(name), request_study(["digits"], regimes, seeds, [f"training.epochs={7}"], None, "cpu"))
    assert cli.run(["report", "one", "two", "--out", "both", "--baseline", "lerac", "--claim", "2"]) == 0
    page = (tmp_path / "both" / "report.html").read_text(encoding="utf-8")
    *compares, report = commands_on(tmp_path / "both" / "report.html")
    monkeypatch.chdir("/")
    for command, folder in zip(compares, ("one", "two"), strict=True):
        own = read_study(tmp_path / folder)
        again, planned = asked_again([command], tmp_path / folder, capsys)
        assert again == own
        assert planned == {run.folder for run in own.runs()}
    (tmp_path / "both" / "report.html").unlink()
    assert pasted(report) == 0
    assert (tmp_path / "both" / "report.html").read_text(encoding="utf-8") == page


def test_recipes_that_cannot_share_a_command_have_a_last_one_for_the_page(tmp_path, capsys):
    first = request_study(["digits", "lenet/digits"], "conventional,lerac", [0], ["training.epochs=7"], None, "cpu")
    second = request_study(["small-vit/digits"], "conventional,lerac", [0], ["training.epochs=8"], None, "cpu")
    study = first.extend(second)
    write_study(tmp_path, study)
    analysis = analyse(collect(tmp_path, study.runs()), claims={"accuracy": 0.03})
    *compares, report = commands_of(study, analysis, Where([tmp_path], tmp_path))
    assert len(compares) == 2
    again, planned = asked_again(compares, tmp_path, capsys)
    assert again == study
    assert planned == {run.folder for run in study.runs()}
    assert report == f"lerac report {tmp_path} --claim accuracy=3"
    assert pasted(report) == 0


def test_runs_of_several_processes_are_started_by_a_launcher(tmp_path, monkeypatch):
    study = request_study(["digits"], "conventional,lerac", [4, 5], [], None, "cpu", processes=2)
    write_study(tmp_path, study)
    analysis = analyse(collect(tmp_path, study.runs()))
    *launches, report = commands_of(study, analysis, Where([tmp_path], tmp_path))
    assert report == f"lerac report {tmp_path}"
    started = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("lerac.commands.study._train_together", lambda session, run: started.append(run.folder) or 1)
    for command in launches:
        words = shlex.split(command)
        assert words[:6] == ["torchrun", "--nproc-per-node", "2", "-m", "lerac", "train"]
        assert cli.run(words[5:]) == 1
    assert sorted(started) == sorted(run.folder for run in study.runs())
    assert read_study(tmp_path) == study


def test_engine_and_places_are_those_of_the_study(tmp_path, monkeypatch):
    monkeypatch.delenv("LERAC_DATA", raising=False)
    monkeypatch.delenv("LERAC_WEIGHTS", raising=False)
    study = request_study(["resnet18/cifar10"], "conventional", [0], [], None, "cuda", here=False)
    write_study(tmp_path, study)
    [run] = study.runs()
    trained_on = {"sha256": "0" * 64, "published": None, "places": {"--data-root": "/da ta", "--weights": "/w"}}
    (tmp_path / run.folder).mkdir(parents=True)
    write_json(tmp_path / run.folder / "config.json", {"trained_on": trained_on, "environment": {}})
    analysis = analyse(collect(tmp_path, study.runs()))
    [command] = commands_of(study, analysis, Where([tmp_path], tmp_path, "ray"))
    assert "--device cuda --set" not in command
    assert command.endswith(f"--device cuda --engine ray --data-root '/da ta' --weights /w --out {tmp_path}")
    monkeypatch.setenv("LERAC_DATA", str(tmp_path))  # where the data is now
    [command] = commands_of(study, analysis, Where([tmp_path], tmp_path))
    assert command.endswith(f"--device cuda --data-root {tmp_path} --weights /w --out {tmp_path}")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.binary(min_size=1).map(
    lambda raw: raw.replace(b"\0", b"x").decode(errors="surrogateescape")))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_a_shell_reads_every_word_as_it_was(word):
    done = subprocess.run(["bash", "-c", f"printf %s {_quoted(word)}"], capture_output=True, check=True)
    assert done.stdout == word.encode(errors="surrogateescape")


def offered(text: str) -> list[str]:
    return re.findall(r"`(lerac [^`]*)`", text)


@pytest.mark.parametrize("marker", ["{", "[]", '{"sample_of": "cifar10", "counts": {}}'])
def test_a_sample_is_made_again_as_the_error_says(tmp_path, capsys, marker):
    root = tmp_path / "my data"
    root.mkdir()
    DATASETS["cifar10"].sample(root)
    folder = root / "cifar-10-batches-py"
    write_text(folder / MARKER, marker)
    assert cli.run(["data", "check", "cifar10", "--root", str(root)]) == 2
    error = capsys.readouterr().err
    [command] = offered(error)
    assert f"delete {folder}" in error
    for file in folder.iterdir():
        file.unlink()
    assert pasted(command) == 0
    assert cli.run(["data", "check", "cifar10", "--root", str(root)]) == 0


@pytest.mark.parametrize("name", ["cifar10", "boolq", "voc"])
def test_the_layout_is_shown_as_the_error_says(tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root").mkdir()
    assert cli.run(["data", "check", name, "--root", "root"]) == 2
    [command] = offered(capsys.readouterr().err)
    assert pasted(command) == 0
    assert cli.run(["data", "check", name, "--root", shlex.split(command)[-1]]) == 0


def test_the_table_of_recipes_names_a_command_that_shows_one(capsys):
    assert cli.run(["recipes"]) == 0
    [command] = offered(" ".join(capsys.readouterr().out.split()))
    assert pasted(command) == 0
    assert 'model = "small-cnn"' in capsys.readouterr().out


def test_all_commands_in_texts_are_among_those_that_are_pasted_here():
    """What stands between backticks, docstrings left out."""
    found = set()
    for path in sorted(Path(lerac.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        said = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Raise | ast.Call | ast.Return)]
        found |= {re.sub(r"\{.*", "", command) for text in said for command in offered(text)}
    assert found == {"lerac data sample ", "lerac recipes show small-cnn/digits", *ONLY_NAMES}


ONLY_NAMES = ("lerac data", "lerac data split")  # of which an option is said


@pytest.mark.parametrize("name", ONLY_NAMES)
def test_what_is_only_named_is_a_command(name, capsys):
    assert pasted(name, "--help") == 0
