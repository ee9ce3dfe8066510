"""A study that is killed again and again, at any moment, ends in the same bytes as one that nobody disturbs."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from lerac.study.files import read_json

pytestmark = [pytest.mark.wide, pytest.mark.skipif(os.name != "posix", reason="process groups")]

STUDY = ["compare", "digits", "--regimes", "conventional,lerac,cbs+lerac", "--seeds", "2",
         "--set", "training.epochs=24", "--set", "data.train=90", "--set", "data.validation=40",
         "--set", "data.test=60", "--set", "warmup.k=1", "--set", "lerac.k=1", "--set", "cbs.every=1"]  # fmt: skip
RUNS, EPOCHS = 6, 24


def start(*arguments, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "lerac", *STUDY, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def finish(folder: Path, *arguments: str) -> Path:
    process = start("--out", str(folder), *arguments)
    _, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    return finish(tmp_path_factory.mktemp("studies") / "whole", "--workers", "1")


def epochs(folder: Path) -> dict[str, int]:
    """Finished epochs of every run."""
    files = folder.glob("runs/*/*/metrics.jsonl")
    return {str(file.parent.relative_to(folder)): file.read_text().count("\n") for file in files}


def ended(folder: Path) -> int:
    return len(list(folder.glob("runs/*/*/status.json")))


def written(folder: Path) -> int:
    """When the tables were."""
    tables = folder / "results.csv"
    return tables.stat().st_mtime_ns if tables.exists() else 0


def wait_until(reached, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, f"has ended by itself: {process.stderr.read()}"
        assert time.monotonic() < deadline
        time.sleep(0.001)


def kill_in(phase: str, folder: Path, chance: random.Random) -> str:
    """Start the study, kill it with all its processes in a phase of its life, and say where that left it."""
    before, done, tables = epochs(folder), ended(folder), written(folder)
    left_over = set(folder.rglob(".*.tmp"))  # by kills before this one
    process = start("--out", str(folder), "--workers", chance.choice("12"))
    if phase == "start":
        time.sleep(chance.uniform(0, 2))
    elif phase == "training":
        wait_until(lambda: sum(epochs(folder).values()) > sum(before.values()), process)
        time.sleep(chance.uniform(0, 0.15))
    elif phase == "writing":
        wait_until(lambda: set(folder.glob("runs/*/*/.*.tmp")) - left_over, process)
    elif phase == "last":
        wait_until(lambda: ended(folder) == RUNS, process)
    elif phase == "end":  # the report is being made
        wait_until(lambda: written(folder) > tables, process)
        time.sleep(chance.uniform(0, 0.1))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    after = epochs(folder)
    assert all(after[run] >= count for run, count in before.items())  # nothing is lost
    assert ended(folder) >= done
    if set(folder.rglob(".*.tmp")) - left_over:
        return "in a write"
    if ended(folder) == RUNS:
        return "all ended"
    return "trained" if after != before else "nothing trained"


def same(folder: Path, other: Path) -> bool:
    return (folder / "results.csv").read_bytes() == (other / "results.csv").read_bytes()


def without_times(folder: Path) -> dict[str, list[dict]]:
    found = {}
    for file in folder.glob("runs/*/*/metrics.jsonl"):
        entries = [json.loads(line) for line in file.read_text().splitlines()]
        for entry in entries:
            del entry["seconds"]
        found[str(file.parent.relative_to(folder))] = entries
    return found


# How often in each phase, and how often that must have left a study so.
FEW = {"start": 1, "training": 2, "writing": 1}, {"trained or in a write": 2, "all ended": 1}
MANY = (
    {"start": 6, "training": 6, "writing": 6, "end": 2},
    {"nothing trained": 3, "trained or in a write": 8, "in a write": 1, "all ended": 2},
)


@pytest.mark.timeout(1800)  # a machine with much else to do
@pytest.mark.parametrize(
    ("kills", "least"), [pytest.param(*FEW, id="6"), pytest.param(*MANY, id="22", marks=pytest.mark.long)]
)
def test_killed_again_and_again(tmp_path, undisturbed, kills, least):
    chance, folder = random.Random(0), tmp_path / "killed"
    phases = [phase for phase, times in kills.items() for _ in range(times) if phase != "end"]
    chance.shuffle(phases)
    left = Counter(kill_in(phase, folder, chance) for phase in phases)
    assert ended(folder) < RUNS  # or the kills have come too late
    left += Counter(kill_in(phase, folder, chance) for phase in ("last", "end", *["end"] * kills.get("end", 0)))
    left["trained or in a write"] = left["trained"] + left["in a write"]
    assert all(left[state] >= count for state, count in least.items()), left
    assert written(folder) > 0
    finish(folder, "--workers", "2")
    assert same(folder, undisturbed)
    assert without_times(folder) == without_times(undisturbed)
    assert set(epochs(folder).values()) == {EPOCHS}
    assert len(epochs(folder)) == RUNS
    assert list(folder.rglob("*.tmp")) == []


def test_two_workers_write_the_same_bytes_as_one(tmp_path, undisturbed):
    assert same(finish(tmp_path / "two", "--workers", "2"), undisturbed)


def test_ray_writes_the_same_bytes_and_is_quiet_also_after_its_study_was_killed(tmp_path, undisturbed):
    pytest.importorskip("ray")
    folder = tmp_path / "ray"
    process = start("--out", str(folder), "--engine", "ray")
    wait_until(lambda: sum(epochs(folder).values()) > 0, process)
    process.kill()
    process.communicate()
    process = start("--out", str(folder), "--engine", "ray")
    _, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    assert all(line.startswith("[") and ": validation " in line for line in err.splitlines()), err
    assert same(folder, undisturbed)


def test_ctrl_c_ends_a_study_on_ray(tmp_path):
    pytest.importorskip("ray")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with it ignored
    process = start("--out", str(tmp_path), "--engine", "ray")
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
    process = start("--out", str(folder), "--workers", "2", preexec_fn=refused_files_above_20_kb)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.count("\n") == 1
    assert err.startswith(f"lerac: {folder / 'runs'}")
    assert "checkpoint.pt cannot be written: File too large. Nothing is damaged" in err
    assert same(finish(folder), undisturbed)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a file system")
def test_a_full_disk(tmp_path, undisturbed):
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        for _ in range(2):  # the second time there is no room for anything
            process = start("--out", str(folder), "--workers", "1")
            _, err = process.communicate(timeout=120)
            assert process.returncode == 2
            assert err.splitlines()[-1].startswith(f"lerac: {folder}")
            assert "cannot be written: No space left on device. Nothing is damaged" in err
            assert "Traceback" not in err
            done = ended(folder)
            assert 0 < done < RUNS
            assert all(read_json(file)["state"] == "done" for file in folder.glob("runs/*/*/status.json"))
        subprocess.run(["mount", "-o", "remount,size=100m", folder], check=True)
        assert same(finish(folder, "--workers", "2"), undisturbed)
    finally:
        subprocess.run(["umount", folder], check=True)
