"""The learning rate of every layer over a whole training, without training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from lerac import find_layers
from lerac.commands.named_models import NamedModel
from lerac.curves import CURVES
from lerac.layers import named_parameters, start_ratios
from lerac.study.errors import StudyError
from lerac.study.models import MODELS
from lerac.study.plan.rates import base_changes, base_schedule
from lerac.study.plan.study import steps_per_epoch
from lerac.study.recipes.official import block_of, official_ramp
from lerac.study.recipes.recipe import Recipe
from lerac.study.recipes.sections import StaircaseSettings

__all__ = ["Rates", "Schedule", "schedule_of"]


@dataclass(frozen=True)
class Rates:
    """The learning rate of parameters that always have the same.

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
    groups: tuple[Rates, ...]

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain types, as `lerac schedule --json` prints it."""
        return {
            "recipe": self.recipe,
            "source": self.source,
            "steps_per_epoch": self.steps_per_epoch,
            "curriculum_steps": self.curriculum_steps,
            "base": self.base,
            "exact": self.exact,
            "at": list(self.at),
            "groups": [{"parameters": list(g.parameters), "lrs": list(g.lrs)} for g in self.groups],
        }


def schedule_of(recipe: Recipe, per_epoch: int | None = None) -> Schedule:
    """Compute the rates of a recipe's training with LeRaC as the recipe has it.

    Args:
        recipe: which; it need not be one that can be trained.
        per_epoch: optimizer steps of one epoch, 1 or more; None for what data and batch size make of it.

    Raises:
        StudyError: if the number of steps is needed and not known, the curriculum is shorter than a step or outlasts
            training, or the network or its blocks cannot be found.
    """
    if per_epoch is None:
        if recipe.data.train is None:
            raise StudyError(f"{recipe.name}: how many examples there are is not known here; give --steps-per-epoch")
        per_epoch = steps_per_epoch(recipe.settings())
    if per_epoch < 1:
        raise StudyError(f"--steps-per-epoch must be 1 or more, got {per_epoch}")
    network = _network(recipe)
    if stairs := recipe.lerac.staircase:
        k, rows = _staircase(recipe, stairs, per_epoch)
        members = _blocks(network, stairs)
    else:
        k, rows, members = _equation_8(recipe, network, per_epoch)
    at, lrs = _with_base(recipe, per_epoch, rows)
    return Schedule(
        recipe=recipe.name,
        source=recipe.source,
        steps_per_epoch=per_epoch,
        steps=recipe.training.epochs * per_epoch,
        curriculum_steps=k,
        base=recipe.schedule.name,
        exact=recipe.schedule.name != "plateau",
        at=tuple(at),
        groups=tuple(Rates(name, parameters, tuple(row[key] for row in lrs)) for name, key, parameters in members),
    )


# Members: (what to call them, key of their rate in a row, their parameters). Rows: (step, rate by key).
Members = list[tuple[str, Any, tuple[str, ...]]]
Rows = Sequence[tuple[int, Mapping[Any, float]]]


def _staircase(recipe: Recipe, stairs: StaircaseSettings, per_epoch: int) -> tuple[int, Rows]:
    ramp = official_ramp(stairs, lr=recipe.optimizer.lr, epochs=recipe.training.epochs, per_epoch=per_epoch)
    of_start = {start: block for block, start in stairs.starts.items()}
    rows = [(step, {start: rates[block] for start, block in of_start.items()}) for step, rates in ramp]
    return rows[-1][0], rows


def _blocks(network: NamedModel, stairs: StaircaseSettings) -> Members:
    """Group the parameters by initial rate, in the order of the network."""
    blocks = block_of(named_parameters(network.model), stairs.starts)
    groups: dict[float, dict[str, list[str]]] = {}
    for parameter, block in blocks.items():
        groups.setdefault(stairs.starts[block], {}).setdefault(block, []).append(parameter)
    divided = {outer for outer in stairs.starts for inner in stairs.starts if inner.startswith(f"{outer}.")}
    return [
        (
            ", ".join(f"rest of {block}" if block in divided else block for block in inside),
            start,
            tuple(chain.from_iterable(inside.values())),
        )
        for start, inside in groups.items()
    ]


def _equation_8(recipe: Recipe, network: NamedModel, per_epoch: int) -> tuple[int, Rows, Members]:
    k, total = round(recipe.lerac.k * per_epoch), recipe.training.epochs * per_epoch
    if not 1 <= k <= total:
        what = f"{recipe.name}: a curriculum of {recipe.lerac.k:g} epochs is {k} of {total} optimizer steps"
        raise StudyError(f"{what}; it must have 1 or more and must not outlast training")
    layers = find_layers(network.model, *network.args, **network.kwargs)
    starts, curve, lr = start_ratios(layers, recipe.lerac.ratio), CURVES[recipe.lerac.curve], recipe.optimizer.lr
    rows = [(t, {name: lr * curve(t / k, start) for name, start in starts.items()}) for t in range(min(k + 1, total))]
    return k, rows, [(layer.name, layer.name, layer.parameters) for layer in layers]


def _with_base(recipe: Recipe, per_epoch: int, rows: Rows) -> tuple[list[int], list[Mapping[Any, float]]]:
    """Multiply the base schedule in; keep the steps where a rate changes."""
    schedule, epochs = recipe.schedule.model_dump(), recipe.training.epochs
    base = base_schedule(schedule, lr=recipe.optimizer.lr, epochs=epochs, per_epoch=per_epoch)
    changes = base_changes(schedule, epochs=epochs, per_epoch=per_epoch)
    own, last = dict(rows), rows[0][1]
    at: list[int] = []
    lrs: list[Mapping[Any, float]] = []
    for step in sorted({*own, *changes}):
        last = own.get(step, last)
        factor = base(step)
        row = {key: rate * factor for key, rate in last.items()}
        if not lrs or row != lrs[-1]:
            at.append(step)
            lrs.append(row)
    return at, lrs


def _network(recipe: Recipe) -> NamedModel:
    """Build the network without its weights, and example inputs; only names and order of the layers matter here."""
    network = MODELS[recipe.model]
    return NamedModel(network.skeleton(**recipe.network), (network.example_batch(**recipe.network),))
