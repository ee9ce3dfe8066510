"""One run of a command: started with what it is told, waited for, and what it has left."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

from lerac.regimes.record import FILE, REGIME
from lerac.study.errors import FolderInUseError, RunFailedError, StopStudyError
from lerac.study.files import claim, open_file
from lerac.study.own import preload
from lerac.study.own.command.results import ResultsError, Stamp, read_values
from lerac.study.own.command.watching import Ended, Order, kill_group, watch
from lerac.study.own.forked import OUTPUT
from lerac.study.own.functions import LOADING
from lerac.study.own.processes import without_main
from lerac.study.own.record import read_record
from lerac.study.own.running import Answer, variables
from lerac.study.own.trial import FOLDER
from lerac.study.plan.command import filled, places
from lerac.study.plan.own import OwnRun

__all__ = ["perform_command"]

OURS = (REGIME, preload.VARIABLE, LOADING)  # that no command inherits
LAST_LINES, LAST_BYTES, LONGEST = 20, 2**14, 400


def perform_command(run: OwnRun, path: Path) -> Answer:
    """Run the command of a run, and read its results.

    Args:
        run: which.
        path: its folder in the study, absolute; in it is the folder that the command has for itself.

    Raises:
        FolderInUseError: if an orphan still has the run.
        StopStudyError: if the command cannot be started.
    """
    folder = path / FOLDER
    words, results = filled(run, str(folder))
    order = Order(words, run.directory, _environment(run, path), folder, path / OUTPUT)
    with _alone(run, path, Path(run.directory) / results) as named:
        stamp, notes, since = Stamp.of(named), Stamp.of(folder / FILE), time.time()
        begins = order.output.stat().st_size if order.output.exists() else 0
        ended = _wait(order)
        try:
            _check(ended)
            values = read_values(stamp, since, run)
        except ResultsError as error:
            reason = " ".join(str(error).split())
            return Answer(reason=reason, trace=f"{reason}\n{_last_lines(order.output, begins)}")
    if run.tuning and named.is_relative_to(folder):
        named.unlink(missing_ok=True)  # it may have values of test data, and nothing needs it any more
    if not notes.written_since(since):  # left by an attempt before
        notes.path.unlink(missing_ok=True)
    return Answer(values, _went_on(folder), ended.seconds)


def _environment(run: OwnRun, path: Path) -> dict[str, str]:
    """Give the variables of a command: those of this process, and what it must know of the run."""
    told = {**variables(run, path), "LERAC_SETTINGS": json.dumps(run.settings), "PYTHONHASHSEED": "0"}
    if run.source["arm"] is not None:
        del told[REGIME]
    return {name: value for name, value in os.environ.items() if name not in OURS} | told


@contextmanager
def _alone(run: OwnRun, path: Path, results: Path) -> Iterator[Path]:
    """Let commands whose results are one file run one after the other."""
    shared = path.parents[2] / ".results" / sha256(os.fsencode(results)).hexdigest()[:10]
    own = "folder" in places(run.source["results"])
    with nullcontext() if own else claim(shared, patience=float("inf")):
        yield results


def _wait(order: Order) -> Ended:
    """Start a command, and wait for its end, and that of all that it has started."""
    context: Any = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=watch, args=(theirs, order), daemon=False)
    with without_main():
        process.start()
    theirs.close()
    leader = None
    try:
        answer: int | Ended = ours.recv()
        if isinstance(answer, int):
            leader, answer = answer, ours.recv()
    except EOFError:
        process.join()
        if leader is not None:
            kill_group(leader)
        reason = "the process that watches over the command died"
        raise RunFailedError(reason, f"{reason}; the command was ended, and what it printed is in {OUTPUT}\n") from None
    finally:
        if process.is_alive():
            process.terminate()  # ends the command too, unless it has ended
        process.join()
        ours.close()
    assert isinstance(answer, Ended)
    return answer


def _check(ended: Ended) -> None:
    if ended.in_use:
        raise FolderInUseError(ended.refused)
    if ended.code is None:
        raise StopStudyError(ended.refused)
    if ended.code < 0:
        name = signal.Signals(-ended.code).name
        hint = "; memory was probably short" if ended.code == -signal.SIGKILL else ""
        raise ResultsError(f"the command was killed by {name}{hint}")
    if ended.code:
        raise ResultsError(f"the command ended with exit code {ended.code}")


def _last_lines(path: Path, begins: int) -> str:
    """Give the last lines that an attempt has printed, however long the file is."""
    with open_file(path) as file:
        begins = max(begins, file.seek(0, os.SEEK_END) - LAST_BYTES)
        file.seek(begins)
        text = file.read(LAST_BYTES).decode(errors="replace")
    lines = [line.rstrip()[:LONGEST] for line in text.splitlines() if line.strip()][-LAST_LINES:]
    if not lines:
        return "It has printed nothing.\n"
    return "\n".join((f"The last lines that it has printed, of all in {path.name}:", *lines, ""))


def _went_on(folder: Path) -> bool:
    """Whether the training has told that it went on from a checkpoint."""
    record = read_record(folder)
    return record is not None and any(one.resumed for one in record.attached)
