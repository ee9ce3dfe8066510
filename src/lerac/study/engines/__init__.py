"""Engines: who trains the runs of a study, and where. Results do not depend on it."""

from importlib import import_module
from importlib.util import find_spec

from lerac.study.engines.protocol import Engine, Failure, Progress
from lerac.study.errors import StudyError

__all__ = ["ENGINES", "Engine", "Failure", "Progress", "engine_of", "require_engine"]

ENGINES = ("local", "ray")
"""Worker processes on this machine, or tasks on a Ray cluster."""


def require_engine(name: str) -> None:
    """Refuse an engine that cannot be had.

    Raises:
        StudyError: if there is no such engine, or Ray is not installed.
    """
    if name not in ENGINES:
        raise StudyError(f"--engine must be {' or '.join(ENGINES)}, got {name!r}")
    if name == "ray" and find_spec("ray") is None:
        raise StudyError("--engine ray needs Ray: pip install 'lerac[ray]'")


def engine_of(name: str) -> Engine:
    """Give an engine by its name; errors as for `require_engine`."""
    require_engine(name)
    engine: Engine = import_module(f"lerac.study.engines.{name}").train_all
    return engine
