"""Recipes: everything that decides a training run except the regime and the seed, as TOML files."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lerac.curves import CURVES
from lerac.study.data import DATASETS
from lerac.study.errors import StudyError
from lerac.study.models import MODELS

__all__ = ["ALIASES", "Recipe", "Source", "load_recipe", "recipe_names", "recipe_text"]

Source = Literal["paper", "official", "ours"]
SOURCES: tuple[Source, ...] = get_args(Source)
ALIASES = {"digits": "small-cnn/digits"}


class Section(BaseModel):
    """Values that are checked, never converted, and do not change; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSettings(Section):
    """Sizes of the splits in examples; `label_noise` is the share of the training labels that are made wrong.

    `size` is the height and width in pixels to which images are resized; None leaves them as they are.
    """

    train: Annotated[int, Field(ge=2)]
    validation: Annotated[int, Field(ge=1)]
    test: Annotated[int, Field(ge=1)]
    label_noise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    size: Annotated[int, Field(ge=1)] | None = None


class TrainingSettings(Section):
    """Length of training; the last batch of an epoch may be smaller."""

    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]


class OptimizerSettings(Section):
    """One of torch's optimizers; what is not named keeps torch's default."""

    name: Literal["sgd", "adam", "adamw", "adamax"]
    lr: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _momentum_is_for_sgd(self) -> Self:
        if self.momentum is not None and self.name != "sgd":
            raise ValueError(f"momentum is an option of sgd; {self.name} has none, remove it")
        return self


class ScheduleSettings(Section):
    """The base schedule, common to all regimes: the factor on the learning rate at every optimizer step."""

    name: Literal["constant", "cosine"]


class WarmupSettings(Section):
    """Default length of the regime `warmup`, in epochs."""

    k: Annotated[float, Field(gt=0)]


class LeRaCSettings(Section):
    """Defaults of the LeRaC regimes: length in epochs, start of the last layer over the full rate, curve."""

    k: Annotated[float, Field(gt=0)]
    ratio: Annotated[float, Field(gt=0, le=1)]
    curve: str = "exponential"

    @model_validator(mode="after")
    def _curve_is_known(self) -> Self:
        if self.curve not in CURVES:
            raise ValueError(f"curve must be one of {', '.join(CURVES)}, got {self.curve!r}")
        return self


class CBSSettings(Section):
    """Defaults of the CBS regimes: `sigma` of the Gaussian in pixels, multiplied by `decay` every `every` epochs."""

    sigma: Annotated[float, Field(gt=0)]
    decay: Annotated[float, Field(gt=0, le=1)]
    every: Annotated[float, Field(gt=0)]


class Recipe(Section):
    """A model, a data set and how to train; `sources` says where each value comes from.

    Keys of `sources` are sections (`training`) or dotted keys (`training.epochs`); values start with
    `paper`, `official` or `ours`, then a colon and a word why.

    Raises:
        ValidationError: if a key is unknown or a value is out of its range.
    """

    model: str
    dataset: str
    source: Source
    data: DataSettings
    training: TrainingSettings
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    warmup: WarmupSettings
    lerac: LeRaCSettings
    cbs: CBSSettings | None = None
    sources: dict[str, str] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """MODEL/DATASET, as the command line takes it."""
        return f"{self.model}/{self.dataset}"

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return self.name.replace("/", "__")

    def settings(self) -> dict[str, Any]:
        """Give all values that can change a result, as plain types."""
        return self.model_dump(exclude={"sources", "source"})

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for kind, name, known in (("model", self.model, MODELS), ("dataset", self.dataset, DATASETS)):
            if name not in known:
                raise ValueError(f"{kind} must be one of {', '.join(known)}, got {name!r}")
        return self

    @model_validator(mode="after")
    def _sizes_fit_the_data(self) -> Self:
        there = DATASETS[self.dataset]
        sizes = (self.data.train, self.data.validation, self.data.test)
        if sum(sizes) > there.examples:
            asked = "data: train {} + validation {} + test {}".format(*sizes)
            raise ValueError(f"{asked} = {sum(sizes)} examples asked for, but {self.dataset} has {there.examples}")
        if min(sizes) < there.classes:
            raise ValueError(f"data: every split needs at least {there.classes} examples, one per class")
        return self

    @model_validator(mode="after")
    def _sources_are_of_known_values(self) -> Self:
        for key, source in self.sources.items():
            section, _, value = key.partition(".")
            if section not in type(self).model_fields or (value and value not in _keys_of(section)):
                raise ValueError(f"sources: {key!r} is no key of a recipe")
            if source.partition(":")[0] not in (*SOURCES, "set"):
                raise ValueError(f"sources: {key} must start with {', '.join(SOURCES)} and a colon, got {source!r}")
        return self


def recipe_names() -> list[str]:
    """Name the recipes that come with lerac, sorted."""
    return sorted(_built_in())


def recipe_text(name: str) -> str:
    """Give the TOML of a recipe: of ours by name or alias, or of the file at that path.

    Raises:
        StudyError: if there is neither.
    """
    built_in = _built_in()
    if (full := ALIASES.get(name, name)) in built_in:
        return built_in[full]
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StudyError(f"recipe {name}: cannot be read as UTF-8 text ({error})") from None
    known = ", ".join([*built_in, *ALIASES])
    raise StudyError(f"unknown recipe {name!r}: give the path of a .toml file or one of {known}")


def load_recipe(name: str, overrides: Sequence[str] = (), source: Source | None = None) -> Recipe:
    """Read and check a recipe.

    Args:
        name: of a recipe of ours, an alias, or the path of a TOML file.
        overrides: `key=value` with dotted keys and TOML values, like `training.epochs=10`.
        source: refuse the recipe if its values are from elsewhere.

    Raises:
        StudyError: if it is not found, is not TOML, or has an unknown key or a bad value.
    """
    try:
        values = tomllib.loads(recipe_text(name))
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"recipe {name}: not valid TOML ({error})") from None
    for override in overrides:
        _override(values, override)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise StudyError(f"recipe {name}: {_one_line(error)}") from None
    if source not in (None, recipe.source):
        raise StudyError(f"recipe {name} has no settings from source {source!r}, only from {recipe.source!r}")
    return recipe


def _built_in() -> dict[str, str]:
    files = (f for f in resources.files(__package__).joinpath("recipes").iterdir() if f.name.endswith(".toml"))
    texts = {f.name.removesuffix(".toml").replace("__", "/"): f.read_text(encoding="utf-8") for f in files}
    return dict(sorted(texts.items()))


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = (part.strip() for part in override.partition("="))
    if not equals or not key or not text or "\n" in text:
        raise StudyError(f"--set takes key=value like training.epochs=10, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word, as people type it
    if key == "source":
        raise StudyError(f"--set {override}: the source says where a recipe's values come from; choose one by --source")
    *path, last = key.split(".")
    section = values
    for name in path:
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            raise StudyError(f"--set {override}: {name!r} is a value, not a section")
    if isinstance(section.get(last), dict):
        raise StudyError(f"--set {override}: {key!r} is a section; its keys are {', '.join(section[last])}")
    section[last] = value
    if not key.startswith("sources"):
        values.setdefault("sources", {})[key] = "set: on the command line"


def _keys_of(section: str) -> Iterable[str]:
    annotation = Recipe.model_fields[section].annotation
    if get_args(annotation)[1:] == (type(None),):  # a section that may be missing
        annotation = get_args(annotation)[0]
    return annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, Section) else ()


def _one_line(error: ValidationError) -> str:
    """Say what is wrong first; pydantic's own report has a paragraph for every error."""
    details = sorted(error.errors(), key=lambda d: d["type"] != "extra_forbidden")
    first = details[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if first["type"] == "extra_forbidden":
        section = str(first["loc"][0]) if len(first["loc"]) > 1 else ""
        allowed = _keys_of(section) if section else Recipe.model_fields
        return f"unknown key {where!r}; allowed{f' in [{section}]' if section else ''}: {', '.join(allowed)}{more}"
    if first["type"] == "missing":
        return f"{where} is missing{more}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{where}: {message}{more}" if where else f"{message}{more}"
    received: Mapping[str, Any] | Any = first["input"]
    return f"{where}: {message[:1].lower()}{message[1:]}, got {received!r}{more}"
