"""Runs on disk: a folder for each, done when `status.json` says so, continued from its checkpoint until then."""

import json
import math
import platform
import sys
from contextlib import nullcontext
from dataclasses import asdict
from functools import singledispatch
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

import lerac
from lerac.study.errors import StudyError
from lerac.study.files import (
    claim,
    folder_in,
    make_durable,
    make_folder,
    parse_json,
    read_bytes,
    read_json,
    write_bytes,
    write_json,
    write_text,
)
from lerac.study.own.saved import read_state, write_state
from lerac.study.plan.experiment import PlannedRun
from lerac.study.plan.study import Run
from lerac.study.runs.origin import origin_of, read_origin, require_same_origin
from lerac.study.runs.schema import checked_checkpoint, checked_config, checked_history, checked_status
from lerac.study.statistics.networks import PREDICTIONS
from lerac.study.statistics.outcomes import Origin
from lerac.study.training.launch import check_agreement, is_main
from lerac.study.training.measured import Measured
from lerac.study.training.training import Training

__all__ = ["RunFolder", "environment", "train", "train_run"]

A_MOMENT = 10.0  # seconds in which an orphan that still has the run, or a process that reads for it, ends


class RunFolder:
    """The files of one run.

    Args:
        study: the folder of the study.
        run: which run; its configuration decides the folder.
    """

    def __init__(self, study: Path, run: PlannedRun) -> None:
        self.run = run
        self.path = folder_in(study, run.folder)

    def status(self) -> dict[str, Any] | None:
        """How the run ended: its state is `done` or `diverged`; None while it has not ended."""
        path = self.path / "status.json"
        return None if (status := read_json(path)) is None else checked_status(path, status, self.run)

    def config(self) -> dict[str, Any] | None:
        """What the run was started with, and where."""
        path = self.path / "config.json"
        return None if (config := read_json(path)) is None else checked_config(path, config, self.run)

    def history(self) -> list[dict[str, Any]]:
        """One entry per finished epoch, oldest first."""
        path = self.path / "metrics.jsonl"
        content = read_bytes(path) or b""
        try:
            entries = [parse_json(line) for line in content.splitlines()]
        except ValueError as error:
            raise StudyError(f"{path} is damaged ({error}); delete it, it is made again") from None
        return checked_history(path, entries, self.run)

    def error(self) -> str | None:
        """Why the last attempt failed, or None if it did not."""
        content = read_bytes(self.path / "error.txt")
        return None if content is None else content.decode(errors="replace")

    def checkpoint(self) -> dict[str, Any] | None:
        """The state after the last finished epoch, or None before that.

        Raises:
            StudyError: if the file is damaged, or of another run.
        """
        return read_state(self.path / "checkpoint.pt", self.run.folder)

    def write_config(self, origin: Origin | None = None) -> None:
        """Write what the run is, what it is trained on, and the environment in which it was started."""
        make_folder(self.path)
        trained_on = {"trained_on": asdict(origin)} if origin else {}
        write_json(
            self.path / "config.json",
            {**self._described(), **trained_on, "environment": environment(self.run.device)},
        )

    def _described(self) -> dict[str, Any]:
        fields = asdict(cast(Any, self.run))
        if not fields.get("where", True):  # of a recipe that needs no folder
            del fields["where"]
        return fields

    def write_epoch(self, training: Training) -> None:
        """Save the checkpoint, then the metrics, which are made from it again if that is cut short."""
        self.write_checkpoint(training.state_dict())
        self.write_history(training.history)

    def write_checkpoint(self, state: dict[str, Any]) -> None:
        """Write the state from which to continue: tensors and plain types."""
        write_state(self.path / "checkpoint.pt", state, self.run.folder)

    def write_history(self, history: list[dict[str, Any]]) -> None:
        """Write the metrics, one JSON object per line and epoch."""
        lines = (json.dumps(entry, allow_nan=False) + "\n" for entry in history)
        write_text(self.path / "metrics.jsonl", "".join(lines), durable=False)  # the checkpoint has them

    def write_predictions(self, numbers: dict[str, Any]) -> None:
        """Write arrays by name: `index`, `label` and `predicted` of every test example, or what else there is of it."""
        write_bytes(self.path / PREDICTIONS, lambda file: np.savez_compressed(file, **numbers))

    def write_error(self, text: str) -> None:
        """Write why the attempt failed."""
        write_text(self.path / "error.txt", text)

    def write_status(self, status: dict[str, Any]) -> None:
        """Write the file that ends the run; everything else must be in place.

        Args:
            status: `state`, which is `done` or `diverged`; of `done`, what was measured on `validation` and `test`, by
                name; and where they are known `epochs`, `steps` and `seconds`. Device and environment are added.
        """
        (self.path / "error.txt").unlink(missing_ok=True)
        if (self.path / "metrics.jsonl").exists():
            make_durable(self.path / "metrics.jsonl")
        device, path = self.run.device, self.path / "status.json"
        write_json(
            path, checked_status(path, {**status, "device": device, "environment": environment(device)}, self.run)
        )


def train_run(study: Path, run: PlannedRun) -> None:
    """Train a run to its end, from its last checkpoint if there is one; nothing to do if it has ended.

    Where several processes train it together, all of them call this, and the main one writes.

    Raises:
        FolderInUseError: if another process trains it.
        StorageError: if its files cannot be written; calling again continues it.
        StudyError: if a file of it is damaged, or it was begun with other data.
    """
    files = RunFolder(study, run)
    if files.status() is not None:
        return
    with claim(files.path, patience=A_MOMENT) if is_main() else nullcontext():
        if files.status() is not None:  # by the process that had it until now
            return
        if is_main():
            _begin(run, files)
        train(run, files)


def _begin(run: PlannedRun, files: RunFolder) -> None:
    """Write down what the run is, or see that it goes on with the data that it was begun with."""
    now, config = origin_of(run), files.config()
    if config is None:
        files.write_config(now)
    else:
        require_same_origin(str(run), read_origin(config, files.path / "config.json"), now)


@singledispatch
def train(run: Any, files: RunFolder) -> None:
    """Train a run to its end, and leave in its folder what came of it; the last is `RunFolder.write_status`.

    Every kind of run registers how that is done; see `lerac.study.plan.experiment`.
    """
    raise TypeError(f"nobody has registered how a {type(run).__name__} is trained")


@train.register
def _train_recipe(run: Run, files: RunFolder) -> None:
    training, main = Training(run, logs=files.path), is_main()
    if (state := files.checkpoint()) is not None:
        _continue(training, state, files.path / "checkpoint.pt")
        if main:
            files.write_history(training.history)
    check_agreement(len(training.history), "epochs done")
    while not training.over:
        training.run_epoch()
        if main:
            files.write_epoch(training)
    test = _tested(training)
    if not main:
        return
    how_long = {"epochs": len(training.history), "steps": training.steps, "seconds": round(training.seconds, 3)}
    if training.diverged_at is not None or (test and not math.isfinite(test.loss)):  # only that of the test examples
        files.write_status({"state": "diverged", **how_long})
        return
    best, metric = training.history[training.best_epoch or 0], training.metric
    measured: dict[str, Any] = {
        "best_epoch": training.best_epoch,
        "validation": {name: best[f"validation_{name}"] for name in metric.measured},
    }
    if test:
        arrays = {"index": training.test_split.index, **test.kept}
        files.write_predictions({name: tensor.numpy() for name, tensor in arrays.items()})
        measured["test"] = {metric.name: test.score, **test.others, "loss": test.loss}
    files.write_status({"state": "done", **measured, **how_long})


def _tested(training: Training) -> Measured | None:
    """Measure on the test split, as the last thing of a training that has not diverged; never while tuning."""
    return None if training.diverged_at is not None or training.run.tuning else training.test()


def _continue(training: Training, state: dict[str, Any], path: Path) -> None:
    checked_checkpoint(path, state, training.run)
    try:
        if state["best_epoch"] is not None:
            training.network.load_state_dict(state["best_weights"])  # now, as they are used at the end only
        training.load_state_dict(state)
    except Exception as error:  # its tensors are of something else
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise StudyError(
            f"{path} is of another training ({reason}); delete it to train this run from the start"
        ) from error


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


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if sys.platform == "linux" and cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
