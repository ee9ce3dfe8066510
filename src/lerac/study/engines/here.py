"""No workers: runs are trained in this process, one after the other, as a notebook's function has to be."""

from collections.abc import Sequence
from pathlib import Path

from lerac.study.engines.protocol import Failure, Progress
from lerac.study.engines.worker import attempt
from lerac.study.plan.experiment import PlannedRun

__all__ = ["train_all"]


def train_all(study: Path, runs: Sequence[PlannedRun], *, workers: int | None, progress: Progress) -> list[Failure]:
    """Train every run, as `protocol.Engine` says; there are no workers, whatever is asked for."""
    failures = []
    for run in runs:
        progress.started(run)
        answer = attempt(study, run)
        answer.stop_if_hopeless()
        progress.ended(run, answer.failure)
        failures += [Failure(run, answer.failure)] if answer.failure else []
    return failures
