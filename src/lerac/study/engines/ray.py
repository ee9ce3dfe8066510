"""The Ray engine: one task per run on a Ray cluster, whose nodes share the study's folder."""

import logging
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.exceptions

import lerac
from lerac.study.data.loading import loaders_asked
from lerac.study.engines import machine
from lerac.study.engines.protocol import Failure, Progress
from lerac.study.engines.worker import Answer, attempt
from lerac.study.errors import StudyError
from lerac.study.files import read_bytes, write_text
from lerac.study.plan.experiment import PlannedRun
from lerac.study.runs.run import RunFolder

__all__ = ["train_all"]

PLACES = (
    "LERAC_DATA",
    "LERAC_WEIGHTS",
    "LERAC_TRACKERS",
)  # of data and weights, at one path on all nodes; and trackers
MARK = ".shared"  # a file by which a node recognises the study's folder
A_MOMENT = 10.0  # seconds that a network file system may take to show it
RETRIES = 3  # of a run whose node or process died, as nodes that can be taken away do
OBJECTS = 100 * 2**20  # bytes for Ray's objects: ours are configurations and answers


@dataclass
class Task:
    """A run, and how often it has been handed out."""

    run: PlannedRun
    tries: int = 0


def train_all(study: Path, runs: Sequence[PlannedRun], *, workers: int | None, progress: Progress) -> list[Failure]:
    """Train every run, as `protocol.Engine` says, on the cluster at RAY_ADDRESS, or on one made of this machine.

    A run whose node or process dies is handed out again, at most three times.

    Raises:
        StudyError: if there is no cluster at RAY_ADDRESS, none of its nodes has room for a run, or they do not see the
            study's folder or have another version of lerac.
    """
    if not runs:
        return []
    with _cluster():
        needs = _needs(runs[0])
        if not _room(needs):
            wanted = " and ".join(f"{number:g} {name}" for name, number in needs.items() if number)
            raise StudyError(f"--engine ray: no node of the Ray cluster has {wanted}, what one run needs")
        return _train(study.resolve(), runs, workers, progress, needs)


def _train(
    study: Path, runs: Sequence[PlannedRun], workers: int | None, progress: Progress, needs: dict[str, float]
) -> list[Failure]:
    waiting, flying, failures = deque(Task(run) for run in runs), dict[Any, Task](), []
    hand_out = _remote(study, runs[0], needs)
    try:
        while waiting or flying:
            while waiting and len(flying) < (workers or _room(needs)):
                task = waiting.popleft()
                if not task.tries:
                    progress.started(task.run)
                task.tries += 1
                flying[hand_out(task.run)] = task
            for reference in ray.wait(list(flying), timeout=0.25)[0]:
                answer, task = _answer(reference), flying.pop(reference)
                if answer.died and task.tries <= RETRIES:
                    waiting.appendleft(task)
                    continue
                if answer.died:
                    RunFolder(study, task.run).write_error(f"{answer.failure}\n")
                progress.ended(task.run, answer.failure)
                failures += [Failure(task.run, answer.failure)] if answer.failure else []
            progress.tick()
    finally:
        for reference in flying:
            ray.cancel(reference, force=True)
    return failures


def _remote(study: Path, run: PlannedRun, needs: dict[str, float]) -> Any:
    """Give what hands a run to the cluster, in a process born with the threads of the runs."""
    environment = machine.variables(run.threads, loaders_asked() or 0)
    environment |= {name: os.environ[name] for name in PLACES if name in os.environ}
    mark = secrets.token_hex(8)
    write_text(study / MARK, mark)
    task = ray.remote(_attempt_there).options(
        num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_retries=0, runtime_env={"env_vars": environment}
    )
    return lambda one: task.remote(str(study), one, mark, lerac.__version__)


def _attempt_there(study: str, run: PlannedRun, mark: str, version: str) -> Answer:
    """Train a run on a node, if that is where we think we are."""
    node = socket.gethostname()
    if lerac.__version__ != version:
        return Answer(f"node {node} has lerac {lerac.__version__}, not {version}; install it there", hopeless=True)
    deadline = time.monotonic() + A_MOMENT
    while _read(Path(study) / MARK) != mark.encode():
        if time.monotonic() > deadline:
            return Answer(
                f"node {node} does not see the folder {study}: choose an --out that all nodes share", hopeless=True
            )
        time.sleep(0.2)
    return attempt(Path(study), run)


def _read(path: Path) -> bytes | None:
    try:
        return read_bytes(path)
    except OSError:
        return None


def _answer(reference: Any) -> Answer:
    """Give what a task answered; a process that has died is an answer.

    Raises:
        StopStudyError: if no run of the study can be trained.
        StudyError: if the nodes cannot run lerac.
    """
    try:
        answer: Answer = ray.get(reference)
    except (ray.exceptions.RayTaskError, ray.exceptions.RuntimeEnvSetupError) as error:
        reason = str(getattr(error, "cause", error)).strip().splitlines()[-1]
        raise StudyError(f"--engine ray: a node of the Ray cluster cannot run lerac: {reason}") from error
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        return Answer(f"the worker process died ({type(error).__name__}: {reason})", died=True)
    answer.stop_if_hopeless()
    return answer


def _needs(run: PlannedRun) -> dict[str, float]:
    """Give what a run needs of a node: a core per thread and per process that reads ahead, and a GPU for `cuda`."""
    if run.device not in ("cpu", "cuda"):
        raise StudyError(f"--engine ray trains on cpu or cuda, and Ray chooses which GPU, got --device {run.device}")
    return {"CPU": float(run.threads + (loaders_asked() or 0)), "GPU": float(run.device == "cuda")}


def _room(needs: dict[str, float]) -> int:
    """Count the runs that all nodes together have room for when nobody else uses them."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return sum(min(int(node.get(name, 0) // number) for name, number in needs.items() if number) for node in nodes)


@contextmanager
def _cluster() -> Iterator[None]:
    """Connect to the cluster, unless that has been done, and leave it afterwards."""
    if ray.is_initialized():
        yield
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    address = os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    ours: dict[str, Any] = {"num_cpus": machine.cores(), "include_dashboard": False, "object_store_memory": OBJECTS}
    try:
        ray.init(address or "local", **quiet, **({} if address else ours))
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StudyError(f"--engine ray: no Ray cluster at {address or 'this machine'}: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()
