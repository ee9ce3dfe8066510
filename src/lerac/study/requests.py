"""From the words of the command line to a study, and every check that needs no training."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from lerac.study.data import DATASETS
from lerac.study.errors import StudyError
from lerac.study.models import MODELS
from lerac.study.plan import Study
from lerac.study.recipe import ALIASES, Recipe, Source, load_recipe, recipe_names, recipe_sources
from lerac.study.regimes import split_regimes

__all__ = ["default_workers", "parse_seeds", "request_study", "require_available", "require_trainable"]


MOST_SEEDS = 100_000  # more is a slip: somebody meant one seed


def request_study(
    recipes: Sequence[str],
    regimes: str,
    seeds: Sequence[int],
    overrides: Sequence[str],
    source: Source | None,
    device: str,
) -> Study:
    """Give the study that is asked for.

    Raises:
        StudyError: if a recipe, regime, override or device is wrong, or a curriculum outlasts training.
    """
    loaded = [load_recipe(name, overrides, source) for name in recipes]
    for recipe in loaded:
        require_trainable(recipe)
    names = [recipe.name for recipe in loaded]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise StudyError(f"recipes: {', '.join(sorted(repeated))} is given twice")
    given = zip(loaded, recipes, strict=True)
    files = {r.name: word for r, word in given if r.name != ALIASES.get(word, word)}  # a file, or model set anew
    study = Study(
        recipes=loaded,
        regimes=[str(regime) for regime in split_regimes(regimes)],
        seeds=list(seeds),
        device=_device(device),
        files=files,
    )
    study.runs()  # every regime fits every recipe, or this raises
    return study


def parse_seeds(text: str) -> list[int]:
    """Read `5` as 0 to 4, `100-109` as a range with both ends, `3,4,7` as a list (of ranges, too), `7-7` as one seed.

    Raises:
        StudyError: if it is none of these, empty, or names a seed twice.
    """
    text = text.replace(" ", "")
    if re.fullmatch(r"\d+", text):
        if (count := _number(text)) > MOST_SEEDS:
            raise StudyError(f"--seeds {text} asks for {text} seeds; a single seed is written {text}-{text}")
        seeds = list(range(count))
    else:
        seeds = []
        for part in text.split(","):
            if (match := re.fullmatch(r"(\d+)(?:-(\d+))?", part)) is None:
                raise StudyError(f"--seeds takes a count (5), a range (100-109) or a list (3,4,7), got {text!r}")
            first, last = match.group(1), match.group(2) or match.group(1)
            if _number(last) - _number(first) >= MOST_SEEDS:
                raise StudyError(f"--seeds {part} asks for more than {MOST_SEEDS} seeds")
            seeds += range(_number(first), _number(last) + 1)
    if not seeds or len(set(seeds)) < len(seeds):
        raise StudyError(f"--seeds {text} names {'a seed twice' if seeds else 'no seed'}")
    return sorted(seeds)


def require_available(engine: str, precision: str) -> None:
    """Refuse what the contract has and this version has not.

    Raises:
        StudyError: with the value, and what to use instead.
    """
    if engine != "local":
        raise StudyError(f"--engine {engine} is not available in this version yet; use local")
    if precision != "float32":
        raise StudyError(f"--precision {precision} is not available in this version yet; use float32")


def default_out(study: Study) -> Path:
    """Give runs/<recipe>, or runs/<recipe>+<recipe>… for several."""
    return Path("runs") / "+".join(recipe.slug for recipe in study.recipes)


def default_workers() -> int:
    """Count the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def known_recipes() -> list[dict[str, object]]:
    """List our recipes, as `lerac recipes --json` prints them."""
    recipes = [load_recipe(name) for name in recipe_names()]
    return [
        {"name": r.name, "model": r.model, "dataset": r.dataset, "sources": recipe_sources(r.name)} for r in recipes
    ]


def require_trainable(recipe: Recipe) -> None:
    """Refuse a recipe that asks for what this version cannot train.

    Raises:
        StudyError: with everything that is missing.
    """
    curve, stop, held_out = recipe.lerac.curve, recipe.training.early_stopping, recipe.data.validation
    missing = {
        f"the model {recipe.model}": recipe.model not in MODELS,
        f"the data set {recipe.dataset}": recipe.dataset not in DATASETS,
        f"the base schedule {recipe.schedule.name}": recipe.schedule.name == "plateau",
        "the curve staircase": curve == "staircase",
        "early stopping": stop is not None,
        "choosing epochs on the test split": held_out == "test",
        "an unknown number of training examples": recipe.data.train is None,
        "dropping the last batch": bool(recipe.training.drop_last),
        "preprocessing": recipe.preprocessing is not None,
    }
    if found := [what for what, needed in missing.items() if needed]:
        raise StudyError(
            f"recipe {recipe.name} (source {recipe.source}) cannot be trained: not available yet: {', '.join(found)}"
        )


def _number(digits: str) -> int:
    if len(digits) > 9:
        raise StudyError(f"--seeds: {digits} is too large, a seed has at most 9 digits")
    return int(digits)


def _device(name: str) -> str:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StudyError(f"--device {name} cannot be used here: {reason}") from None
    if device.type == "meta":
        raise StudyError("--device meta cannot be used: it computes nothing")
    return name
