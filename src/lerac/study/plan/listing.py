"""The rates of a recipe's training with LeRaC, or by another regime, listed where they change, without training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from lerac.layers import Layer, named_parameters
from lerac.regimes.effects import Curriculum
from lerac.regimes.text import Regime
from lerac.study.errors import StudyError
from lerac.study.plan.rates import Rates, base_changes, rates_of, skeleton
from lerac.study.plan.study import Study
from lerac.study.recipes.official import block_of, official_ramp
from lerac.study.recipes.recipe import Recipe
from lerac.study.recipes.sections import StaircaseSettings

__all__ = ["Group", "Schedule", "schedule_of"]


Rows = Mapping[int, Sequence[float]]  # step → the rate of every layer before the base schedule


class Group(NamedTuple):
    """Parameters that always have the same rate: name of the layer or blocks, theirs, a rate for each step of `at`."""

    name: str
    parameters: tuple[str, ...]
    lrs: tuple[float, ...]


@dataclass(frozen=True)
class Schedule:
    """All learning rates of a training.

    Args:
        recipe: MODEL/DATASET.
        source: whose settings.
        steps_per_epoch: optimizer steps of one epoch.
        curriculum_steps: optimizer steps until the curriculum changes nothing any more; 0 without one.
        base: name of the base schedule.
        exact: False if a metric drives the base schedule, which is then held.
        at: steps, from 0: a rate holds from its step, the first that uses it, until the next.
        groups: nearest to the input first; every parameter of the network is in exactly one.
        steps: of the whole training.
        regime: by which it is; None: LeRaC as the recipe has it.
    """

    recipe: str
    source: str
    steps_per_epoch: int
    curriculum_steps: int
    base: str
    exact: bool
    at: tuple[int, ...]
    groups: tuple[Group, ...]
    steps: int
    regime: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain types, as `lerac schedule --json` prints it."""
        plain = {key: value for key, value in vars(self).items() if key != "steps" and (key, value) != ("regime", None)}
        return plain | {"groups": [{"parameters": group.parameters, "lrs": group.lrs} for group in self.groups]}


def schedule_of(recipe: Recipe, per_epoch: int | None = None, regime: Regime | None = None) -> Schedule:
    """List the rates of a recipe's training.

    Args:
        recipe: which; it need not be one that can be trained.
        per_epoch: optimizer steps of one epoch, 1 or more; None for what data and batch size make of it.
        regime: by which; None: LeRaC as the recipe has it, of the authors' code in their own products.

    Raises:
        StudyError: if the number of steps is needed and not known, the curriculum is shorter than a step or outlasts
            training, or the network or its blocks cannot be found.
    """
    recipe = _with_steps(recipe, per_epoch)
    base, epochs = recipe.schedule, recipe.training.epochs
    stairs = recipe.lerac.staircase if regime is None else None
    # Not of a study that has the recipe, which would look for so many examples.
    of = regime or Regime("conventional" if stairs else "lerac")
    run = Study(recipes=[], regimes=[], seeds=[]).run(recipe, of, 0)
    rates = rates_of(run, _blocks(recipe, stairs) if stairs else None)
    per_epoch = rates.steps // epochs
    k, rows = _authors(rates, stairs, epochs, per_epoch) if stairs else _ours(run.curriculum, rates)
    at: list[int] = []
    lrs: list[list[float]] = []
    own = rows[0]
    for step in sorted({*rows, *base_changes(base.model_dump(), epochs=epochs, per_epoch=per_epoch)}):
        own = rows.get(step, own)
        row = [rate * rates.base(step) for rate in own]
        if not lrs or row != lrs[-1]:
            at.append(step)
            lrs.append(row)
    groups = [Group(x.name, x.parameters, line) for x, line in zip(rates.layers, zip(*lrs, strict=True), strict=True)]
    exact = base.name != "plateau"
    named = None if regime is None else str(regime)
    return Schedule(
        recipe.name, recipe.source, per_epoch, k, base.name, exact, tuple(at), tuple(groups), rates.steps, named
    )


def _ours(curriculum: Curriculum | None, rates: Rates) -> tuple[int, Rows]:
    k = curriculum.k if curriculum else 0
    during = range(1 if k is None else min(k + 1, rates.steps))
    rows = {t: [rates.lr * rates.factor(layer.name, t) for layer in rates.layers] for t in during}
    return rates.steps if k is None else k, rows


def _authors(rates: Rates, stairs: StaircaseSettings, epochs: int, per_epoch: int) -> tuple[int, Rows]:
    """Take the products of the authors' code, which equal ours but for their rounding and need not arrive."""
    ramp = official_ramp(stairs, lr=rates.lr, epochs=epochs, per_epoch=per_epoch)
    block = block_of(chain.from_iterable(layer.parameters for layer in rates.layers), stairs.starts)
    first = [block[layer.parameters[0]] for layer in rates.layers]
    return ramp[-1][0], {step: [of_block[name] for name in first] for step, of_block in ramp}


def _blocks(recipe: Recipe, stairs: StaircaseSettings) -> list[Layer]:
    """Give the blocks as layers, those with the same initial rate together, in the order of the network."""
    together: dict[float, dict[str, list[str]]] = {}
    network, _ = skeleton(recipe.settings(), recipe.where or "")
    for parameter, block in block_of(named_parameters(network), stairs.starts).items():
        together.setdefault(stairs.starts[block], {}).setdefault(block, []).append(parameter)
    divided = {outer for outer in stairs.starts for inner in stairs.starts if inner.startswith(f"{outer}.")}
    return [
        Layer(
            ", ".join(f"rest of {block}" if block in divided else block for block in inside),
            depth,
            tuple(chain.from_iterable(inside.values())),
        )
        for depth, inside in enumerate(together.values())
    ]


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
