"""The commands that ask for a study again."""

import json
import shlex
from typing import Any

from lerac.study.errors import StudyError
from lerac.study.plan import Study
from lerac.study.recipe import Recipe, recipe_sources

__all__ = ["changed_values", "commands_of"]


def commands_of(study: Study) -> list[str]:
    """Give the commands that ask for this study again; recipes that were changed by --set need one of their own."""
    common = [
        "--regimes",
        ",".join(study.regimes),
        "--seeds",
        ",".join(f"{seed}-{seed}" if len(study.seeds) == 1 else str(seed) for seed in study.seeds),
    ]
    if study.device != "cpu":
        common += ["--device", study.device]
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for recipe in study.recipes:
        word = study.files.get(recipe.name, recipe.name)
        source = ("--source", recipe.source) if _has_several_sources(word) else ()
        groups.setdefault((source, changed_values(recipe)), []).append(word)
    return [
        shlex.join(["lerac", "compare", *names, *source, *common, *(word for s in sets for word in ("--set", s))])
        for (source, sets), names in groups.items()
    ]


def changed_values(recipe: Recipe) -> tuple[str, ...]:
    """Give what --set changed in a recipe, as `key=value`."""
    keys = [key for key, source in recipe.sources.items() if source.startswith("set:")]
    return tuple(f"{key}={_value(recipe, key)}" for key in keys)


def _has_several_sources(word: str) -> bool:
    try:
        return len(recipe_sources(word)) > 1
    except StudyError:  # a file that is no longer there
        return True


def _value(recipe: Recipe, key: str) -> str:
    """Write a value as --set takes it: a word, or TOML, which for numbers, truth values and lists is JSON."""
    value: Any = recipe
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value if isinstance(value, str) else json.dumps(value)
