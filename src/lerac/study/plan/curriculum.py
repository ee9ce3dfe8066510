"""What a regime does to the learning rates and to the convolutions of a run, in optimizer steps, nothing left open."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lerac.study.errors import StudyError
from lerac.study.recipes.official import official_ramp
from lerac.study.recipes.recipe import Recipe
from lerac.study.recipes.regimes import STAIRCASE, Regime
from lerac.study.recipes.sections import StaircaseSettings

__all__ = ["Curriculum", "Smoothing", "resolve", "smooth", "steps_per_epoch"]

Order = Literal["nearest", "reversed", "shuffled", "registered"]


@dataclass(frozen=True)
class Curriculum:
    """What a regime does to the learning rates at the start of training, with nothing left open.

    Args:
        kind: `warmup` multiplies all rates by one factor, `lerac` gives each layer its own.
        k: length in optimizer steps.
        curve: a name in `lerac.curves.CURVES`, or `staircase`.
        ratio: start over full rate: of all layers for `warmup` (None: a straight line from 0), of the last
            layer for `lerac`; or of every block of a network, by its name.
        order: which layer starts highest: the nearest to the input, the farthest, one drawn by the seed, or the one
            that the network registers first.
        base: of the staircase: factor of one update, above 1.
        updates: of the staircase: how many, equally spaced, the last one at the end; or their progress values.
    """

    kind: Literal["warmup", "lerac"]
    k: int
    curve: str
    ratio: float | Mapping[str, float] | None
    order: Order = "nearest"
    base: float | None = None
    updates: int | tuple[float, ...] | None = None


@dataclass(frozen=True)
class Smoothing:
    """What Curriculum by Smoothing does in a run, with nothing left open.

    Args:
        sigma: standard deviation of the Gaussian at the start, above 0, in pixels.
        decay: factor on it, in (0, 1].
        every: optimizer steps from one decay to the next.
    """

    sigma: float
    decay: float
    every: int


def resolve(regime: Regime, recipe: Recipe) -> Curriculum | None:
    """Fill what a regime leaves open about learning rates from the recipe, and turn epochs into optimizer steps.

    Raises:
        StudyError: if the curriculum is too short or outlasts training, or a staircase has more updates than steps.
    """
    if regime.name in ("conventional", "cbs"):
        return None
    options: dict[str, Any] = dict(regime.options)
    if regime.name == "warmup":
        k = _steps(regime, recipe, options.get("k", recipe.warmup.k))
        curve = options.get("curve", "linear")
        ratio = options.get("ratio", None if curve == "linear" else recipe.lerac.ratio)
        return Curriculum("warmup", k, curve, ratio, "nearest", *_staircase(regime, k, ratio))
    orders: dict[str, Order] = {"lerac-reversed": "reversed", "lerac-shuffled": "shuffled"}
    order = orders.get(regime.name, "registered" if options.get("depth") == "registered" else "nearest")
    if recipe.lerac.staircase and "curve" not in options:
        return _recipes_staircase(regime, recipe, recipe.lerac.staircase, order)
    k = _steps(regime, recipe, options.get("k", recipe.lerac.k))
    curve, ratio = options.get("curve", recipe.lerac.curve), options.get("ratio", recipe.lerac.ratio)
    return Curriculum("lerac", k, curve, ratio, order, *_staircase(regime, k, ratio))


def smooth(regime: Regime, recipe: Recipe) -> Smoothing | None:
    """Fill what a regime leaves open about smoothing from the recipe, and turn epochs into optimizer steps.

    Raises:
        StudyError: if neither regime nor recipe has a value, or σ would decay more often than once per step.
    """
    if not regime.name.startswith("cbs"):
        return None
    values: dict[str, Any] = (recipe.cbs.model_dump() if recipe.cbs else {}) | dict(regime.options)
    if missing := [key for key in ("sigma", "decay", "every") if key not in values]:
        raise StudyError(f"{recipe.name} has no [cbs]; {regime} needs {', '.join(missing)}, like cbs(sigma=1,…)")
    per_epoch = steps_per_epoch(recipe.settings())
    if (every := round(values["every"] * per_epoch)) < 1:
        what = f"{recipe.name}: {regime} with every = {values['every']:g} epochs"
        raise StudyError(f"{what} is shorter than a step: use {1 / per_epoch:g} or more")
    return Smoothing(values["sigma"], values["decay"], every)


def steps_per_epoch(settings: dict[str, Any]) -> int:
    """Count the optimizer steps of one epoch; a smaller last batch counts, unless the recipe drops it.

    Raises:
        StudyError: if the number of training examples is not known.
    """
    if (count := settings["data"].get("train")) is None:
        raise StudyError(f"{settings['dataset']}: how many training examples there are is not known; set data.train")
    train, training = int(count), settings["training"]
    whole, rest = divmod(train, int(training["batch_size"]))
    batches = whole + (rest > 0 and not training.get("drop_last"))
    return -(-batches // int(training.get("accumulate", 1)))


def _steps(regime: Regime, recipe: Recipe, epochs: float) -> int:
    per_epoch = steps_per_epoch(recipe.settings())
    steps = round(epochs * per_epoch)
    total = per_epoch * recipe.training.epochs
    what = f"{recipe.name}: the curriculum of {regime} (k = {epochs:g} epochs, {steps} optimizer steps)"
    if steps < 1:
        raise StudyError(f"{what} is shorter than a step: use k = {1 / per_epoch:g} or more")
    if steps > total:
        raise StudyError(f"{what} outlasts training ({recipe.training.epochs} epochs, {total} steps): use a smaller k")
    return steps


def _staircase(regime: Regime, k: int, ratio: float | None) -> tuple[float | None, int | None]:
    """Give base and updates, if it is one; by default as many updates as lift the last layer to the full rate."""
    options: dict[str, Any] = dict(regime.options)
    if options.get("curve") != STAIRCASE or ratio is None:
        return None, None
    base = options.get("base", 10.0)
    needed = math.ceil(-math.log(ratio) / math.log(base) - 1e-9)  # exact powers need no more for their rounding
    updates = options.get("updates", max(1, needed))
    if updates > k:
        raise StudyError(f"{regime}: {updates} updates do not fit into a curriculum of {k} steps: use a larger base")
    return base, updates


def _recipes_staircase(regime: Regime, recipe: Recipe, stairs: StaircaseSettings, order: Order) -> Curriculum:
    """Resolve the staircase that a recipe describes, the authors' code, block by block."""
    if given := [key for key in regime.options if key in ("k", "ratio")]:
        raise StudyError(
            f"{recipe.name}: {regime}: {', '.join(given)} of this recipe's staircase follow from [lerac.staircase]; "
            "name another curve as well, such as curve=exponential"
        )
    lr, per_epoch = recipe.optimizer.lr, steps_per_epoch(recipe.settings())
    ramp = official_ramp(stairs, lr=lr, epochs=recipe.training.epochs, per_epoch=per_epoch)
    k, reached = ramp[-1]
    if short := [block for block, rate in reached.items() if not math.isclose(rate, lr, rel_tol=1e-9)]:
        raise StudyError(
            f"{recipe.name}: the staircase of {regime} ends at step {k} with {short[0]} at {reached[short[0]]:g}, "
            f"below the full rate {lr:g}: it needs more steps per epoch than {per_epoch}, more epochs, or fewer updates"
        )
    ratios = {block: min(1.0, rate / lr) for block, rate in ramp[0][1].items()}
    updates = tuple(step / k for step, _ in ramp[1:]) if k else (1.0,)
    return Curriculum("lerac", max(1, k), STAIRCASE, ratios, order, stairs.base, updates)
