"""What a study needs to know of a training that it runs, written by the training itself: `LERAC_FOLDER/attach.json`.

A study tells a training by three environment variables what it is a trial of. The file has, for every optimizer that
was attached, what pairing is checked by (hashes of the initial weights and of the first batch, optimizer steps), the
layers, and the learning rate of the first param group at its changes.
"""

import atexit
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor

__all__ = ["FILE", "FOLDER", "REGIME", "SEED", "Entry", "begin", "finish", "resume", "trial_folder", "write"]

REGIME, SEED, FOLDER = "LERAC_REGIME", "LERAC_SEED", "LERAC_FOLDER"
FILE = "attach.json"
VERSION = 1
_MOST = 500  # changes of a rate that are kept


@dataclass
class Entry:
    """What is known of one optimizer.

    Args:
        regime: with nothing left open.
        seed: of the trial.
        epoch_steps: optimizer steps that an epoch is said to have.
        epochs: that the training is said to have; None if nobody has said so.
        weights: hash of the initial ones; None if it could not be computed.
        batch: hash of the first one in training; None if none was seen.
        steps: optimizer steps counted.
        resumed: steps that a checkpoint brought along.
        ended: whether the training went on to its end, or at least to the end of its process.
        scaled: whether a GradScaler takes the steps, which leaves some out.
        k: steps of the curriculum, 0 without one, None for one that is as long as training.
        finished: whether curriculum and smoothing are over, but for one that is as long as training.
        curve: the name of the rule by which rates grow, if it has one.
        layers: name, depth and r_j.
        lr: step and learning rate of the first param group, as user and schedulers have set it, at its changes.
        sigma: step and σ at its changes.
    """

    regime: str
    seed: int
    epoch_steps: int
    epochs: float | None
    weights: str | None = None
    batch: str | None = None
    steps: int = 0
    resumed: int = 0
    ended: bool = False
    scaled: bool = False
    k: int | None = 0
    finished: bool = False
    curve: str | None = None
    layers: list[tuple[str, int, float]] = field(default_factory=list)
    lr: list[tuple[int, float]] = field(default_factory=list)
    sigma: list[tuple[int, float]] = field(default_factory=list)

    _apart = 1  # steps from one change to the next that is kept; no field, and so not written

    def note_rate(self, step: int, rate: Any) -> None:
        """Remember the rate that a step is about to use, if it is another than before and can be read at no cost."""
        if isinstance(rate, Tensor) and rate.device.type != "cpu":
            return
        number = float(rate)
        if not self.lr or (self.lr[-1][1] != number and step - self.lr[-1][0] >= self._apart):
            self.lr.append((step, number))
            if len(self.lr) > _MOST:
                self.lr, self._apart = self.lr[::2], 2 * self._apart


_entries: list[tuple[Entry, Callable[[Entry], None]]] = []
_process = 0  # that has the entries; not one that was forked from it
_before: dict[int, dict[str, Any]] = {}  # what the attempt before this one has left, by the number of the optimizer


def trial_folder() -> Path | None:
    """Give the folder that this process is to write to: of several ranks only the first has one."""
    if not (folder := os.environ.get(FOLDER)):
        return None
    distributed = dist.is_available() and dist.is_initialized()
    rank = dist.get_rank() if distributed else int(os.environ.get("RANK") or 0)
    return Path(folder) if rank == 0 else None


def begin(entry: Entry, update: Callable[[Entry], None]) -> None:
    """Keep an entry up to date from here on, and write it at the end of the process or when `finish` is called."""
    global _process
    if not _entries:
        _process = os.getpid()
        _before.clear()
        _before.update(enumerate(_read()))
        atexit.register(finish)
    _entries.append((entry, update))
    if len(_entries) - 1 not in _before:
        write()


def resume(entry: Entry, steps: int) -> None:
    """Note that a checkpoint has brought steps along: weights and batch are then those of the attempt before."""
    earlier = _before.get(next((i for i, (one, _) in enumerate(_entries) if one is entry), -1), {})
    entry.resumed = steps
    entry.weights, entry.batch = earlier.get("weights"), earlier.get("batch")
    write()


def write(*, ended: bool = False) -> None:
    """Write the file, whole or not at all."""
    if not _entries or os.getpid() != _process or (folder := trial_folder()) is None:
        return
    for entry, update in _entries:
        update(entry)
        entry.ended = ended
    first = _entries[0][0]
    content = {"version": VERSION, "regime": first.regime, "seed": first.seed}
    attached = [{k: v for k, v in asdict(entry).items() if k not in content} for entry, _ in _entries]
    path = folder / FILE
    temporary = path.with_name(f".{FILE}.{os.getpid()}")
    temporary.write_text(json.dumps({**content, "attached": attached}) + "\n", encoding="utf-8")
    temporary.replace(path)


def finish() -> None:
    """Write the file for the last time: the training is over."""
    try:
        write(ended=True)
    finally:
        _entries.clear()
        atexit.unregister(finish)


def _read() -> list[dict[str, Any]]:
    folder = trial_folder()
    try:
        return list(json.loads((folder / FILE).read_text(encoding="utf-8"))["attached"]) if folder else []
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is not ours
        return []
