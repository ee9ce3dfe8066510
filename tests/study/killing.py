"""A study in processes of its own, killed with all of them in any phase of its life."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# How often a study is killed in each phase, and how often that must have left it so.
FEW = {"start": 1, "training": 2, "writing": 1}, {"trained or in a write": 2, "all ended": 1}
MANY = (
    {"start": 6, "training": 6, "writing": 6, "end": 2},
    {"nothing trained": 3, "trained or in a write": 8, "in a write": 1, "all ended": 2},
)


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


def same(folder: Path, other: Path) -> bool:
    return (folder / "results.csv").read_bytes() == (other / "results.csv").read_bytes()


def without_times(folder: Path) -> dict[str, list[dict]]:
    """The histories of all runs."""
    found = {}
    for file in folder.glob("runs/*/*/metrics.jsonl"):
        entries = [json.loads(line) for line in file.read_text().splitlines()]
        for entry in entries:
            del entry["seconds"]
        found[str(file.parent.relative_to(folder))] = entries
    return found


def wait_until(reached: Callable[[], object], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, f"has ended by itself: {process.stderr.read()}"
        assert time.monotonic() < deadline
        time.sleep(0.001)


@dataclass(frozen=True)
class Killable:
    """What a command is asked for; how many runs and epochs of each that is, and how many of these a kill loses.

    Kills in its start come within `starting` seconds.
    """

    words: Sequence[str]
    runs: int
    epochs: int
    lost: int = 0
    starting: float = 2
    command: str = "compare"

    def start(self, *arguments, **options) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "lerac", self.command, *self.words, *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def finish(self, folder: Path, *arguments: str) -> Path:
        process = self.start("--out", folder, *arguments)
        _, err = process.communicate(timeout=250)
        assert process.returncode == 0, err
        return folder

    def kill_in(self, phase: str, folder: Path, chance: random.Random) -> str:
        """Start the study, kill it with all its processes in a phase of its life, and say where that left it."""
        before, done, tables = epochs(folder), ended(folder), written(folder)
        left_over = set(folder.rglob(".*.tmp"))  # by kills before this one
        process = self.start("--out", folder, "--workers", chance.choice("12"))
        if phase == "start":
            time.sleep(chance.uniform(0, self.starting))
        elif phase == "training":
            wait_until(lambda: sum(epochs(folder).values()) > sum(before.values()), process)
            time.sleep(chance.uniform(0, 0.15))
        elif phase == "writing":
            wait_until(lambda: set(folder.glob("runs/*/*/.*.tmp")) - left_over, process)
        elif phase == "last":
            wait_until(lambda: ended(folder) == self.runs, process)
        elif phase == "end":  # the report is being made
            wait_until(lambda: written(folder) > tables, process)
            time.sleep(chance.uniform(0, 0.1))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        after = epochs(folder)
        assert all(after.get(run, 0) >= count - self.lost for run, count in before.items())
        assert ended(folder) >= done
        if set(folder.rglob(".*.tmp")) - left_over:
            return "in a write"
        if ended(folder) == self.runs:
            return "all ended"
        return "trained" if after != before else "nothing trained"

    def kill_again_and_again(self, folder: Path, kills: Mapping[str, int], least: Mapping[str, int]) -> None:
        """Kill the study in all these phases, look whether that has left it often enough so, and let it end."""
        chance = random.Random(0)
        phases = [phase for phase, times in kills.items() for _ in range(times) if phase != "end"]
        chance.shuffle(phases)
        left = Counter(self.kill_in(phase, folder, chance) for phase in phases)
        assert ended(folder) < self.runs  # or the kills have come too late
        left += Counter(
            self.kill_in(phase, folder, chance) for phase in ("last", "end", *["end"] * kills.get("end", 0))
        )
        left["trained or in a write"] = left["trained"] + left["in a write"]
        assert all(left[state] >= count for state, count in least.items()), left
        assert written(folder) > 0
        self.finish(folder, "--workers", "2")
        assert [*epochs(folder).values()] == [self.epochs] * self.runs
        assert list(folder.rglob("*.tmp")) == []
