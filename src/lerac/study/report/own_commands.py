"""The commands that ask for trainings of somebody's own again: in the shell, or where the function is, in Python."""

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lerac.study.errors import StudyError
from lerac.study.own.request import parse_values
from lerac.study.plan.command import CommandExperiment
from lerac.study.plan.own import FunctionExperiment, OwnExperiment
from lerac.study.plan.study import Study
from lerac.study.statistics.seeds_needed import POWER

__all__ = ["call_of", "own_words", "written"]

TOML_WORDS = ("true", "false", "inf", "nan")  # that stand for themselves


def own_words(experiment: OwnExperiment, study: Study) -> tuple[list[str], list[str]] | None:
    """Give the words that name it in its folder, regimes among them, and its options; None if only Python can."""
    if (sets := _sets(experiment.values)) is None or (words := _named(experiment, study)) is None:
        return None
    judged = {
        "--name": experiment.name if experiment.name != _usual_name(experiment) else None,
        "--metric": experiment.measure,
        "--goal": experiment.goal if experiment.goal != "max" else None,
        "--unit": experiment.unit or None,
        "--scale": repr(experiment.scale).removesuffix(".0") if experiment.scale != 1 else None,
        "--threads": str(study.threads) if study.threads != 1 else None,
    }
    told = [word for key, value in judged.items() if value is not None for word in (key, value)]
    return words, [*told, *(word for one in sets for word in ("--set", one))]


def _named(experiment: OwnExperiment, study: Study) -> list[str] | None:
    regimes = ["--regimes", ",".join(study.regimes)]
    if isinstance(experiment, CommandExperiment):
        arms = [word for name, own in experiment.arms.items() for word in ("--arm", f"{name}={written(own)}")]
        return ["--command", written(experiment.words), "--results", experiment.results, *(arms or regimes)]
    assert isinstance(experiment, FunctionExperiment)
    if not experiment.file or "." in (experiment.module or "") or not experiment.function.isidentifier():
        return None  # in a notebook, or inside of a package or a class
    word = study.files.get(experiment.name, "")
    file, _, function = word.rpartition(":")
    same = os.path.normpath(Path(experiment.folder, file)) == os.path.normpath(experiment.file)
    return [word if same and function == experiment.function else f"{experiment.file}:{experiment.function}", *regimes]


def written(words: Sequence[str]) -> str:
    """Write words as `shlex.split` reads them; this is no line for a shell, so that placeholders need no quotes."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if re.fullmatch(r"[\w@%+=:,./{}-]+", word, re.ASCII):
        return word
    return shlex.quote(word) if re.search(r'["\\$`!]', word) else f'"{word}"'


def _usual_name(experiment: OwnExperiment) -> str | None:
    if not isinstance(experiment, FunctionExperiment):
        return None  # that of a command depends on the files that are there
    return f"{Path(experiment.file).stem if experiment.file else 'notebook'}:{experiment.function}"


def call_of(experiment: FunctionExperiment, study: Study, words: Sequence[str]) -> str:
    """Give the call of `lerac.study.compare` by which a function is compared again that a command cannot name.

    Args:
        experiment: of the function.
        study: that was asked for.
        words: options of the command line, with a value each, of places and of what is asked of the statistics.
    """
    function = "train" if experiment.function == "lambda" else experiment.function
    said = dict(zip(words[::2], words[1::2], strict=True))
    options: dict[str, tuple[Any, Any]] = {
        "metric": (experiment.measure, None),
        "goal": (experiment.goal, "max"),
        "unit": (experiment.unit, ""),
        "scale": (experiment.scale, 1),
        "name": (experiment.name, _usual_name(experiment)),
        "settings": (experiment.values, {}),
        "device": (study.device, "cpu"),
        "threads": (study.threads, 1),
        "engine": (said.get("--engine", "local"), "local"),
        "baseline": (said.get("--baseline"), None),
        "claims": ([said["--claim"]] if "--claim" in said else [], []),
        "power": (float(said.get("--power", POWER)), POWER),
        "tuned": (study.tuned.folders[0] if study.tuned else None, None),
        "out": (said.get("--out"), None),
        "workers": (None if experiment.file else 0, None),
    }
    told = "".join(f", {name}={value!r}" for name, (value, usual) in options.items() if value != usual)
    imported = f"from {experiment.module} import {function}; import lerac.study; " if experiment.module else ""
    return f"{imported}lerac.study.compare({function}, {study.regimes!r}, {study.seeds!r}{told})"


def _sets(values: Mapping[str, Any]) -> list[str] | None:
    """Write settings as `--set` reads them; None if it cannot."""
    try:
        words = list(_assignments(values))
        "".join(words).encode()
        return words if parse_values(words) == values else None
    except (StudyError, ValueError):
        return None


def _assignments(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _assignments(value, f"{prefix}{key}.")
        else:
            bare = isinstance(value, str) and value.isidentifier() and value not in TOML_WORDS
            yield f"{prefix}{key}={value if bare else _toml(value)}"


def _toml(value: Any) -> str:
    """Write a value of JSON as TOML has it.

    Raises:
        ValueError: if TOML has none such.
    """
    if value is None:
        raise ValueError("TOML has no null")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
