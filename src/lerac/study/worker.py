"""A worker process: trains the runs it is handed, one after the other."""

import os
import signal
import threading
import traceback
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path

from lerac.study.plan import Run
from lerac.study.runs import RunFolder, train_run

__all__ = ["serve"]


def serve(tasks: "Connection[str | None, Run | None]", study: Path) -> None:
    """Train each run that arrives and answer None, or in one line why it failed; a None ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while (run := tasks.recv()) is not None:
        try:
            train_run(study, run)
        except Exception as error:
            RunFolder(study, run).write_error(traceback.format_exc())
            tasks.send(f"{type(error).__name__}: {' '.join(str(error).split())}")
        else:
            tasks.send(None)


def _end_with_parent() -> None:
    """An orphan would train on beside the worker that continues its run."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
