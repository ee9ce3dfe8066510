"""Functions that are trained in this process: those of notebooks, which no other process could load."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lerac.study.files import claim
from lerac.study.own.running import Answer, perform
from lerac.study.own.trial import FOLDER
from lerac.study.plan.own import OwnRun

__all__ = ["call_here", "held", "holding"]

_HELD: dict[str, Callable[[Any], Any]] = {}  # by the name of the experiment


@contextmanager
def holding(functions: Mapping[str, Callable[[Any], Any]]) -> Iterator[None]:
    """Train these experiments in this process, whose random generators are afterwards where they were."""
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


def call_here(run: OwnRun, path: Path, function: Callable[[Any], Any]) -> Answer:
    """Call a function for a run in this process."""
    with claim(path / FOLDER):
        return perform(run, path, function)
