"""Command lines that nobody should type end in a result or one line, with a known exit code, and touch nothing else."""

import hashlib
import itertools
import random
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
from studies import make_study, train_here

from lerac.cli import run
from lerac.study.data import DATASETS
from lerac.study.engines import session
from lerac.study.engines.protocol import Failure
from lerac.study.errors import StudyError
from lerac.study.recipes.recipe import load_recipe
from lerac.study.recipes.sections import flat

CALLS, GROUPS = 720, 6
STRANGE = [
    *("", " ", "-", "--", "---", "=", "a=", "=a", "none", "true", "nan", "inf", "-inf", "1e308", "1e999", "-1"),
    *("0", "1e-320"),
    *("9" * 5000, "1" * 19, "0.5", "3", "a" * 10_000, "\x1b[2J", "\x00", "\r", "\n\n", "\udcff.toml", "\u202e"),
    *("é", "'", '"'),
    *("=1+1", "@SUM(A1)", "[" * 900, "[1" * 450, "{a=" * 300, "lerac(" * 50, ",,,", "lerac(k=)"),
    *("lerac(k=1e308)", "()", "k"),
    *("/dev/null", "/dev/full", "/proc/self/mem", "/", ".", "..", "study", "study/study.json", "bad.toml"),
    *("deep.toml", "empty"),
    *("digits", "lenet/digits", "resnet18/cifar10", "yolov5/voc", "conventional", "cuda", "meta", "cpu:99"),
    *("ray", "7-7", "0-99999"),
    *("module:function", "os:system", "timm:nope", "hf:nope", "torchvision:nope", "json:dumps", "builtins:exit"),
]  # fmt: skip
TEMPLATES = [
    "compare digits --plan",
    "compare digits --regimes lerac(k=3),cbs --seeds 2 --plan --json",
    "compare digits --regimes conventional,lerac --seeds 2 --out study",
    "compare digits --baseline conventional --claim 0.5 --power 0.8 --seeds 3 --plan",
    "compare resnet18/cifar10 --source official --data-root data --plan",
    "train digits --regime lerac --seed 1 --out other",
    "report study",
    "report study --out told --baseline lerac --json",
    "report study empty",
    "layers lenet --json",
    "layers timm:resnet10t",
    "schedule digits --steps-per-epoch 10 --json",
    "schedule resnet18/cifar10 --source official",
    "schedule digits --plot a.svg",
    "snr lenet --seeds 1 --images 10 --weight-noise 0.1",
    "recipes",
    "recipes --json",
    "recipes show digits",
    "recipes show bad.toml",
    "data check cifar10 --root data",
    "data sample rte --root new",
    "data split cifar10 --root data --train 5 --validation 3 --test 3 --sample",
    "figure 1 digits --out figures",
    "figure 3 digits --seeds 1 --out figures",
]
OPTIONS = ["--set", "--regimes", "--seeds", "--out", "--source", "--device", "--precision", "--workers", "--engine",
           "--json",
           "--plan", "--data-root", "--weights", "--baseline", "--claim", "--power", "--tracker",
           "--help", "--nope"]  # fmt: skip
TO_FILES = {"--out", "--root", "--plot", "--csv", "--study"}
UNPRINTABLE = re.compile(r"[^\n\t -~\u00a0-\U0010ffff]|[\u202a-\u202e\ud800-\udfff]")


def tree(folder: Path) -> dict[str, str]:
    """Everything there, with what is in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "file"
        found[str(path)] = kind if kind != "file" else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def untrained(study, runs, *, workers, progress):
    for one in runs:
        progress.started(one)
        progress.ended(one, "not here")
    return [Failure(one, "not here") for one in runs]


def strange_call(choose: random.Random) -> list[str]:
    """A template with a few of its words changed."""
    words = choose.choice(TEMPLATES).split()
    for _ in range(choose.randint(1, 3)):
        how, at = choose.random(), choose.randrange(len(words) + 1)
        if how < 0.35:
            keys = [
                *dict(flat(load_recipe("digits").model_dump())),
                "network.",
                ".",
                "a" + ".a" * choose.choice([1, 900]),
            ]
            words += ["--set", f"{choose.choice(keys)}={choose.choice(STRANGE)}"]
        elif how < 0.6 and at < len(words):
            words[at] = choose.choice(STRANGE)
        elif how < 0.8:
            words[at:at] = [choose.choice(OPTIONS), choose.choice(STRANGE)]
        elif at < len(words):
            del words[at]
    for option, value in itertools.pairwise(words):  # where we may write is part of the request
        if option in TO_FILES and (value.startswith(("/", "..")) or ".." in value):
            words[words.index(option) + 1] = "allowed"
    if words and words[0] == "report":
        words = [word for word in words if word not in ("/", "..", "/proc/self/mem", "/dev/null", "/dev/full")]
    return words


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return train_here(tmp_path_factory.mktemp("finished") / "study", make_study("conventional", "lerac", seeds=(0, 1)))


@pytest.mark.wide
@pytest.mark.parametrize("group", range(GROUPS))
def test_no_command_line_ends_in_a_traceback_or_writes_elsewhere(finished, tmp_path, monkeypatch, capsys, group):
    here, outside = tmp_path / "here", tmp_path / "outside"
    for folder in (here / "empty", here / "data", outside / "home"):
        folder.mkdir(parents=True)
    (outside / "precious").write_text("precious")

    shutil.copytree(finished, here / "study")
    DATASETS["cifar10"].sample(here / "data")
    (here / "bad.toml").write_bytes(b"model = \xff")
    (here / "deep.toml").write_text("a = " + "[" * 5000)
    monkeypatch.chdir(here)
    places = {"HOME": outside / "home", "XDG_CACHE_HOME": here / "cache", "MPLCONFIGDIR": here / "matplotlib"}
    for name, value in {**places, "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(session, "engine_of", lambda name: untrained)

    def refuse(*_, **__):
        raise StudyError("not here")

    monkeypatch.setattr("lerac.study.snr.Training", refuse)
    before, codes, faults, choose = tree(outside), [], [], random.Random(group)
    for _ in range(CALLS // GROUPS):
        words = strange_call(choose)
        try:
            code = run(words)
        except BaseException as error:  # whatever it is, it would have been a traceback
            code = f"{type(error).__name__}: {error}"[:300]
        out, err = capsys.readouterr()
        codes.append(code)
        one_line = code != 2 or "Usage:" in err or re.fullmatch(r"lerac: [^\n]+\n", err)
        if code not in (0, 1, 2) or "Traceback" in out + err or UNPRINTABLE.search(out + err) or not one_line:
            faults.append((code, [word[:60] for word in words], err[-300:]))
    assert not faults, "\n".join(map(repr, faults))
    assert tree(outside) == before
    assert {0, 2} <= set(codes)
