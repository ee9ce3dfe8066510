"""The local engine: worker processes that train runs side by side, each with its own threads and its own GPU."""

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

from lerac.study.engines import machine
from lerac.study.engines.protocol import Failure, Progress
from lerac.study.engines.worker import Answer, serve
from lerac.study.files import make_folder
from lerac.study.own.processes import born_with, without_main
from lerac.study.plan.experiment import PlannedRun
from lerac.study.runs.run import RunFolder

__all__ = ["train_all"]


@dataclass
class Worker:
    """A process, the line to it, the GPU it sees if it is one of several, and what it is doing."""

    process: SpawnProcess
    tasks: "Connection[PlannedRun | None, Answer]"
    gpu: str | None
    run: PlannedRun | None = None


def train_all(study: Path, runs: Sequence[PlannedRun], *, workers: int | None, progress: Progress) -> list[Failure]:
    """Train every run, as `protocol.Engine` says; by default as many at a time as there are cores, or GPUs."""
    waiting = deque(runs)
    failures: list[Failure] = []
    crew: list[Worker] = []
    most = workers or (machine.side_by_side(runs[0].device) if runs else 1)
    finished = False
    make_folder(study)
    try:
        while waiting or any(worker.run for worker in crew):
            while waiting and len(crew) < most and not any(worker.run is None for worker in crew):
                crew.append(_hire(study, waiting[0], most, crew))
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


def _hire(study: Path, run: PlannedRun, most: int, crew: Sequence[Worker]) -> Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    # No daemon, which may have no children: it would have to read all data itself. It ends with its parent anyway.
    process = context.Process(target=serve, args=(theirs, study), daemon=False)
    gpu = machine.least_busy(machine.gpus(run.device), [worker.gpu for worker in crew])
    environment = machine.variables(run.threads, machine.loaders_for(most)) | ({machine.GPUS: gpu} if gpu else {})
    with born_with(environment), without_main(), _no_interrupt():
        process.start()
    theirs.close()
    return Worker(process, ours, gpu)


def _hand_over(worker: Worker) -> None:
    with suppress(OSError):  # it has just died, which `_answer` notices
        worker.tasks.send(worker.run)


def _hear(worker: Worker, study: Path, progress: Progress) -> Failure | None:
    """Take the worker's answer if there is one, and pass it on; give the failure if it is one."""
    if worker.run is None or (answer := _answer(worker)) is None:
        return None
    answer.stop_if_hopeless()
    run, reason, worker.run = worker.run, _reason(answer, worker, study), None
    progress.ended(run, reason)
    return Failure(run, reason) if reason else None


def _answer(worker: Worker) -> Answer | None:
    try:
        if worker.tasks.poll():
            return worker.tasks.recv()
    except (EOFError, OSError):
        worker.process.join()
        return Answer(died=True)
    return None


def _reason(answer: Answer, worker: Worker, study: Path) -> str | None:
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
