"""What a regime does to the learning rates and to the convolutions of a run, in optimizer steps, nothing left open."""

import math
from typing import Any

from lerac.regimes.effects import Curriculum, Smoothing, curriculum_of, order_of, smoothing_of
from lerac.regimes.text import REGIMES, STAIRCASE, Regime
from lerac.study.errors import StudyError
from lerac.study.recipes.official import official_ramp
from lerac.study.recipes.recipe import Recipe
from lerac.study.recipes.sections import StaircaseSettings

__all__ = ["resolve", "smooth", "steps_per_epoch"]


def resolve(regime: Regime, recipe: Recipe) -> Curriculum | None:
    """Fill what a regime leaves open about learning rates from the recipe, and turn epochs into optimizer steps.

    Raises:
        StudyError: if the curriculum is too short or outlasts training, or a staircase has more updates than steps.
    """
    if regime.name in ("conventional", "cbs"):
        return None
    own, takes = recipe.warmup if regime.name == "warmup" else recipe.lerac, REGIMES[regime.name]
    options = ({"k": own.k} if "k" in takes else {}) | dict(regime.options)
    if "curve" in takes:
        if regime.name != "warmup" and recipe.lerac.staircase and "curve" not in options:
            return _recipes_staircase(regime, recipe, recipe.lerac.staircase)
        options.setdefault("curve", "linear" if regime.name == "warmup" else recipe.lerac.curve)
        if not (regime.name == "warmup" and options["curve"] == "linear"):
            options.setdefault("ratio", recipe.lerac.ratio)
    else:
        options = dict(Regime(regime.name, options).complete().options)
    length = {"epoch_steps": steps_per_epoch(recipe.settings()), "epochs": recipe.training.epochs}
    try:
        return curriculum_of(Regime(regime.name, options), **length, shown=str(regime))
    except ValueError as error:
        raise StudyError(f"{recipe.name}: {error}") from None


def smooth(regime: Regime, recipe: Recipe) -> Smoothing | None:
    """Fill what a regime leaves open about smoothing from the recipe, and turn epochs into optimizer steps.

    Raises:
        StudyError: if neither regime nor recipe has a value, or σ would decay more often than once per step.
    """
    if not regime.name.startswith("cbs"):
        return None
    values: dict[str, Any] = (recipe.cbs.model_dump() if recipe.cbs else {}) | dict(regime.options)
    if missing := [key for key in ("sigma", "decay", "every") if key not in values]:
        raise StudyError(
            f"{recipe.name} has no [cbs]; {regime} needs {', '.join(missing)}, like cbs(sigma=1,…), or leave it out of "
            "--regimes: a network without convolutions has nothing to smooth"
        )
    per_epoch = steps_per_epoch(recipe.settings())
    try:
        return smoothing_of(Regime(regime.name, values), epoch_steps=per_epoch, shown=str(regime))
    except ValueError as error:
        raise StudyError(f"{recipe.name}: {error}") from None


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


def _recipes_staircase(regime: Regime, recipe: Recipe, stairs: StaircaseSettings) -> Curriculum:
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
    return Curriculum("lerac", max(1, k), STAIRCASE, ratios, order_of(regime), stairs.base, updates)
