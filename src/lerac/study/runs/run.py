"""Runs on disk: a folder for each, done when `status.json` says so, continued from its checkpoint until then."""

import json
import math
import platform
import struct
import sys
import zipfile
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

import lerac
from lerac.study.errors import StudyError
from lerac.study.files import make_durable, read_json, write_bytes, write_json, write_text
from lerac.study.lock import claim
from lerac.study.plan.study import Run
from lerac.study.statistics.networks import PREDICTIONS
from lerac.study.training.launch import check_agreement, is_main
from lerac.study.training.measured import Measured
from lerac.study.training.training import Training

__all__ = ["RunFolder", "environment", "train_run"]

A_MOMENT = 10.0  # seconds in which an orphan that still has the run, or a process that reads for it, ends


class RunFolder:
    """The files of one run.

    Args:
        study: the folder of the study.
        run: which run; its configuration decides the folder.
    """

    def __init__(self, study: Path, run: Run) -> None:
        self.run = run
        self.path = study / run.folder

    def status(self) -> dict[str, Any] | None:
        """How the run ended: its state is `done` or `diverged`; None while it has not ended."""
        status: dict[str, Any] | None = read_json(self.path / "status.json")
        if status is not None and "state" not in status:
            raise StudyError(f"{self.path / 'status.json'} is damaged; delete it, and the run is trained again")
        return status

    def config(self) -> dict[str, Any] | None:
        """What the run was started with, and where."""
        config: dict[str, Any] | None = read_json(self.path / "config.json")
        return config

    def history(self) -> list[dict[str, Any]]:
        """One entry per finished epoch, oldest first."""
        try:
            lines = (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except UnicodeDecodeError:
            lines = ["?"]
        try:
            return [json.loads(line) for line in lines]
        except ValueError:
            raise StudyError(f"{self.path / 'metrics.jsonl'} is damaged; delete it, it is made again") from None

    def error(self) -> str | None:
        """Why the last attempt failed, or None if it did not."""
        try:
            return (self.path / "error.txt").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def checkpoint(self) -> dict[str, Any] | None:
        """The state after the last finished epoch, or None before that.

        Raises:
            ValueError: if the file is damaged.
        """
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        damaged = f"{path} cannot be read; delete it to train this run from the start"
        try:
            with zipfile.ZipFile(path) as archive:
                whole = archive.testzip() is None  # by its checksums, which torch.load does not compare
            state: dict[str, Any] | None = torch.load(path, map_location="cpu", weights_only=True) if whole else None
        except (zipfile.BadZipFile, UnpicklingError, RuntimeError, EOFError, KeyError, struct.error) as error:
            raise ValueError(damaged) from error
        if state is None:
            raise ValueError(damaged)
        return state

    def write_config(self) -> None:
        """Write what the run is, and the environment in which it was started."""
        write_json(self.path / "config.json", {**asdict(self.run), "environment": environment(self.run.device)})

    def write_epoch(self, training: Training) -> None:
        """Save the checkpoint, then the metrics, which are made from it again if that is cut short."""
        state = training.state_dict()
        write_bytes(self.path / "checkpoint.pt", lambda file: torch.save(state, file))
        self.write_history(training.history)

    def write_history(self, history: list[dict[str, Any]]) -> None:
        """Write the metrics, one JSON object per line and epoch."""
        lines = (json.dumps(entry, allow_nan=False) + "\n" for entry in history)
        write_text(self.path / "metrics.jsonl", "".join(lines), durable=False)  # the checkpoint has them

    def write_predictions(self, training: Training, test: Measured) -> None:
        """Write position in the data set, label and prediction of every test example; see `Measured.kept`."""
        arrays = {"index": training.test_split.index, **test.kept}
        numbers: dict[str, Any] = {name: tensor.numpy() for name, tensor in arrays.items()}
        write_bytes(self.path / PREDICTIONS, lambda file: np.savez_compressed(file, **numbers))

    def write_error(self, text: str) -> None:
        """Write why the attempt failed."""
        write_text(self.path / "error.txt", text)

    def write_status(self, status: dict[str, Any]) -> None:
        """Write the file that ends the run; everything else must be in place."""
        (self.path / "error.txt").unlink(missing_ok=True)
        make_durable(self.path / "metrics.jsonl")
        write_json(self.path / "status.json", status)


class Onlooker(RunFolder):
    """The same files for the other processes that train the run: they only read, the main process writes."""

    def write_config(self) -> None:
        """Leave it."""

    def write_epoch(self, training: Training) -> None:
        """Leave it."""

    def write_history(self, history: list[dict[str, Any]]) -> None:
        """Leave it."""

    def write_predictions(self, training: Training, test: Measured) -> None:
        """Leave it."""

    def write_error(self, text: str) -> None:
        """Leave it."""

    def write_status(self, status: dict[str, Any]) -> None:
        """Leave it."""


def train_run(study: Path, run: Run) -> None:
    """Train a run to its end, from its last checkpoint if there is one; nothing to do if it has ended.

    Where several processes train it together, all of them call this, and the main one writes.

    Raises:
        FolderInUseError: if another process trains it.
        StorageError: if its files cannot be written; calling again continues it.
        StudyError: if a file of it is damaged.
    """
    folder = RunFolder(study, run) if is_main() else Onlooker(study, run)
    if folder.status() is None:
        with claim(folder.path, patience=A_MOMENT) if is_main() else nullcontext():
            _train(folder)


def _train(folder: RunFolder) -> None:
    run = folder.run
    if folder.status() is not None:  # by the process that had it until now
        return
    if folder.config() is None:
        folder.write_config()
    training = Training(run, logs=folder.path)
    if (state := folder.checkpoint()) is not None:
        training.load_state_dict(state)
        folder.write_history(training.history)
    check_agreement(len(training.history), "epochs done")
    while not training.over:
        training.run_epoch()
        folder.write_epoch(training)
    if training.diverged_at is not None:
        folder.write_status({"state": "diverged", **_ending(training)})
        return
    test = training.test()
    if not math.isfinite(test.loss):  # although that of the validation examples was
        folder.write_status({"state": "diverged", **_ending(training)})
        return
    folder.write_predictions(training, test)
    best, metric = training.history[training.best_epoch or 0], training.metric
    measured = {
        "best_epoch": training.best_epoch,
        "validation": {name: best[f"validation_{name}"] for name in metric.measured},
        "test": {metric.name: test.score, **test.others, "loss": test.loss},
    }
    folder.write_status({"state": "done", **measured, **_ending(training)})


def environment(device: str) -> dict[str, str]:
    """Name what equal results depend on: the versions and the kind of machine."""
    kind = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    return {
        "lerac": lerac.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "machine": kind,
    }


def _ending(training: Training) -> dict[str, Any]:
    return {
        "epochs": len(training.history),
        "steps": training.steps,
        "seconds": round(training.seconds, 3),
        "device": training.run.device,
        "environment": environment(training.run.device),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if sys.platform == "linux" and cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
