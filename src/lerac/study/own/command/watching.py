"""A process between a worker and a command: it outlives neither, and leaves nothing behind that the command started.

Killing a group of processes is not enough: torchrun, for one, starts each of its own in a session of their own.
"""

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

from lerac.study.errors import FolderInUseError, StudyError
from lerac.study.files import claim, open_descriptor

__all__ = ["Ended", "Order", "kill_group", "watch"]

PATIENCE = 10.0  # seconds for an orphan that still has the run
GRACE = 3.0  # seconds from SIGTERM to SIGKILL; less than PATIENCE
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of <linux/prctl.h>


@dataclass(frozen=True)
class Order:
    """A command.

    Args:
        words: of it.
        directory: in which it is started.
        environment: of it.
        folder: that it has for itself.
        output: file to which its output is added.
    """

    words: Sequence[str]
    directory: str
    environment: Mapping[str, str]
    folder: Path
    output: Path


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, below 0 the signal that killed it, and seconds; or why it was not started."""

    code: int | None = None
    seconds: float = 0.0
    refused: str = ""
    in_use: bool = False


def watch(answers: "Connection[int | Ended, None]", order: Order) -> None:
    """Be the process that starts a command: answers with its number, and with how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the first process decides
    signal.signal(signal.SIGTERM, _end_now)
    if hasattr(os, "setsid"):
        os.setsid()  # else whoever kills the study with its whole group leaves the command to nobody
    _adopt_orphans()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with claim(order.folder, patience=PATIENCE):
            ended = _start(answers, order)
    except FolderInUseError as error:
        ended = Ended(refused=str(error), in_use=True)
    except StudyError as error:
        ended = Ended(refused=str(error))
    with suppress(OSError):
        answers.send(ended)
    os._exit(0)


def _start(answers: "Connection[int | Ended, None]", order: Order) -> Ended:
    output = open_descriptor(order.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        process = subprocess.Popen(
            order.words,
            cwd=order.directory,
            env=order.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return Ended(refused=f"{order.words[0]} cannot be started in {order.directory}: {reason}")
    finally:
        os.close(output)
    _STARTED.append(process.pid)
    began = time.monotonic()
    answers.send(process.pid)
    code, seconds = process.wait(), round(time.monotonic() - began, 3)
    end_all()  # whoever it has left behind
    return Ended(code, seconds)


_STARTED: list[int] = []


def end_all() -> None:
    """End what the command has started: asked to, then killed."""
    deadline = time.monotonic() + GRACE
    if not (left := _descendants()):
        return
    for process in left:
        _send(process, signal.SIGTERM)
    while (left := _descendants()) and time.monotonic() < deadline:
        time.sleep(0.02)
    while left and time.monotonic() < deadline + GRACE:
        for process in left:
            _send(process, signal.SIGKILL)
        time.sleep(0.02)
        left = _descendants()


def kill_group(leader: int) -> None:
    """Kill the group of a command whose watching process has died."""
    with suppress(OSError):
        os.killpg(leader, signal.SIGKILL)


def _end_now(number: int = 0, frame: FrameType | None = None) -> None:
    end_all()
    os._exit(1)


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        _end_now()


def _adopt_orphans() -> None:
    """On Linux, become the parent of every process below this one whose own parent ends, so that all can be found."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def _descendants() -> list[int]:
    """List the processes below this one that run; without /proc, the command's group, as minus its number."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(status.parent.name)] = int(parent)
    if not parents:
        return [-leader for leader in _STARTED if _send(-leader, 0)]
    below = {os.getpid()}
    while new := {process for process, parent in parents.items() if parent in below} - below:
        below |= new
    return sorted(below - {os.getpid()})


def _send(process: int, number: int) -> bool:
    try:
        os.kill(process, number)
    except OSError:
        return False
    return True
