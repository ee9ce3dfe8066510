"""A study that is killed again and again, at any moment, ends in the same bytes as one that nobody disturbs."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
from killing import FEW, MANY, Killable, ended, epochs, same, wait_until, without_times

from lerac.study.files import read_json

pytestmark = [pytest.mark.wide, pytest.mark.skipif(os.name != "posix", reason="process groups")]

STUDY = Killable(
    ["digits", "--regimes", "conventional,lerac,cbs+lerac", "--seeds", "2",
     "--set", "training.epochs=24", "--set", "data.train=90", "--set", "data.validation=40",
     "--set", "data.test=60", "--set", "warmup.k=1", "--set", "lerac.k=1", "--set", "cbs.every=1"],
    runs=6, epochs=24,
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


def test_ray_writes_the_same_bytes_and_is_quiet_also_after_its_study_was_killed(tmp_path, undisturbed):
    pytest.importorskip("ray")
    folder = tmp_path / "ray"
    process = STUDY.start("--out", folder, "--engine", "ray")
    wait_until(lambda: sum(epochs(folder).values()) > 0, process)
    process.kill()
    process.communicate()
    process = STUDY.start("--out", folder, "--engine", "ray")
    _, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    assert all(line.startswith("[") and ": validation " in line for line in err.splitlines()), err
    assert same(folder, undisturbed)


def test_ctrl_c_ends_a_study_on_ray(tmp_path):
    pytest.importorskip("ray")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with it ignored
    process = STUDY.start("--out", tmp_path, "--engine", "ray")
    wait_until(lambda: sum(epochs(tmp_path).values()) > 0, process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("lerac: interrupted; the same command continues where it stopped\n")
    assert "Traceback" not in err
    time.sleep(1)
    before = epochs(tmp_path)
    time.sleep(1)
    assert epochs(tmp_path) == before


def refused_files_above_20_kb() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


def test_a_study_whose_files_are_refused_stops_with_one_line_and_goes_on_later(tmp_path, undisturbed):
    folder = tmp_path / "refused"
    process = STUDY.start("--out", folder, "--workers", "2", preexec_fn=refused_files_above_20_kb)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.count("\n") == 1
    assert err.startswith(f"lerac: {folder / 'runs'}")
    assert "checkpoint.pt cannot be written: File too large. Nothing is damaged" in err
    assert same(STUDY.finish(folder), undisturbed)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a file system")
def test_a_full_disk(tmp_path, undisturbed):
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        for _ in range(2):  # the second time there is no room for anything
            process = STUDY.start("--out", folder, "--workers", "1")
            _, err = process.communicate(timeout=120)
            assert process.returncode == 2
            assert err.splitlines()[-1].startswith(f"lerac: {folder}")
            assert "cannot be written: No space left on device. Nothing is damaged" in err
            assert "Traceback" not in err
            done = ended(folder)
            assert 0 < done < STUDY.runs
            assert all(read_json(file)["state"] == "done" for file in folder.glob("runs/*/*/status.json"))
        subprocess.run(["mount", "-o", "remount,size=100m", folder], check=True)
        assert same(STUDY.finish(folder, "--workers", "2"), undisturbed)
    finally:
        subprocess.run(["umount", folder], check=True)
