"""Every file that a study reads, changed in some way: a result or one line, and nothing outside is touched."""

import hashlib
import json
import os
import random
import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
from studies import make_study, train_here

from lerac.cli import run
from lerac.study.data import DATASETS
from lerac.study.engines.worker import attempt
from lerac.study.errors import StudyError

STUDY = make_study("conventional", "lerac", seeds=(0, 1), epochs=1)
UNFINISHED = STUDY.runs()[-1]
MUTATIONS, GROUPS = 360, 12
DATA = ["cifar10", "esc50", "rte", "utkface"]
VALUES = [None, True, 0, -1, 10**40, 1e308, "", "x", "\x1b[2J", "=1+1", "\ud800", [], [[]], {}, {"a": 1}, "9" * 5000]


def tree(folder: Path) -> dict[str, str]:
    """Everything there, with what is in it."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def anywhere(value, choose: random.Random):
    """Change one value of JSON, or take it away, or add one."""
    if not isinstance(value, dict | list) or not value or choose.random() < 0.1:
        return choose.choice(VALUES)
    key = choose.choice([*value] if isinstance(value, dict) else range(len(value)))
    if (how := choose.random()) < 0.15:
        del value[key]
    elif how < 0.25 and isinstance(value, dict):
        value[choose.choice(["a", "kind", "state", ""])] = choose.choice(VALUES)
    else:
        value[key] = anywhere(value[key], choose)
    return value


def mutate(path: Path, others: list[Path], choose: random.Random, victim: Path) -> str:
    """Change a file, and say how."""
    content, how = path.read_bytes(), choose.choice(["value"] * 4 + ["bytes", "cut", "other", "gone", "link", "deep"])
    if how == "value" and path.suffix in (".json", ".jsonl"):
        lines = content.splitlines() if path.suffix == ".jsonl" else [content]
        at = choose.randrange(len(lines))
        lines[at] = json.dumps(anywhere(json.loads(lines[at]), choose)).encode()
        path.write_bytes(b"\n".join(lines))
    elif how == "value" and path.suffix == ".pt":
        state = torch.load(path, weights_only=True)
        state[choose.choice([*state])] = choose.choice([None, [], {}, -1, "x", torch.zeros(2), {"last_epoch": 0}])
        torch.save(state, path)
    elif how in ("value", "bytes"):
        changed = bytearray(content or b"x")
        for _ in range(choose.randint(1, 5)):
            changed[choose.randrange(len(changed))] = choose.randrange(256)
        path.write_bytes(changed)
    elif how == "cut":
        path.write_bytes(content[: choose.randrange(len(content) + 1)])
    elif how == "other":
        path.write_bytes(choose.choice(others).read_bytes())
    elif how == "deep":
        path.write_bytes(choose.choice([b"[", b'{"a":', b"<a>"]) * 10**5)
    else:
        path.unlink()
        if how == "link":
            path.symlink_to(victim / "precious")
    return how


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = train_here(tmp_path_factory.mktemp("finished") / "study", STUDY)
    (folder / UNFINISHED.folder / "status.json").unlink()
    (folder / UNFINISHED.folder / "error.txt").write_text("Traceback\n")
    return folder


@pytest.fixture
def victim(tmp_path, monkeypatch):
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    places = {"XDG_CACHE_HOME": tmp_path / "cache", "MPLCONFIGDIR": tmp_path / "matplotlib", "COLUMNS": "80"}
    for name, value in places.items():
        monkeypatch.setenv(name, str(value))
    before = tree(folder)
    yield folder
    assert tree(folder) == before


def fault(code: object, text: str) -> bool:
    lines = text.count("\n")
    printed = text.replace("\n", "").replace("\t", "").isprintable()
    return code not in (0, 1, 2) or "Traceback" in text or not printed or (code == 2 and lines != 1)


@pytest.mark.wide
@pytest.mark.parametrize("group", range(GROUPS))
def test_any_change_to_a_file_of_a_study(finished, victim, tmp_path, capsys, group):
    choose, faults, codes = random.Random(group), [], []
    for _ in range(MUTATIONS // GROUPS):
        folder = shutil.copytree(finished, tmp_path / "study")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        path = choose.choice([f for f in files if f.name not in ("report.html", "results.csv", ".lock")])
        how = mutate(path, files, choose, victim)
        try:
            code = run(["report", str(folder)])
        except BaseException as error:  # whatever it is, it would have been a traceback
            code = f"{type(error).__name__}: {error}"[:300]
        err, answer = capsys.readouterr().err, attempt(folder, UNFINISHED)
        codes.append(code)
        if fault(code, err) or "\n" in (answer.failure or "") or answer.died:
            faults.append((code, how, path.name, err[-300:], answer))
        shutil.rmtree(folder)
    assert not faults, "\n".join(map(repr, faults))
    assert {0, 2} <= set(codes)


@pytest.mark.wide
@pytest.mark.parametrize("name", DATA)
def test_any_change_to_a_file_of_a_data_set(victim, tmp_path, capsys, name):
    whole = tmp_path / "whole"
    whole.mkdir()
    try:
        DATASETS[name].sample(whole)
    except StudyError as error:
        pytest.skip(str(error))
    choose, faults, codes = random.Random(name), [], []
    for _ in range(15):
        root = shutil.copytree(whole, tmp_path / "data", copy_function=os.link)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        path = choose.choice([f for f in files if f.suffix not in (".jpg", ".wav")] + choose.sample(files, 3))
        content = path.read_bytes()
        path.unlink()  # of the whole it is a hard link
        path.write_bytes(content)
        how = mutate(path, files, choose, victim)
        try:
            code = run(["data", "check", name, "--root", str(root)])
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"[:300]
        err = capsys.readouterr().err
        codes.append(code)
        if fault(code, err):
            faults.append((code, how, path.name, err[-300:]))
        shutil.rmtree(root)
    assert not faults, "\n".join(map(repr, faults))
    assert 2 in codes
