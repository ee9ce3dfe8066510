"""The local engine: worker processes that train runs side by side, each with its own threads."""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Protocol

from lerac.study.plan import Run
from lerac.study.runs import RunFolder
from lerac.study.worker import serve

__all__ = ["Failure", "Progress", "train_all"]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(frozen=True)
class Failure:
    """A run that did not end, and why in one line; the traceback is in the run's folder, `error.txt`."""

    run: Run
    reason: str


class Progress(Protocol):
    """Whoever wants to watch."""

    def started(self, run: Run) -> None:
        """A worker begins or continues the run."""

    def ended(self, run: Run, failure: str | None) -> None:
        """The run has ended, or failed for this reason."""

    def tick(self) -> None:
        """Called a few times per second."""


@dataclass
class Worker:
    """A process, the line to it, and what it is doing."""

    process: SpawnProcess
    tasks: "Connection[Run | None, str | None]"
    run: Run | None = None


def train_all(study: Path, runs: Sequence[Run], *, workers: int, progress: Progress) -> list[Failure]:
    """Train every run; a run that fails, or whose worker dies, does not stop the others.

    Args:
        study: the folder of the study.
        runs: with the same number of threads each.
        workers: how many processes at most; results do not depend on it.
        progress: is told what happens.

    Returns:
        The runs that failed. Calling again continues them.

    Raises:
        KeyboardInterrupt: after all workers have ended.
    """
    waiting = deque(runs)
    failures: list[Failure] = []
    crew: list[Worker] = []
    finished = False
    try:
        while waiting or any(worker.run for worker in crew):
            while waiting and len(crew) < workers and not any(worker.run is None for worker in crew):
                crew.append(_hire(study, waiting[0].threads))
            for worker in crew:
                if worker.run is None and waiting:
                    worker.run = waiting.popleft()
                    progress.started(worker.run)
                    _hand_over(worker)
            wait([handle for w in crew for handle in (w.tasks, w.process.sentinel)], timeout=0.25)
            failures += [failure for worker in crew if (failure := _hear(worker, study, progress))]
            crew = [worker for worker in crew if worker.run or worker.process.is_alive()]
            progress.tick()
        finished = True
    finally:
        _dismiss(crew, at_once=not finished)
    return failures


@dataclass(frozen=True)
class _Answer:
    failure: str | None
    died: bool = False


def _hire(study: Path, threads: int) -> Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, study), daemon=True)
    with _environment(threads), _no_interrupt():
        process.start()
    theirs.close()
    return Worker(process, ours)


def _hand_over(worker: Worker) -> None:
    with suppress(OSError):  # it has just died, which _answer notices
        worker.tasks.send(worker.run)


def _hear(worker: Worker, study: Path, progress: Progress) -> Failure | None:
    """Take the worker's answer if there is one, and pass it on; give the failure if it is one."""
    if worker.run is None or (answer := _answer(worker)) is None:
        return None
    run, reason, worker.run = worker.run, _reason(answer, worker, study), None
    progress.ended(run, reason)
    return Failure(run, reason) if reason else None


def _answer(worker: Worker) -> _Answer | None:
    try:
        if worker.tasks.poll():
            return _Answer(worker.tasks.recv())
    except (EOFError, OSError):
        worker.process.join()
        return _Answer(None, died=True)
    return None


def _reason(answer: _Answer, worker: Worker, study: Path) -> str | None:
    if not answer.died or worker.run is None:
        return answer.failure
    code = worker.process.exitcode or 0
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    reason = f"the worker process died ({how})"
    RunFolder(study, worker.run).write_error(f"{reason}; when it is SIGKILL, memory was probably short\n")
    return reason


def _dismiss(crew: Sequence[Worker], *, at_once: bool) -> None:
    with _no_interrupt():
        for worker in crew:
            if at_once:
                worker.process.terminate()
            else:
                _hand_over(worker)  # None: go home
        for worker in crew:
            worker.process.join(10)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.tasks.close()


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Thread counts are read when torch and BLAS are loaded, so the child has to be born with them."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Children inherit that Ctrl-C is ignored, so none dies half-imported with a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
