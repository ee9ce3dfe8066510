"""A process of its own for every run of a function, forked from a server that has loaded the file, or spawned."""

import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lerac.study.errors import FolderInUseError, RunFailedError, StopStudyError
from lerac.study.files import claim, open_descriptor
from lerac.study.own import preload
from lerac.study.own.processes import born_with, end_with_parent, without_main
from lerac.study.own.running import Answer, load_function, perform
from lerac.study.own.trial import FOLDER
from lerac.study.plan.own import OwnRun

__all__ = ["OUTPUT", "answer_of", "call", "start_method"]

OUTPUT = "output.txt"  # of a run's folder: what the function prints, and libraries with it
A_MOMENT = 10.0  # seconds in which an orphan that still has the run ends
AGAIN = Answer(reason="the server has loaded something else, or has started CUDA")


def call(run: OwnRun, path: Path) -> Answer:
    """Call the function of a run in a process of its own, and wait for what comes of it.

    Raises:
        RunFailedError: if the process ends without a word.
    """
    answer = _call(run, path, start_method(run.device))
    return _call(run, path, "spawn") if answer == AGAIN else answer


def start_method(device: str) -> str:
    """Say how a process that trains on a device comes about: CUDA cannot be used in one that was forked."""
    forks = "forkserver" in multiprocessing.get_all_start_methods() and not device.startswith("cuda")
    return "forkserver" if forks else "spawn"


def _call(run: OwnRun, path: Path, method: str) -> Answer:
    context: Any = multiprocessing.get_context(method)
    environment = {"PYTHONHASHSEED": "0"}  # else the order of a set of words differs from process to process
    if method == "forkserver":
        context.set_forkserver_preload([preload.__name__])
        environment[preload.VARIABLE] = json.dumps(_asked(run))
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, run, path), daemon=False)
    try:
        with born_with(environment), without_main():
            process.start()
    except (EOFError, ConnectionError):
        ours.close()
        reason = f"the process that runs are forked from died while it loaded {run.source['file']}"
        raise RunFailedError(reason, f"{reason}; does the file crash, or end its process?\n") from None
    finally:
        theirs.close()
    try:
        answer: Answer = ours.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        hint = "; when it is SIGKILL, memory was probably short" if code == -signal.SIGKILL else ""
        reason = f"the training's process died ({how})"
        raise RunFailedError(reason, f"{reason}{hint}; what it printed is in {OUTPUT}\n") from None
    finally:
        if process.is_alive() and sys.exc_info()[0] is not None:
            process.kill()
        ours.close()
    process.join()
    return answer


def _asked(run: OwnRun) -> dict[str, Any]:
    return {"source": run.source, "code": run.code, "directory": run.directory}


def _child(answers: "Connection[Answer, None]", run: OwnRun, path: Path) -> None:
    """Be the process of a run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the first process decides
    end_with_parent()
    _end(answers, answer_of(run, path))


def answer_of(run: OwnRun, path: Path, patience: float = A_MOMENT) -> Answer:
    """Train in this process, which is the run's own, unless another has the run or the server is of no use to it.

    Args:
        run: which.
        path: its folder.
        patience: seconds to wait for an orphan that still has the run.
    """
    loaded = preload.kept()
    if loaded is not None and (loaded.cuda or loaded.asked != _asked(run)):
        return AGAIN
    try:
        with claim(path / FOLDER, patience=patience):
            _print_to(path / OUTPUT, loaded.output if loaded else b"")
            return perform(run, path, _function(run, loaded))
    except StopStudyError as error:
        return Answer(stop=str(error))
    except FolderInUseError as error:
        return Answer(in_use=str(error))
    except Exception as error:
        return Answer(reason=f"{type(error).__name__}: {error}", trace=traceback.format_exc())


def _function(run: OwnRun, loaded: preload.Loaded | None) -> Callable[[Any], Any]:
    if loaded is None:
        return load_function(run.source, run.code, run.directory)
    if loaded.function is None:
        raise StopStudyError(loaded.error)
    os.chdir(run.directory)
    sys.argv = [run.source["file"]]
    return loaded.function


def _print_to(path: Path, first: bytes) -> None:
    descriptor = open_descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, first)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _end(answers: "Connection[Answer, None]", answer: Answer) -> None:
    """Say what came of it and end at once, whatever threads and processes the function has left behind."""
    answers.send(answer)
    for process in multiprocessing.active_children():
        process.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
