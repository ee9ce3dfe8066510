"""From the words of the command line to a study, and every check that needs no training."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import ValidationError

from lerac.study.data import DATASETS
from lerac.study.data.places import data_root
from lerac.study.errors import StudyError, fault
from lerac.study.models.theirs import is_theirs
from lerac.study.plan.precision import check_precision
from lerac.study.plan.rates import skeleton
from lerac.study.plan.study import Study
from lerac.study.recipes.files import asked_by
from lerac.study.recipes.recipe import ALIASES, Recipe, Source, load_recipe
from lerac.study.recipes.regimes import split_regimes

__all__ = ["check_device", "parse_seeds", "request_study", "require_data", "set_places"]


MOST_SEEDS = 100_000  # more is a slip: somebody meant one seed


def request_study(
    recipes: Sequence[str],
    regimes: str,
    seeds: Sequence[int],
    overrides: Sequence[str],
    source: Source | None,
    device: str,
    precision: str = "float32",
    *,
    processes: int = 1,
    here: bool = True,
) -> Study:
    """Give the study that is asked for; `here` if this machine trains it, so that it must have the device.

    Raises:
        StudyError: if a recipe, regime, override or device is wrong, the device has no such precision or cannot be
            shared by so many processes, a curriculum outlasts training, or training examples have to be counted and
            are not there.
    """
    loaded = [_counted(load_recipe(name, overrides, source)) for name in recipes]
    names = [recipe.name for recipe in loaded]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise StudyError(f"recipes: {', '.join(sorted(repeated))} is given twice")
    given = zip(loaded, recipes, strict=True)
    anew = {
        r.name: asked_by(word) for r, word in given if r.name != ALIASES.get(word, word)
    }  # a file, or another model
    try:
        study = Study(
            recipes=loaded,
            regimes=[str(regime) for regime in split_regimes(regimes)],
            seeds=list(seeds),
            device=check_device(device) if here else device,
            precision=precision,
            processes=processes,
            files=anew,
        )
    except ValidationError as error:
        raise StudyError(f"this study cannot be written down: {fault(error)}") from None
    check_precision(precision, device, here=here)
    _check_processes(study)
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


def require_data(study: Study) -> None:
    """Refuse to train where nobody has said where the data is, or with a network of somebody's that cannot be built.

    Raises:
        StudyError: if a data set has files and there is no data root, or such a network cannot be built for its data.
    """
    for one in study.experiments:
        if isinstance(one, Recipe) and (data := DATASETS[one.dataset]).has_files:
            data_root(None, data.debian)
        if isinstance(one, Recipe) and is_theirs(one.model):
            try:
                skeleton(one.settings(), one.where or "")
            except StudyError as error:
                raise StudyError(f"recipe {study.files.get(one.name, one.name)}: {error}") from None


def set_places(data: Path | None, weights: Path | None) -> None:
    """Say to this process and its workers where data sets and published weights are, in the environment.

    It is no part of a study: wherever they are, they are the same.

    Raises:
        StudyError: if there is no such folder.
    """
    for option, variable, folder in (("--data-root", "LERAC_DATA", data), ("--weights", "LERAC_WEIGHTS", weights)):
        if folder is None:
            continue
        if not folder.is_dir():
            raise StudyError(f"{option} {folder}: there is no such folder")
        os.environ[variable] = str(folder.resolve())


def default_out(study: Study) -> Path:
    """Give runs/<recipe>, or runs/<recipe>+<recipe>… for several."""
    return Path("runs") / "+".join(recipe.slug for recipe in study.recipes)


def _counted(recipe: Recipe) -> Recipe:
    """Give the recipe with its number of training examples, counted in the data if it does not say it.

    Raises:
        StudyError: if it has to be counted and the data is not there.
    """
    if recipe.data.train is not None:
        return recipe
    splits = DATASETS[recipe.dataset].load(recipe.data, 0)
    count, sources = len(splits.train), {**recipe.sources, "data.train": "set: counted in the data set"}
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"train": count}), "sources": sources})


def _check_processes(study: Study) -> None:
    """See that processes trained together have a device and an example each."""
    if (count := study.processes) == 1:
        return
    if study.device not in ("cpu", "cuda"):
        raise StudyError(f"--device {study.device}: {count} processes train on cpu or cuda, a GPU each")
    for recipe in study.recipes:
        if (batch := recipe.training.batch_size) < count:
            raise StudyError(f"{recipe.name}: {count} processes cannot share batches of {batch} examples")


def _number(digits: str) -> int:
    if len(digits) > 9:
        raise StudyError(f"--seeds: {digits} is too large, a seed has at most 9 digits")
    return int(digits)


def check_device(name: str) -> str:
    """Give a device of this machine.

    Raises:
        StudyError: if it cannot be used here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StudyError(f"--device {name} cannot be used here: {reason}") from None
    if device.type == "meta":
        raise StudyError("--device meta cannot be used: it computes nothing")
    return name
