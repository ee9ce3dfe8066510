"""A tuning that is killed again and again chooses what one chooses that nobody disturbs, byte for byte."""

import json
import os
import sys
from pathlib import Path

import pytest

from lerac.cli import run

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
from killing import FEW, Killable, same, without_times

pytestmark = [pytest.mark.wide, pytest.mark.skipif(os.name != "posix", reason="process groups")]

SETS = ["--set", "training.epochs=24", "--set", "data.train=90", "--set", "data.validation=40", "--set", "data.test=60"]
TUNING = Killable(
    ["digits", "--regimes", "conventional,lerac", "--configs", "2", "--seeds", "20,21", *SETS],
    runs=8, epochs=24, command="tune",
)  # fmt: skip
TEN = {"start": 2, "training": 4, "writing": 2, "end": 1}, {"trained or in a write": 3, "all ended": 1}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    return TUNING.finish(tmp_path_factory.mktemp("tunings") / "whole", "--workers", "1")


def chosen(folder: Path, capsys) -> list:
    capsys.readouterr()
    assert run(["report", str(folder), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["regimes"]


@pytest.mark.timeout(1800)  # a machine with much else to do
@pytest.mark.parametrize(
    ("kills", "least"), [pytest.param(*FEW, id="6"), pytest.param(*TEN, id="11", marks=pytest.mark.long)]
)
def test_a_tuning_killed_again_and_again(tmp_path, undisturbed, capsys, kills, least):
    folder = tmp_path / "killed"
    TUNING.kill_again_and_again(folder, kills, least)
    assert same(folder, undisturbed)
    assert (folder / "study.json").read_bytes() == (undisturbed / "study.json").read_bytes()
    assert without_times(folder) == without_times(undisturbed)
    assert chosen(folder, capsys) == chosen(undisturbed, capsys)
