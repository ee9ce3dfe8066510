"""What a function `train(trial)` is handed."""

import json
import math
import random
import re
import time
from collections.abc import Iterator
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import lerac
from lerac.arguments import check_epochs
from lerac.study.errors import StudyError
from lerac.study.files import write_text
from lerac.study.own.returned import number
from lerac.study.own.saved import check_plain, read_state, write_state
from lerac.study.plan.own import OwnRun

__all__ = ["FOLDER", "Settings", "Trial", "cuda_is_used"]

FOLDER = "files"  # in a run's own folder, for what belongs to the training
CALLBACKS = ("lightning", "transformers")
_TEST = re.compile(r"(?<![a-z])test(?![a-z])")


class Settings(dict[str, Any]):
    """A dict that notes which of its values have been looked at."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(deepcopy(values))
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Give a value, or the default if there is none."""
        self.read.add(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        """Take a value out."""
        self.read.add(key)
        return super().pop(key, *default)

    def __iter__(self) -> Iterator[str]:  # so that dict(…) and ** ask for every value by its key
        return super().__iter__()

    def items(self) -> Any:
        """Give keys and values."""
        self.read.update(super().keys())
        return super().items()

    def values(self) -> Any:
        """Give the values."""
        self.read.update(super().keys())
        return super().values()

    def copy(self) -> dict[str, Any]:
        """Give a dict of the same values."""
        return dict(self.items())


class Trial:
    """One training of a comparison: which seed and regime, and what there is for it.

    Args:
        run: which.
        path: its folder in the study.

    Attributes:
        seed: from which Python, NumPy and torch have been seeded.
        regime: canonical text.
        device: where to train, as torch names it.
        settings: that were asked for; the `lr` of a regime is among them.
        folder: absolute and there, for files of the training.
        loaded: whether `load` has given a state.
        promised: the epochs that `callback` was told, None if it was not; empty where `attach` is told.
    """

    def __init__(self, run: OwnRun, path: Path) -> None:
        self.seed, self.regime, self.device = run.seed, run.regime, run.device
        self.settings = Settings(run.settings)
        self.folder = (path / FOLDER).absolute()
        self.loaded = False
        self.promised: tuple[float | None, ...] = ()
        self._whose, self._tuning = run.folder, run.tuning
        self._history_file, self._state_file = path / "metrics.jsonl", path / "checkpoint.pt"
        self._history: list[dict[str, Any]] = []
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """That it has taken so far, with those before a state that was loaded."""
        return round(time.perf_counter() - self._began, 3)

    def attach(
        self,
        optimizer: torch.optim.Optimizer,
        model: nn.Module,
        *,
        epoch_steps: int,
        epochs: float | None = None,
        layers: Any = None,
    ) -> "lerac.Attached":
        """Train by the regime of this trial from here on: see `lerac.attach`."""
        return lerac.attach(optimizer, model, epoch_steps=epoch_steps, epochs=epochs, layers=layers)

    def callback(self, framework: str, *, epochs: float | None = None, **options: Any) -> Any:
        """Give the callback that attaches the regime of this trial in a framework which makes the optimizer itself.

        Args:
            framework: `lightning` or `transformers`.
            epochs: that the whole training is to have; a run in which it has others is refused at its end, as with
                `attach`. None: whatever the trainer comes to, which may stop early.
            options: of `lerac.integrations`' callback, such as `layers`.

        Raises:
            TypeError: if the epochs are no number.
            ValueError: if there is no callback for that framework, or the epochs are not above 0.
        """
        if framework not in CALLBACKS:
            raise ValueError(f"framework must be one of {', '.join(CALLBACKS)}, got {framework!r}")
        self.promised = (check_epochs(epochs),)
        callback = import_module(f"lerac.integrations.{framework}").LeRaCCallback
        return callback(regime=self.regime, **options)

    def report(self, epoch: int, **metrics: Any) -> None:
        """Tell what an epoch came to, for curves and progress; values that are not finite are left out.

        So is, while tuning, what is called `test`, `test_…` or the like: nobody is to choose by it.

        Args:
            epoch: counted from 0. Of an epoch that is told again, and of those after it, only the last word counts.
            metrics: numbers by name.

        Raises:
            TypeError: if the epoch is no integer, or a value no number.
            ValueError: if the epoch is below 0, or a name is `epoch` or `seconds`.
        """
        if isinstance(epoch, bool) or not isinstance(epoch, int):
            raise TypeError(f"report(epoch, …) takes an integer, got {epoch!r}")
        if epoch < 0:
            raise ValueError(f"report(epoch, …) counts from 0, got {epoch}")
        entry: dict[str, Any] = {"epoch": epoch}
        for name, value in metrics.items():
            if self._tuning and _TEST.search(name.lower()):
                continue
            if name in ("seconds", "steps"):
                raise ValueError(f"report(…, {name}=…): {name} are counted already; choose another name")
            if (read := number(value)) is None:
                raise TypeError(f"report(…, {name}=…) takes a number, got {value!r}")
            if math.isfinite(read):
                entry[name] = read
        entry["seconds"] = self.seconds
        self._history = [*(one for one in self._history if one["epoch"] < epoch), entry]
        lines = (json.dumps(one, allow_nan=False) + "\n" for one in self._history)
        write_text(self._history_file, "".join(lines), durable=False)

    def save(self, state: Any) -> None:
        """Keep a state from which to continue, in one step: the one before is there until this one is.

        The states of the global random generators of Python, NumPy and torch are kept with it.

        Args:
            state: tensors and plain types, in dicts, lists, tuples and sets.

        Raises:
            TypeError: if it has anything else; names it.
        """
        check_plain(state)
        write_state(self._state_file, {"state": state, "random": _random(), "history": self._history}, self._whose)

    def load(self) -> Any:
        """Give the state that was saved last, on the CPU, or None if there is none: then the training begins.

        The global random generators are put where they were. Call it when the model has been made, right before the
        first epoch.
        """
        if (saved := read_state(self._state_file, self._whose)) is None:
            return None
        if missing := {"state", "random", "history"} - saved.keys():
            raise StudyError(
                f"{self._state_file} lacks {', '.join(sorted(missing))}; delete it to train this run from the start"
            )
        _set_random(saved["random"])
        self._history = saved["history"]
        self._began = time.perf_counter() - (self._history[-1]["seconds"] if self._history else 0)
        self.loaded = True
        return saved["state"]


def cuda_is_used() -> bool:
    """Whether this process has started CUDA."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _random() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()  # the global one is what people use
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if cuda_is_used() else [],
    }


def _set_random(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
