"""Accelerate's trackers, such as TensorBoard: they watch a run and are no part of it."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.tracking import (  # type: ignore[import-untyped]
    LOGGER_TYPE_TO_CLASS,
    get_available_trackers,
)

from lerac.study.errors import StudyError
from lerac.study.plan.study import Run
from lerac.study.recipes.sections import flat

__all__ = ["Trackers", "set_trackers", "tracker_names"]

VARIABLE = "LERAC_TRACKERS"
PROJECT = "lerac"


def set_trackers(names: Sequence[str]) -> None:
    """Say to this process and its workers which trackers to use, in the environment; none named: leave it as it is.

    It is no part of a study: with any tracker, or none, the results are the same.

    Raises:
        StudyError: if Accelerate has no such tracker, or its package is not installed.
    """
    if names:
        os.environ[VARIABLE] = ",".join(dict.fromkeys(names))
    for name in tracker_names():
        if name not in LOGGER_TYPE_TO_CLASS:
            raise StudyError(f"--tracker must be one of {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}, got {name!r}")
        if name not in {str(known) for known in get_available_trackers()}:
            raise StudyError(f"--tracker {name}: it is not installed; pip install {name.replace('_', '-')}")


def tracker_names() -> list[str]:
    """Give the trackers that were asked for, as Accelerate names them."""
    return [name for name in os.environ.get(VARIABLE, "").split(",") if name]


class Trackers:
    """The trackers of one run. Steps are optimizer steps; a continued run may repeat the values of its last epoch.

    Args:
        accelerator: of the run.
        run: whose configuration they are told.
    """

    def __init__(self, accelerator: Accelerator, run: Run) -> None:
        self._accelerator = accelerator
        if self.active:
            known = {key: value for key, value in flat({**run.configuration(), "seed": run.seed}) if value is not None}
            plain = (bool, int, float, str)  # trackers take nothing else
            config = {key: value if isinstance(value, plain) else str(value) for key, value in known.items()}
            accelerator.init_trackers(PROJECT, config=config)

    @property
    def active(self) -> bool:
        """Whether there is any."""
        return bool(self._accelerator.log_with)

    def rates(self, step: int, rates: Mapping[str, float]) -> None:
        """Tell the learning rates that a step will use, by layer."""
        self._log({f"lr/{layer}": rate for layer, rate in rates.items()}, step)

    def losses(self, losses: Iterable[tuple[int, float]]) -> None:
        """Tell the training loss of each optimizer step."""
        for step, loss in losses:
            self._log({"step/train_loss": loss}, step)

    def epoch(self, entry: Mapping[str, Any]) -> None:
        """Tell an entry of the history: losses, scores and σ."""
        values = {f"epoch/{name}": value for name, value in entry.items() if name not in ("steps", "seconds")}
        self._log(values, entry["steps"])

    def test(self, step: int, values: Mapping[str, float]) -> None:
        """Tell what was measured at the end, and finish."""
        self._log({f"test/{name}": value for name, value in values.items()}, step)
        self.finish()

    def finish(self) -> None:
        """Write what is left."""
        for tracker in self._accelerator.trackers:
            tracker.finish()
        self._accelerator.trackers = []

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        if self.active:
            self._accelerator.log(dict(values), step=step)
