"""The rates of a recipe's training with LeRaC, listed where they change, without training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from lerac.layers import named_parameters
from lerac.study.errors import StudyError
from lerac.study.plan.base_schedule import base_changes
from lerac.study.plan.curriculum import steps_per_epoch
from lerac.study.plan.rates import Rates, rates_of, skeleton
from lerac.study.plan.study import Run, Study
from lerac.study.recipes.official import block_of, official_ramp
from lerac.study.recipes.recipe import Recipe
from lerac.study.recipes.regimes import Regime
from lerac.study.recipes.sections import StaircaseSettings

__all__ = ["Group", "Schedule", "schedule_of"]


@dataclass(frozen=True)
class Group:
    """Parameters that always have the same rate.

    Args:
        name: of the layer or the blocks.
        parameters: their names.
        lrs: one for each step of `Schedule.at`.
    """

    name: str
    parameters: tuple[str, ...]
    lrs: tuple[float, ...]


@dataclass(frozen=True)
class Schedule:
    """All learning rates of a training with LeRaC.

    Args:
        recipe: MODEL/DATASET.
        source: whose settings.
        steps_per_epoch: optimizer steps of one epoch.
        steps: of the whole training.
        curriculum_steps: optimizer steps until the curriculum changes nothing any more.
        base: name of the base schedule.
        exact: False if a metric drives the base schedule, which is then held.
        at: steps, from 0: a rate holds from its step, the first that uses it, until the next.
        groups: nearest to the input first; every parameter of the network is in exactly one.
    """

    recipe: str
    source: str
    steps_per_epoch: int
    steps: int
    curriculum_steps: int
    base: str
    exact: bool
    at: tuple[int, ...]
    groups: tuple[Group, ...]

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain types, as `lerac schedule --json` prints it."""
        plain = {key: value for key, value in vars(self).items() if key != "steps"}
        return plain | {"groups": [{"parameters": group.parameters, "lrs": group.lrs} for group in self.groups]}


def schedule_of(recipe: Recipe, per_epoch: int | None = None) -> Schedule:
    """List the rates of a recipe's training with LeRaC as the recipe has it.

    Args:
        recipe: which; it need not be one that can be trained.
        per_epoch: optimizer steps of one epoch, 1 or more; None for what data and batch size make of it.

    Raises:
        StudyError: if the number of steps is needed and not known, the curriculum is shorter than a step or outlasts
            training, or the network or its blocks cannot be found.
    """
    recipe = _with_steps(recipe, per_epoch)
    stairs, base, epochs = recipe.lerac.staircase, recipe.schedule, recipe.training.epochs
    per_epoch = steps_per_epoch(recipe.settings())
    k, rates, rows, members = _authors(recipe, stairs, per_epoch) if stairs else _ours(recipe)
    at: list[int] = []
    lrs: list[list[float]] = []
    own = rows[0]
    for step in sorted({*rows, *base_changes(base.model_dump(), epochs=epochs, per_epoch=per_epoch)}):
        own = rows.get(step, own)
        row = [rate * rates.base(step) for rate in own]
        if not lrs or row != lrs[-1]:
            at.append(step)
            lrs.append(row)
    lines = zip(members, zip(*lrs, strict=True), strict=True)
    return Schedule(
        recipe=recipe.name,
        source=recipe.source,
        steps_per_epoch=per_epoch,
        steps=rates.steps,
        curriculum_steps=k,
        base=base.name,
        exact=base.name != "plateau",
        at=tuple(at),
        groups=tuple(Group(name, parameters, line) for (name, parameters), line in lines),
    )


# Rows: step → the rate of every member before the base schedule. Members: (what to call them, their parameters).
Rows = Mapping[int, Sequence[float]]
Members = list[tuple[str, tuple[str, ...]]]


def _ours(recipe: Recipe) -> tuple[int, Rates, Rows, Members]:
    rates = rates_of(_run(recipe, "lerac"))
    names = [layer.name for layer in rates.layers]
    during = range(min(rates.k + 1, rates.steps))
    rows = {step: [rates.lr * rates.factor(name, step) for name in names] for step in during}
    return rates.k, rates, rows, [(layer.name, layer.parameters) for layer in rates.layers]


def _authors(recipe: Recipe, stairs: StaircaseSettings, per_epoch: int) -> tuple[int, Rates, Rows, Members]:
    """Take the products of the authors' code as it rounds them, even where they never reach the full rate."""
    rates = rates_of(_run(recipe, "conventional"), ())
    ramp = official_ramp(stairs, lr=rates.lr, epochs=recipe.training.epochs, per_epoch=per_epoch)
    blocks: dict[float, dict[str, list[str]]] = {}  # by initial rate, in the order of the network
    network, _ = skeleton(recipe.model, recipe.network)
    for parameter, block in block_of(named_parameters(network), stairs.starts).items():
        blocks.setdefault(stairs.starts[block], {}).setdefault(block, []).append(parameter)
    divided = {outer for outer in stairs.starts for inner in stairs.starts if inner.startswith(f"{outer}.")}
    members = [
        (
            ", ".join(f"rest of {block}" if block in divided else block for block in inside),
            tuple(chain.from_iterable(inside.values())),
        )
        for inside in blocks.values()
    ]
    rows = {step: [of_block[next(iter(inside))] for inside in blocks.values()] for step, of_block in ramp}
    return ramp[-1][0], rates, rows, members


def _run(recipe: Recipe, regime: str) -> Run:
    # A study that has the recipe would check that there are as many examples.
    return Study(recipes=[], regimes=[], seeds=[]).run(recipe, Regime(regime), 0)


def _with_steps(recipe: Recipe, per_epoch: int | None) -> Recipe:
    """Give the recipe with as many training examples as make so many optimizer steps of an epoch."""
    if per_epoch is None:
        if recipe.data.train is None:
            raise StudyError(f"{recipe.name}: how many examples there are is not known here; give --steps-per-epoch")
        return recipe
    if per_epoch < 1:
        raise StudyError(f"--steps-per-epoch must be 1 or more, got {per_epoch}")
    examples = per_epoch * recipe.training.batch_size * (recipe.training.accumulate or 1)
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"train": examples})})
