"""Recipes: everything that decides a training run except the regime and the seed, as TOML files.

A file has the settings of one source, named by `source`, or of several, each in a table of its own (`[paper]`,
`[official]`, `[ours]`) with the same sections inside; what stands outside these tables holds for all of them.
"""

# Long because the fields of a recipe, their checks and the errors about its file are one format.

import json
import math
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_serializer, model_validator

from lerac.study.data import DATASETS
from lerac.study.data.settings import DataSettings, Section
from lerac.study.data.tasks import metric_of
from lerac.study.errors import StudyError, near, shown
from lerac.study.metrics import Metric
from lerac.study.models import MODELS
from lerac.study.models.network import THEIRS
from lerac.study.models.theirs import Theirs, is_theirs
from lerac.study.recipes.files import (
    ALIASES,
    SOURCES,
    Source,
    folder_of,
    read_settings,
    recipe_names,
    recipe_sources,
    recipe_text,
)
from lerac.study.recipes.naming import check_name, slug_of, usual_name
from lerac.study.recipes.official import official_ramp
from lerac.study.recipes.regimes import parse_regime
from lerac.study.recipes.sections import (
    DEFAULTS,
    CBSSettings,
    LeRaCSettings,
    OptimizerSettings,
    ScheduleSettings,
    TrainingSettings,
    WarmupSettings,
)

__all__ = ["ALIASES", "Recipe", "Source", "load_recipe", "recipe_names", "recipe_sources", "recipe_text"]

DEEPEST = 16  # levels of sections and lists; recipes have four
KINDS = {"pictures": {"images", "spectrograms"}, "signals": {"signals"}, "text": {"text"}}  # of data → of batches
NOTED = ("where", "code")  # of somebody's own network, by us
NOTES = ("cell", "published", "unknown", "reported", "parameters", "ranges", "surprises")
InPaper = Literal["known", "unknown", "none"]
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]


class Reported(Section):
    """A number to reach: `score` in the unit that is shown, and `source`: who reports it, and of what."""

    score: float
    source: str


class Recipe(Section):
    """A model, a data set and how to train, by one source.

    Args:
        name: in tables and folders; MODEL/DATASET unless it is given.
        model: which network: one of ours, or as `lerac.study.models.theirs` has it.
        dataset: which data set.
        weights: file of published weights that somebody's own network starts from; None: it starts from random ones.
        network: the model's own options, such as `depth` or `width`; what is not named keeps the model's default.
        source: whose settings these are; single values may be from elsewhere, as `sources` says.
        cell: whether this model on this data set is in the tables of the paper: `known`, with the numbers in
            `published`; `unknown`: a later version may have it, with numbers that we do not know; `none`: it is not.
            None: not said.
        published: regime → [mean, standard deviation] of the metric that the paper reports, in the unit it is shown in:
            accuracies and mAP in %.
        unknown: what we do not know of the paper's experiment, in words.
        reported: what others than the paper report of such a network on this data.
        parameters: number of the network's weights; None where it depends on the data, or is not said.
        ranges: dotted key → [low, high], where the paper gives a range; the value chosen lies in it.
        surprises: what these settings do that nobody would expect, in words.
        sources: where each value comes from. Keys are sections (`training`) or dotted keys (`training.epochs`);
            values start with `paper`, `official`, `ours` or `user`, then a colon and a word why.
        where: folder that relative paths are of, noted when the recipe is loaded; None where there are none.
        code: sha256 of the files of somebody's own network and of its weights, noted likewise.

    Raises:
        ValidationError: if a key is unknown or a value is out of its range.
    """

    model: str
    dataset: str
    source: Source
    data: DataSettings
    training: TrainingSettings
    network: dict[str, Any] = Field(default_factory=dict)
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    warmup: WarmupSettings
    lerac: LeRaCSettings
    cbs: CBSSettings | None = None
    cell: InPaper | None = None
    published: dict[str, Pair] = Field(default_factory=dict)
    unknown: list[str] = Field(default_factory=list)
    reported: Reported | None = None
    parameters: Annotated[int, Field(ge=1)] | None = None
    ranges: dict[str, Pair] = Field(default_factory=dict)
    surprises: list[str] = Field(default_factory=list)
    sources: dict[str, str] = Field(default_factory=dict)
    name: str = ""
    weights: str | None = None
    where: str | None = None
    code: dict[str, str] | None = None

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return slug_of(self.name)

    @property
    def network_of(self) -> Theirs:
        """Somebody's own network; only where `is_theirs` says so of the model."""
        return Theirs(self.model, self.where or "")

    @property
    def metric(self) -> Metric:
        """What networks are judged by."""
        return metric_of(self.dataset)

    @property
    def warnings(self) -> list[str]:
        """What must be known before any of the numbers is believed."""
        warnings = []
        if self.data.sample:
            warnings.append(f"Trained on a generated sample: the numbers say nothing about {self.dataset}.")
        if self.data.validation == "test":
            warnings.append("Epochs were chosen on the test split itself, so its numbers are too good in every regime.")
        return warnings

    @property
    def changed(self) -> tuple[str, ...]:
        """What --set changed, as it takes it: `key=value`."""
        keys = [key for key, source in self.sources.items() if source.startswith("set:")]
        return tuple(f"{key}={self._text(key)}" for key in keys)

    def settings(self) -> dict[str, Any]:
        """Give all values that can change a result, as plain types; what is not set is left out."""
        return self.model_dump(exclude={"name", "source", "sources", "where", *NOTES}, exclude_none=True)

    @model_serializer(mode="wrap")
    def _as_before(self, handler: Any) -> dict[str, Any]:
        """Leave out what most recipes have not, so that their studies are written as ever."""
        values: dict[str, Any] = handler(self)
        if values.get("name") == usual_name(values):
            del values["name"]
        rare = ("weights", *NOTED)
        return {key: value for key, value in values.items() if key not in rare or value is not None}

    @model_validator(mode="before")
    @classmethod
    def _what_may_be_left_out(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        usual = usual_name(values)
        filled = {**values} if usual is None else {"name": usual, **values}
        return {**DEFAULTS, **filled} if values.get("source") == "user" else filled

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        check_name(self.name)
        if self.model not in MODELS and not is_theirs(self.model):
            also = near(self.model, MODELS) if self.source == "user" else ""
            raise ValueError(f"model must be one of {', '.join(MODELS)}, {THEIRS}, got {self.model!r}{also}")
        if self.dataset not in DATASETS:
            raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, got {self.dataset!r}")
        return self

    @model_validator(mode="after")
    def _weights_are_of_their_networks(self) -> Self:
        if self.weights is not None and not is_theirs(self.model):
            raise ValueError(f"weights: {self.model} takes published weights from the folder of --weights; remove it")
        return self

    @model_validator(mode="after")
    def _network_options_are_the_models(self) -> Self:
        if not is_theirs(self.model):  # others are looked for when a recipe is loaded, and not when a study is read
            MODELS[self.model].check(self.network)
        return self

    @model_validator(mode="after")
    def _network_takes_the_data(self) -> Self:
        data = DATASETS[self.dataset]
        if is_theirs(self.model):
            if data.task == "detection":
                raise ValueError(f"{self.dataset} has boxes for labels, but {self.model} detects no objects")
            return self
        network = MODELS[self.model]
        if network.outputs == "detections" and data.task != "detection":
            raise ValueError(f"{self.model} detects objects, but {self.dataset} has no boxes")
        if network.outputs != "detections" and data.task == "detection":
            raise ValueError(f"{self.dataset} has boxes for labels, but {self.model} detects no objects")
        if KINDS[data.inputs].isdisjoint((network.inputs, *network.also)):
            raise ValueError(f"{self.model} reads {network.inputs}, but {self.dataset} has {data.inputs}")
        return self

    @model_validator(mode="after")
    def _data_settings_fit_the_data(self) -> Self:
        DATASETS[self.dataset].check_settings(self.dataset, self.data)
        if (train := self.data.train) is None:
            return self
        if train < 2:
            raise ValueError(f"data.train must be 2 or more to train on, got {train}")
        if self.training.drop_last and train < self.training.batch_size:
            raise ValueError(f"training.drop_last: {train} examples fill no batch of {self.training.batch_size}")
        return self

    @model_validator(mode="after")
    def _sizes_fit_the_data(self) -> Self:
        there, train, validation = DATASETS[self.dataset], self.data.train, self.data.validation
        if train is None or isinstance(validation, str):
            return self
        sizes = (train, validation, self.data.test)
        if sum(sizes) > there.examples:
            asked = "data: train {} + validation {} + test {}".format(*sizes)
            raise ValueError(f"{asked} = {sum(sizes)} examples asked for, but {self.dataset} has {there.examples}")
        if not there.parts and min(sizes) < there.classes:  # its parts are cut by class
            raise ValueError(f"data: every split needs at least {there.classes} examples, one per class")
        return self

    @model_validator(mode="after")
    def _staircase_comes_to_k_and_ratio(self) -> Self:
        if (stairs := self.lerac.staircase) is None:
            return self
        lr, parts = self.optimizer.lr, 4  # of an epoch: every update point is a whole number of them
        last, _ = official_ramp(stairs, lr=lr, epochs=self.training.epochs, per_epoch=parts)[-1]
        comes_to = {"k": last / parts, "ratio": min(stairs.starts.values()) / lr}
        for key, value in comes_to.items():
            if not math.isclose(getattr(self.lerac, key), value, rel_tol=1e-9):
                raise ValueError(f"lerac.{key} must be {value:g}, what [lerac.staircase] comes to; change it there")
        return self

    @model_validator(mode="after")
    def _sources_are_of_known_values(self) -> Self:
        for key, source in self.sources.items():
            if not self._is_key(key):
                raise ValueError(f"sources: {key!r} is no key of a recipe")
            if source.partition(":")[0] not in (*SOURCES, "set"):
                raise ValueError(f"sources: {key} must start with {', '.join(SOURCES)} and a colon, got {source!r}")
        return self

    def _is_key(self, key: str) -> bool:
        *path, last = key.split(".")
        if path == ["network"]:
            return last in (self.network if is_theirs(self.model) else MODELS[self.model].options)
        if path == ["data", "augment"]:
            augment = DATASETS[self.dataset].augment
            return augment is not None and last in {field.name for field in fields(augment)}
        return last in _keys_of(path)

    @model_validator(mode="after")
    def _ranges_hold_what_was_chosen(self) -> Self:
        for key, (low, high) in self.ranges.items():
            number = self._number(key)
            if self._was_set(key):
                continue
            if number is None:
                raise ValueError(f"ranges: {key!r} is no number of this recipe")
            if not low <= number <= high:
                raise ValueError(f"ranges: {key} must be in [{low:g}, {high:g}], got {number:g}")
        return self

    @model_validator(mode="after")
    def _published_are_of_regimes(self) -> Self:
        for regime in self.published:
            if str(parse_regime(regime)) != regime:
                raise ValueError(f"published: write {parse_regime(regime)} for {regime!r}")
        return self

    @model_validator(mode="after")
    def _cell_fits_what_is_published(self) -> Self:
        if self.cell is not None and (self.cell == "known") != bool(self.published):
            raise ValueError(f"cell is {self.cell!r}: known goes with numbers in [published], the others without")
        if self.unknown and self.cell == "none":
            raise ValueError("unknown: of what the paper does not have there is nothing to know, remove it")
        return self

    def _text(self, key: str) -> str:
        """Write a value as --set takes it: a word, or TOML, which for numbers, truth values and lists is JSON."""
        value: Any = self
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
        return "none" if value is None else value if isinstance(value, str) else json.dumps(value)

    def _was_set(self, key: str) -> bool:
        """Whether a value, or the section around it, was changed on the command line."""
        parts = key.split(".")
        around = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
        return any(self.sources.get(outer, "").startswith("set:") for outer in around)

    def _number(self, key: str) -> float | None:
        value: Any = self
        for name in key.split("."):
            value = getattr(value, name, None)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def load_recipe(name: str, overrides: Sequence[str] = (), source: Source | None = None) -> Recipe:
    """Read and check a recipe.

    Args:
        name: of a recipe of ours, an alias, or the path of a TOML file.
        overrides: `key=value` with dotted keys and TOML values, like `training.epochs=10`; the word `none` removes
            a value or section that need not be there.
        source: whose settings; None for those that the file has first.

    Raises:
        StudyError: if it is not found, is not TOML, has no settings from that source, an unknown key or a bad value.
    """
    values = read_settings(name, source)
    for override in overrides:
        _override(values, override)
    if _deep(values, DEEPEST):
        raise StudyError(f"recipe {name}: sections or lists lie deeper in each other than {DEEPEST} levels")
    if given := [key for key in NOTED if key in values]:
        raise StudyError(f"recipe {name}: unknown key {given[0]!r}")
    try:
        if isinstance(model := values.get("model"), str) and is_theirs(model):
            values["where"] = folder_of(name)
        loaded = Recipe.model_validate(values)
        if not loaded.where:
            return loaded
        loaded.network_of.check(loaded.network)
        return loaded.model_copy(update={"code": loaded.network_of.code(loaded.weights)})
    except ValidationError as error:
        raise StudyError(f"recipe {name}: {_one_line(error)}") from None
    except StudyError as error:
        raise StudyError(f"recipe {name}: {error}") from None


def _deep(value: Any, levels: int) -> bool:
    """Whether sections or lists lie deeper in each other than that; whatever comes later follows them by recursion."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _deep(one, levels - 1) for one in inside)


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = (part.strip() for part in override.partition("="))
    if not equals or not key or not text or "\n" in text:
        raise StudyError(f"--set takes key=value like training.epochs=10, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except RecursionError:
        raise StudyError(f"--set {override[:60]}…: nested too deeply") from None
    except ValueError:  # no TOML, or a number of thousands of digits
        value = None if text == "none" else text  # a bare word, as people type it
    if key == "source":
        raise StudyError(f"--set {override}: the source says where a recipe's values come from; choose one by --source")
    if (note := key.partition(".")[0]) in NOTES:
        raise StudyError(f"--set {override}: {note} is what a recipe says about its values, not one of them")
    *path, last = key.split(".")
    section = values
    for name in path:
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            raise StudyError(f"--set {override}: {name!r} is a value, not a section")
    if isinstance(section.get(last), dict) and value is not None:
        raise StudyError(f"--set {override}: {key!r} is a section; its keys are {', '.join(section[last])}")
    section[last] = value
    if not key.startswith("sources"):
        values.setdefault("sources", {})[key] = "set: on the command line"


def _keys_of(path: Sequence[Any]) -> Mapping[str, Any]:
    """Give the keys that may stand in the section at `path`, none if it is no section."""
    section: type[Section] | None = Recipe
    for name in path:
        field = section.model_fields.get(str(name)) if section else None
        section = next(_sections(field.annotation), None) if field else None
    return section.model_fields if section else {}


def _sections(annotation: Any) -> Iterator[type[Section]]:
    for one in (annotation, *typing.get_args(annotation)):  # X, or X | None
        if isinstance(one, type) and issubclass(one, Section):
            yield one


def _one_line(error: ValidationError) -> str:
    """Say what is wrong first; pydantic's own report has a paragraph for every error."""
    details = sorted(error.errors(), key=lambda d: d["type"] != "extra_forbidden")
    first = details[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if first["type"] == "extra_forbidden":
        path = first["loc"][:-1]
        allowed, section = [key for key in _keys_of(path) if path or key not in NOTED], ".".join(map(str, path))
        return f"unknown key {where!r}; allowed{f' in [{section}]' if section else ''}: {', '.join(allowed)}{more}"
    if first["type"] == "missing":
        return f"{where} is missing{more}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{where}: {message}{more}" if where else f"{message}{more}"
    received: Mapping[str, Any] | Any = first["input"]
    return f"{where}: {message[:1].lower()}{message[1:]}, got {shown(received)}{more}"
