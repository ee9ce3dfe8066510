"""The local engine without its worker processes, each of which would load everything anew.

For tests of what comes before and after training; those of the engine hold that the numbers are the same.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from lerac.study.engines import Failure, Progress
from lerac.study.engines.worker import attempt
from lerac.study.errors import StorageError
from lerac.study.plan.experiment import PlannedRun


@contextmanager
def in_this_process() -> Iterator[None]:
    with patch("lerac.study.engines.local.train_all", _train_all):
        yield


def _train_all(study: Path, runs: Sequence[PlannedRun], *, workers: int | None, progress: Progress) -> list[Failure]:
    failures = []
    for run in runs:
        progress.started(run)
        answer = attempt(study, run)
        if answer.hopeless:
            raise StorageError(answer.failure)
        progress.ended(run, answer.failure)
        failures += [Failure(run, answer.failure)] if answer.failure else []
    return failures
