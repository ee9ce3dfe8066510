"""A worker process: trains the runs it is handed, one after the other."""

import signal
import traceback
import warnings
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from lerac.study.errors import (
    FolderInUseError,
    RunFailedError,
    StopStudyError,
    StorageError,
    StudyError,
    printable,
)
from lerac.study.own.processes import end_with_parent
from lerac.study.plan.experiment import PlannedRun
from lerac.study.runs import own as _own  # noqa: F401 - how such runs are trained
from lerac.study.runs.run import RunFolder, train_run

__all__ = ["GONE", "Answer", "attempt", "serve"]

GONE = "it was trained to its end, but its status.json is not there"


@dataclass(frozen=True)
class Answer:
    """What became of a run.

    Args:
        failure: in one line why it has not ended; None if it has.
        hopeless: no other run would fare better, so the study had better stop.
        died: its process ended without a word.
        error: as what it then ends the study.
    """

    failure: str | None = None
    hopeless: bool = False
    died: bool = False
    error: type[StopStudyError] = field(default=StorageError, repr=False)

    def stop_if_hopeless(self) -> None:
        """End the study if no other run would fare better.

        Raises:
            StopStudyError: then; a StorageError if it is the folder that cannot be written to.
        """
        if self.hopeless:
            raise self.error(self.failure)


def serve(tasks: "Connection[Answer, PlannedRun | None]", study: Path) -> None:
    """Answer each run that arrives when it has been trained; a None ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    end_with_parent()
    while (run := tasks.recv()) is not None:
        tasks.send(attempt(study, run))


def attempt(study: Path, run: PlannedRun) -> Answer:
    """Train a run to its end; if that fails, leave the traceback in its folder."""
    if not study.is_dir():
        return Answer(f"{study} is gone, with all that was in it", hopeless=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* has no locks")  # as the study's own process has said
            train_run(study, run)
            ended = RunFolder(study, run).status() is not None
    except StopStudyError as error:
        return Answer(_line(error), hopeless=True, error=type(error))
    except FolderInUseError as error:  # whose folder it is, it is not ours to write to
        return Answer(_line(error))
    except RunFailedError as error:
        trace, reason = error.trace, _line(error)
    except Exception as error:
        trace, reason = traceback.format_exc(), f"{type(error).__name__}: {_line(error)}"
    else:
        return Answer() if ended else Answer(GONE)
    try:
        RunFolder(study, run).write_error(trace)
    except StorageError as error:
        return Answer(_line(error), hopeless=True)
    except StudyError:  # the folder is none to write to, which is what was said
        pass
    return Answer(reason)


def _line(error: Exception) -> str:
    return printable(" ".join(str(error).split()))
