"""Watches that the runs of a seed are paired, where somebody insists on it."""

from collections.abc import Sequence
from pathlib import Path

from lerac.study.engines.protocol import Progress
from lerac.study.errors import StudyError
from lerac.study.plan.experiment import PlannedRun
from lerac.study.runs.outcomes import collect
from lerac.study.statistics.pairing.reasons import why_not_paired
from lerac.study.statistics.summary import BASELINE

__all__ = ["Pairing"]


class Pairing:
    """Tells another watcher what happens, and ends the study with the first runs that are not paired.

    Args:
        watcher: is told first.
        study: the folder of the study.
        runs: all of the study; those that have ended are looked at now.

    Raises:
        StudyError: naming what differs.
    """

    def __init__(self, watcher: Progress, study: Path, runs: Sequence[PlannedRun]) -> None:
        self._watcher, self._study, self._runs = watcher, study, runs
        self.started, self.tick = watcher.started, watcher.tick
        for run in {(run.experiment, run.seed): run for run in runs}.values():
            self._check(run)

    def ended(self, run: PlannedRun, failure: str | None) -> None:
        """Look at the runs of its seed."""
        self._watcher.ended(run, failure)
        self._check(run)

    def _check(self, run: PlannedRun) -> None:
        own = [one for one in self._runs if (one.experiment, one.seed) == (run.experiment, run.seed)]
        if (why := why_not_paired(collect(self._study, own), BASELINE)) is not None:
            raise StudyError(f"{run.experiment}: not paired: {why}; --paired require makes this an error")
