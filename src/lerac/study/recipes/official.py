"""The learning rates that the LeRaC authors' code really produces, without running it.

Their code keeps one rate per parameter tensor. At fixed points of an epoch it multiplies by 10 every rate that stays
below a cap, so all rates climb at the same pace and those next to the input arrive first; Eq. (8) of the paper is
something else. Recipes hold the initial rates block by block as the code sets them, its mistakes included.

Source: github.com/CroitoruAlin/LeRaC, commit 6d3fdb8.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

from lerac.study.errors import StudyError
from lerac.study.recipes.sections import StaircaseSettings

__all__ = ["block_of", "initial_rate", "official_ramp", "update_steps"]

CLOSE = 1e-9  # relative; a start is a power of ten below the full rate, or it is not


def block_of(parameters: Iterable[str], blocks: Iterable[str]) -> dict[str, str]:
    """Give the block of every parameter: the longest that is the parameter or a module around it.

    Args:
        parameters: names of all parameters of a network.
        blocks: names of modules or parameters of it.

    Raises:
        StudyError: if a parameter is in no block, or a block is not there or has no parameter left to itself.
    """
    known, found = set(blocks), {}
    for name in parameters:
        parts = name.split(".")
        around = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        if (block := next((outer for outer in around if outer in known), None)) is None:
            raise StudyError(f"lerac.staircase.starts: no block holds the parameter {name}; add one")
        found[name] = block
    if unused := known - set(found.values()):
        raise StudyError(f"lerac.staircase.starts: no parameter takes the rate of {', '.join(sorted(unused))}")
    return found


def initial_rate(lr: float, start: float) -> float:
    """Give an initial rate as the code computes it: the full rate times 0.1, again and again.

    The products are not the decimals: 0.1 · 0.1 is 0.010000000000000002. Their rounding decides whether a rate can
    overshoot where the cap is a power of ten above the full rate. A start that is no power of ten below it is kept.

    Args:
        lr: the full rate, above 0.
        start: the rate that is meant, above 0.
    """
    decades = max(0, round(math.log10(lr / start)))
    rate = lr
    for _ in range(decades):
        rate *= 0.1
    return rate if math.isclose(rate, start, rel_tol=CLOSE) else start


def update_steps(stairs: StaircaseSettings, *, epochs: int, per_epoch: int) -> Iterator[int]:
    """Give the steps before which the rates are updated, rising.

    After floor(N/4), floor(N/2), floor(3N/4) of the N steps of an epoch and after the epoch, or fewer of them. Points
    that coincide count once and a point after no step not at all, as the code compares a count of steps with a list.

    Args:
        stairs: the rule.
        epochs: of the whole training; the update after the last one changes nothing and is left out.
        per_epoch: optimizer steps of one epoch, N.
    """
    quarters = {1: (4,), 2: (2, 4), 4: (1, 2, 3, 4)}[stairs.updates_per_epoch]
    points = sorted({quarter * per_epoch // 4 for quarter in quarters} - {0})
    for epoch in range(epochs):
        if stairs.before_epoch is not None and epoch + 1 >= stairs.before_epoch:
            return
        for point in points:
            if (step := epoch * per_epoch + point) < epochs * per_epoch:
                yield step


def official_ramp(
    stairs: StaircaseSettings, *, lr: float, epochs: int, per_epoch: int
) -> list[tuple[int, Mapping[str, float]]]:
    """Give (step, rate of every block from that step on), without the base schedule.

    The first entry is that of step 0, the others are the updates that change a rate. A rate is multiplied if the
    result is below the cap, and is never set to the full rate: it ends within some 1e-15 of it.

    Args:
        stairs: the rule.
        lr: the full rate.
        epochs: of the whole training.
        per_epoch: optimizer steps of one epoch.
    """
    rates = {block: initial_rate(lr, start) for block, start in stairs.starts.items()}
    ramp: list[tuple[int, Mapping[str, float]]] = [(0, rates)]
    for step in update_steps(stairs, epochs=epochs, per_epoch=per_epoch):
        higher = {b: up if (up := rate * stairs.base) < stairs.cap else rate for b, rate in rates.items()}
        if higher == rates:
            break
        rates = higher
        ramp.append((step, rates))
    return ramp
