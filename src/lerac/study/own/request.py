"""From a function, by its word or itself, to the study that compares regimes on it."""

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from lerac.regimes.text import Regime
from lerac.study.errors import StudyError, fault
from lerac.study.metrics import LARGEST, is_short
from lerac.study.own.functions import Source
from lerac.study.plan.own import FunctionExperiment, OwnExperiment
from lerac.study.plan.request import check_device
from lerac.study.plan.study import Study
from lerac.study.recipes.regimes import split_regimes

__all__ = ["DEFAULT_REGIMES", "Judged", "check_name", "own_study", "parse_values", "plain", "request_functions"]

DEFAULT_REGIMES = "conventional,warmup,lerac"  # that every network can be trained by


@dataclass(frozen=True)
class Judged:
    """What trainings are judged by, as the command line has it.

    Args:
        metric: its name; None: the only one.
        goal: `max` or `min`; None: `max`.
        unit: of what is shown.
        scale: from what is measured to what is shown.
    """

    metric: str | None = None
    goal: str | None = None
    unit: str = ""
    scale: float = 1.0

    def checked(self) -> dict[str, Any]:
        """Give the fields of an experiment.

        Raises:
            StudyError: if one cannot be.
        """
        if self.goal not in (None, "max", "min"):
            raise StudyError(f"--goal must be max or min, got {self.goal!r}")
        if not 1 / LARGEST < self.scale < LARGEST:
            raise StudyError(f"--scale must be a number above 0, got {self.scale!r}")
        if self.metric == "":
            raise StudyError("--metric is empty; it names what decides, such as accuracy")
        for option, text in (("--metric", self.metric), ("--unit", self.unit)):
            if text and not is_short(text):
                raise StudyError(f"{option} {text!r}: a short text was expected")
        goal: Literal["max", "min"] = "min" if self.goal == "min" else "max"
        return {"measure": self.metric, "goal": goal, "unit": self.unit, "scale": self.scale}


def parse_values(words: Sequence[str]) -> dict[str, Any]:
    """Read `key=value`, such as `lr=0.1` or `optimizer.lr=0.1`; values are TOML, or a bare word.

    Raises:
        StudyError: if one is not of that form, or given twice.
    """
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = (part.strip() for part in word.partition("="))
        if not equals or not all(key.split(".")) or not text or "\n" in text:
            raise StudyError(f"--set takes key=value like lr=0.1, got {word!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            value = text  # a bare word, as people type it
        *path, last = key.split(".")
        section = values
        for name in path:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise StudyError(f"--set {word}: {name!r} is a value, not a section")
        if last in section:
            raise StudyError(f"--set {word}: {key} is given twice")
        section[last] = value
    return values


def request_functions(
    sources: Mapping[str, Source],
    *,
    regimes: str,
    seeds: Sequence[int],
    values: Mapping[str, Any],
    judged: Judged,
    name: str | None = None,
    device: str = "cpu",
    threads: int = 1,
    accept: bool = False,
    here: bool = True,
) -> Study:
    """Give the study that is asked for.

    Args:
        sources: word by which a function was asked for → where it is.
        regimes: text of regimes, separated by commas.
        seeds: with which each is trained.
        values: that the functions are handed, as JSON has them.
        judged: what decides.
        name: of the experiment; None: as the function is called.
        device: where it is trained.
        threads: that each run may use on the CPU.
        accept: whether other source may go on where runs have ended.
        here: whether this machine trains it, so that it must have the device.

    Raises:
        StudyError: if any of it cannot be.
    """
    check_name(name)
    if name is not None and len(sources) > 1:
        raise StudyError(f"--name {name}: {len(sources)} functions cannot have one name")
    settings, decides = plain(values), judged.checked()
    try:
        experiments = {
            word: FunctionExperiment(
                name=source.name if name is None else name,
                values=settings,
                folder=os.getcwd(),  # noqa: PTH109 - as text
                file=source.file,
                function=source.function,
                module=source.module,
                code=[source.code],
                accept=accept,
                **decides,
            )
            for word, source in sources.items()
        }
    except ValidationError as error:
        raise StudyError(fault(error)) from None
    names = [experiment.name for experiment in experiments.values()]
    if twice := [one for one in names if names.count(one) > 1]:
        raise StudyError(f"{twice[0]} is the name of two functions; compare them in folders of their own")
    files = {experiment.name: word for word, experiment in experiments.items()}
    return own_study(list(experiments.values()), split_regimes(regimes), seeds, device, threads, here=here, files=files)


def check_name(name: str | None) -> None:
    """See that tables can show the name of an experiment.

    Raises:
        StudyError: if they cannot.
    """
    if name is not None and not is_short(name):
        raise StudyError(f"--name {name!r}: a short text was expected")


def own_study(
    experiments: Sequence[OwnExperiment],
    regimes: Sequence[Regime | str],
    seeds: Sequence[int],
    device: str,
    threads: int,
    *,
    here: bool,
    files: Mapping[str, str] | None = None,
) -> Study:
    """Give the study of trainings that people bring themselves; its regimes leave nothing open.

    Args:
        experiments: that are trained.
        regimes: by which; text is the name of an arm.
        seeds: with which each is trained.
        device: where.
        threads: that each run may use on the CPU.
        here: whether this machine trains it, so that it must have the device.
        files: name of an experiment → the word by which it was asked for.

    Raises:
        StudyError: if there can be no such device or number of threads.
    """
    if threads < 1:
        raise StudyError(f"--threads must be 1 or more, got {threads}")
    texts = [one if isinstance(one, str) else str(one.complete()) for one in regimes]
    return Study(
        recipes=list(experiments),
        regimes=list(dict.fromkeys(texts)),
        seeds=list(seeds),
        device=check_device(device) if here else device,
        threads=threads,
        files=dict(files or {}),
    )


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give settings as JSON has them.

    Raises:
        StudyError: naming the first that cannot be.
    """
    for key, value in values.items():
        try:
            json.dumps({key: value}, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise StudyError(f"settings: {key!r} is no plain JSON ({error}): {value!r:.80}") from None
        if not isinstance(key, str):
            raise StudyError(f"settings: names are text, got {key!r}")
    as_json: dict[str, Any] = json.loads(json.dumps(dict(values)))
    return as_json
