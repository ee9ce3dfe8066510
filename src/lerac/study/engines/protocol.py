"""What an engine is, what it reports, and to whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lerac.study.plan.experiment import PlannedRun

__all__ = ["Engine", "Failure", "Progress"]


@dataclass(frozen=True)
class Failure:
    """A run that did not end, and why in one line; the traceback is in the run's folder, `error.txt`."""

    run: PlannedRun
    reason: str


class Progress(Protocol):
    """Whoever wants to watch."""

    def started(self, run: PlannedRun) -> None:
        """A worker begins or continues the run."""

    def ended(self, run: PlannedRun, failure: str | None) -> None:
        """The run has ended, or failed for this reason."""

    def tick(self) -> None:
        """Called a few times per second."""


class Engine(Protocol):
    """A function that trains runs."""

    def __call__(
        self, study: Path, runs: Sequence[PlannedRun], *, workers: int | None, progress: Progress
    ) -> list[Failure]:
        """Train every run; a run that fails, or whose worker dies, does not stop the others.

        Args:
            study: the folder of the study.
            runs: each in a folder of its own; with the same device and the same number of threads.
            workers: how many side by side at most; None: as many as there is room for. Results do not depend on it.
            progress: is told what happens.

        Returns:
            The runs that failed. Calling again continues them.

        Raises:
            KeyboardInterrupt: after all workers have ended.
            StopStudyError: if no other run would fare better, as when the study's folder cannot be written to; after
                all workers have ended. Calling again continues.
        """
