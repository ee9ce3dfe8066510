"""One call of a function, in whatever process: seeded, with what it is told, and what it returned."""

import os
import random
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lerac.regimes import record
from lerac.study.errors import StopStudyError
from lerac.study.own.functions import load
from lerac.study.own.processes import born_with
from lerac.study.own.returned import Values, measured
from lerac.study.own.trial import FOLDER, Trial
from lerac.study.plan.own import OwnRun
from lerac.study.recipes.regimes import parse_regime
from lerac.study.seeds import seed_everything

__all__ = ["Answer", "held", "holding", "load_function", "perform", "variables"]

REGIMES = str(Path(record.__file__).parent)

_HELD: dict[str, Callable[[Any], Any]] = {}  # by the name of the experiment


@dataclass(frozen=True)
class Answer:
    """What came of a call.

    Args:
        values: split → name → what was measured; None if it failed.
        loaded: whether it went on from a state that was saved.
        seconds: that it took, with those before that state was saved.
        stop: why no other run would fare better; None if one might.
        reason: why it failed, in one line.
        trace: the whole of it.
        promised: epochs, as in `Trial`.
        in_use: by whom the run is being trained, if it is; it was not called then.
    """

    values: Values | None = None
    loaded: bool = False
    seconds: float = 0.0
    stop: str | None = None
    reason: str = ""
    trace: str = ""
    promised: tuple[float | None, ...] = ()
    in_use: str | None = None


def variables(run: OwnRun, path: Path) -> dict[str, str]:
    """Give the environment by which `lerac.attach` knows the trial."""
    folder = str((path / FOLDER).absolute())
    return {record.REGIME: run.regime, record.SEED: str(run.seed), record.FOLDER: folder}


def load_function(source: dict[str, Any], code: str, directory: str) -> Callable[[Any], Any]:
    """Load a function as a script would be, in the folder of whoever asked for the study.

    Raises:
        StopStudyError: if its file cannot be run.
    """
    try:
        os.chdir(directory)
    except OSError as error:
        raise StopStudyError(f"{directory}, where the study was started, cannot be entered: {error.strerror}") from None
    sys.argv = [source["file"]]
    seed_everything(0)  # what a file draws while it is loaded is the same in all processes
    try:
        return load(source, code)
    except StopStudyError:
        raise
    except (Exception, SystemExit) as error:
        raise StopStudyError(
            f"{source['file']} cannot be loaded: {_line(error)}{_where(error, source['file'])}"
        ) from None


def perform(run: OwnRun, path: Path, function: Callable[[Any], Any]) -> Answer:
    """Call a function for a run; nothing it raises comes out but KeyboardInterrupt.

    Args:
        run: which.
        path: its folder in the study.
        function: that trains.
    """
    trial, threads = Trial(run, path), torch.get_num_threads()
    who = f"{run.experiment} ({run.regime}, seed {run.seed})"
    with born_with(variables(run, path)):
        torch.set_num_threads(run.threads)
        seed_everything(run.seed)
        try:
            returned = function(trial)
            _check_rate_was_read(trial, who)
            values = measured(returned, run, who)
        except StopStudyError as error:
            return Answer(stop=_line(error))
        except (Exception, SystemExit) as error:
            if _is_of_attach(error):
                return Answer(stop=f"{who}: {_line(error)}")
            return Answer(reason=f"{type(error).__name__}: {_line(error)}", trace=traceback.format_exc())
        finally:
            record.finish()
            torch.set_num_threads(threads)
    return Answer(values, trial.loaded, trial.seconds, promised=trial.promised)


def _check_rate_was_read(trial: Trial, who: str) -> None:
    if (lr := parse_regime(trial.regime).options.get("lr")) is not None and "lr" not in trial.settings.read:
        raise StopStudyError(
            f'{who}: the regime says lr={lr:g}, and the function never read trial.settings["lr"]: train with that '
            "rate, or leave lr out of the regime"
        )


def _is_of_attach(error: BaseException) -> bool:
    """Whether `lerac.attach` refused what it was handed, as it will in every run of the regime."""
    if not isinstance(error, ValueError | TypeError):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(frame.f_code.co_name == "attach" and frame.f_code.co_filename.startswith(REGIMES) for frame in frames)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, StopStudyError) or text else type(error).__name__


def _where(error: BaseException, file: str) -> str:
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    if isinstance(error, SyntaxError) and error.lineno is not None:
        lines = [error.lineno]
    return f" ({type(error).__name__}{f', line {lines[-1]}' if lines else ''})"


@contextmanager
def holding(functions: Mapping[str, Callable[[Any], Any]]) -> Iterator[None]:
    """Train these experiments in this process, as a notebook's function has to be; no other could load it.

    Its random generators are afterwards where they were.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    _HELD.update(functions)
    try:
        yield
    finally:
        for name in functions:
            del _HELD[name]
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def held(experiment: str) -> Callable[[Any], Any] | None:
    """Give the function of an experiment that is trained in this process; None of any other."""
    return _HELD.get(experiment)
