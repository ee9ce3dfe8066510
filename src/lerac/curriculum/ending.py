"""Curricula that were of no use, told when they go: another optimizer is stepped, or k is too large, or in epochs."""

import atexit
import math
import os
import sys
from typing import NamedTuple, Protocol
from weakref import WeakSet, WeakValueDictionary

from torch.optim import Optimizer

from lerac.curriculum.notices import Place, UnfinishedWarning, builder, notice
from lerac.curriculum.state import State
from lerac.curriculum.step_count import read_count

__all__ = ["Watched", "tell", "watch"]

_EPOCHS = 20  # a k up to this may have been meant in epochs,
_LONGER = 10  # if training lasts so many times as long


class Watched(NamedTuple):
    """What is known of a curriculum that a user has built; of copies and those of lerac itself there is nothing."""

    place: Place
    process: int
    attached: bool  # whether it is of a regime, whose k is in epochs


class Ending(Protocol):
    """What is asked of a `Course`."""

    optimizer: Optimizer
    k: float
    steps: int
    joined: int
    state: State
    watched: Watched | None

    def steps_in_all(self) -> int: ...


_alive: WeakSet[Ending] = WeakSet()
_latest: WeakValueDictionary[Place, Ending] = WeakValueDictionary()
_told: set[Place] = set()


def watch(course: Ending) -> None:
    """Look after a curriculum that was built just now. If the same line has built another one, that one was a trial."""
    if (built := builder()) is None:
        return
    place, attached = built
    if before := _latest.get(place):
        before.watched = None
    _latest[place] = course
    _alive.add(course)
    course.watched = Watched(place, os.getpid(), attached)


def tell(course: Ending, *, at_exit: bool = False) -> None:
    """Warn once, with the line that built it, of a curriculum that goes and was of no use.

    Not after an exception: then it is no wonder. It must cost nothing while it is of use.
    """
    watched, course.watched = course.watched, None
    if watched is None or watched.process != os.getpid() or watched.place in _told:
        return
    if sys.exc_info()[0] or getattr(sys, "last_exc", None) or getattr(sys, "last_value", None):
        return
    if (sys.is_finalizing() and not at_exit) or not (message := _unfinished(course, watched.attached)):
        return
    _told.add(watched.place)
    notice(message, UnfinishedWarning, watched.place)


def _unfinished(course: Ending, attached: bool) -> str | None:
    name, k, steps = type(course.optimizer).__name__, course.k, course.steps
    if course.state is State.REMOVED:
        return None
    if course.state is State.FINISHED:
        if attached or k > _EPOCHS or (total := course.steps_in_all()) < _LONGER * k:
            return None
        return (
            f"LeRaC's k={k} counts optimizer steps: the curriculum was over after {k} of about {total} steps. If {k} "
            f"epochs were meant, pass k={k} * len(loader), divided by the number of batches whose gradients you "
            "accumulate"
        )
    if (read_count(course.optimizer) or 0) >= k:
        return None  # loaded without telling
    if steps == 0:
        what, built, build = ("lerac.attach", "called", "call it") if attached else ("LeRaC", "built", "build LeRaC")
        return (
            f"{what} never acted: the {name} that it was {built} with has taken no step. If your script, or a "
            f"framework, builds the optimizer again, {build} after that, with the optimizer that is stepped; call "
            "remove() on a curriculum that is not wanted"
        )
    if steps == course.joined or math.isinf(k):
        return None  # a checkpoint was loaded, and not to train on; or it ends with training
    counts = (
        "A regime's k counts epochs, of epoch_steps optimizer steps"
        if attached
        else "k counts optimizer steps, len(loader) in an epoch, divided by the number of batches whose gradients you "
        "accumulate"
    )
    return (
        f"training was over before LeRaC was: {steps} of k={k} optimizer steps were taken, and the layers near the "
        f"output have not reached their full rate. {counts}: choose a smaller one, or call remove() where training "
        "ends early on purpose"
    )


@atexit.register
def _at_exit() -> None:
    for course in list(_alive):
        tell(course, at_exit=True)
