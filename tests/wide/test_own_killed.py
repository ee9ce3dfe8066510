"""Somebody's own function, killed at any moment, on any engine and any number of workers, ends in the same bytes."""

import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
from killing import FEW, MANY, Killable, epochs, same, wait_until, without_times
from processes import gone, group

pytestmark = [pytest.mark.wide, pytest.mark.skipif(os.name != "posix", reason="process groups")]

FILE = Path(__file__).parents[1] / "study/own/functions.py"
# An epoch that was reported, and not saved yet, is trained again.
STUDY = Killable(
    [f"{FILE}:saving", "--regimes", "conventional,lerac(k=1),warmup(k=2)", "--seeds", "2",
     "--set", "epochs=24", "--set", "pause=0.02"],
    runs=6, epochs=24, lost=1, starting=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    return STUDY.finish(tmp_path_factory.mktemp("studies") / "whole", "--workers", "1")


@pytest.mark.timeout(1800)  # a machine with much else to do
@pytest.mark.parametrize(
    ("kills", "least"), [pytest.param(*FEW, id="6"), pytest.param(*MANY, id="22", marks=pytest.mark.long)]
)
def test_killed_again_and_again(tmp_path, undisturbed, kills, least):
    folder = tmp_path / "killed"
    STUDY.kill_again_and_again(folder, kills, least)
    assert same(folder, undisturbed)
    assert without_times(folder) == without_times(undisturbed)


def test_two_workers_write_the_same_bytes_as_one(tmp_path, undisturbed):
    assert same(STUDY.finish(tmp_path / "two", "--workers", "2"), undisturbed)


def test_ray_writes_the_same_bytes_also_after_its_study_was_killed(tmp_path, undisturbed):
    pytest.importorskip("ray")
    folder = tmp_path / "ray"
    process = STUDY.start("--out", folder, "--engine", "ray")
    wait_until(lambda: sum(epochs(folder).values()) > 0, process)
    process.kill()
    process.communicate()
    assert same(STUDY.finish(folder, "--engine", "ray"), undisturbed)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
def test_ctrl_c_ends_all_processes_and_the_same_command_continues(tmp_path, undisturbed):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with it ignored
    process = STUDY.start("--out", tmp_path, "--workers", "2")
    wait_until(lambda: sum(epochs(tmp_path).values()) > 0, process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("lerac: interrupted; the same command continues where it stopped\n")
    assert "Traceback" not in err
    assert gone(*group(process.pid))
    assert same(STUDY.finish(tmp_path), undisturbed)
