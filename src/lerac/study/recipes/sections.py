"""The sections of a recipe but [data] (`lerac.study.data.settings`): which values there are, and what each may be."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lerac.curves import CURVES
from lerac.regimes.text import LARGEST
from lerac.study.data.settings import Section

__all__ = [
    "DEFAULTS",
    "CBSSettings",
    "LeRaCSettings",
    "OptimizerSettings",
    "ScheduleSettings",
    "StaircaseSettings",
    "TrainingSettings",
    "WarmupSettings",
    "flat",
]

MOST_EPOCHS = 1_000_000  # more is a slip, and no rate of theirs could be shown
Positive = Annotated[float, Field(gt=0, le=LARGEST)]

DEFAULTS: dict[str, dict[str, float]] = {
    "warmup": {"k": 5.0},
    "lerac": {"k": 5.0, "ratio": 1e-6},
    "cbs": {"sigma": 1.0, "decay": 0.9, "every": 2.0},
}
"""What a recipe of source `user` may leave out, as `lerac.attach` has it."""

SCHEDULES: dict[str, tuple[str, ...]] = {
    "constant": (),
    "cosine": (),
    "step": ("epochs", "divide_by", "floor"),
    "epoch-cosine": ("after", "floor"),
    "plateau": ("divide_by", "patience"),
}
"""Base schedule → the keys of [schedule] that it takes, all of them needed."""


class TrainingSettings(Section):
    """Length of training.

    Args:
        epochs: the most there are.
        batch_size: examples of a batch, of all processes together; the last batch of an epoch may be smaller.
        drop_last: true: leave a smaller last batch out; None: use it.
        accumulate: batches per optimizer step; the last step of an epoch may have fewer. All examples of a step weigh
            the same, whatever batch they are in. None: 1; and 1 is written None, so that it is the same run.
        clip_norm: the largest norm of the gradients of all parameters together; longer ones are scaled down to it
            before each optimizer step. None: no limit.
        compile: true: train the network compiled by torch.compile, with other rounding errors; None: as it is.
        early_stopping: stop after this many epochs in a row without a better validation loss; None: never
            (`--set training.early_stopping=none`).
    """

    epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS)]
    batch_size: Annotated[int, Field(ge=1)]
    drop_last: Literal[True] | None = None
    accumulate: Annotated[int, Field(ge=1)] | None = None
    clip_norm: Positive | None = None
    compile: Literal[True] | None = None
    early_stopping: Annotated[int, Field(ge=1)] | None = None

    @field_validator("accumulate")
    @classmethod
    def _one_is_none(cls, batches: int | None) -> int | None:
        return None if batches == 1 else batches


class OptimizerSettings(Section):
    """One of torch's optimizers; what is not named keeps torch's default."""

    name: Literal["sgd", "adam", "adamw", "adamax"]
    lr: Positive
    weight_decay: Annotated[float, Field(ge=0, le=LARGEST)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _momentum_is_for_sgd(self) -> Self:
        if self.momentum is not None and self.name != "sgd":
            raise ValueError(f"momentum is an option of sgd; {self.name} has none, remove it")
        return self


class ScheduleSettings(Section):
    """The base schedule, common to all regimes and all layers.

    Args:
        name: `constant`; `cosine`: half a wave from the full rate to 0 over all optimizer steps; `step`: divided
            at the start of given epochs; `epoch-cosine`: half a wave towards `floor`, one value per epoch, that
            starts late; `plateau`: divided when the validation loss no longer falls.
        epochs: of `step`: where it divides, rising, counted from 1.
        divide_by: of `step` and `plateau`, above 1.
        floor: of `step`: a rate that is not above it is not divided; of `epoch-cosine`: the end of a whole wave.
        after: of `epoch-cosine`: epoch e uses the wave at (e − 1 − after) / epochs of training, the full rate before.
        patience: of `plateau`: epochs without a better validation loss before it divides.
    """

    name: Literal["constant", "cosine", "step", "epoch-cosine", "plateau"]
    epochs: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)] | None = None
    divide_by: Annotated[float, Field(gt=1, le=LARGEST)] | None = None
    floor: Annotated[float, Field(ge=0)] | None = None
    after: Annotated[int, Field(ge=0)] | None = None
    patience: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _keys_fit_the_name(self) -> Self:
        takes = SCHEDULES[self.name]
        given = {key for key in type(self).model_fields if key != "name" and getattr(self, key) is not None}
        if given != set(takes):
            needs = f"needs {', '.join(takes)} and nothing else" if takes else "takes no other key"
            raise ValueError(f"{self.name} {needs}, got {', '.join(sorted(given)) or 'none'}")
        if self.epochs is not None and sorted(set(self.epochs)) != self.epochs:
            raise ValueError(f"epochs must rise, got {self.epochs}")
        return self


class WarmupSettings(Section):
    """Default length of the regime `warmup`, in epochs."""

    k: Positive


class StaircaseSettings(Section):
    """The rule of the authors' code: at every update each rate is multiplied until the cap forbids it.

    Args:
        base: factor of an update, above 1.
        cap: a rate is multiplied only if the result is below this (their `stop_lr`).
        updates_per_epoch: 1: after the epoch; 2: and after floor(N/2) of its N steps; 4: and after floor(N/4) and
            floor(3N/4), too.
        before_epoch: no updates from this epoch on, counted from 1 (their `stop_update_epoch`); None: no such limit.
        starts: block → initial learning rate. A block is a module, or a parameter, of our network; a parameter takes
            the rate of the longest block that holds it.
    """

    base: Annotated[float, Field(gt=1, le=LARGEST)]
    cap: Positive
    updates_per_epoch: Literal[1, 2, 4]
    before_epoch: Annotated[int, Field(ge=2)] | None = None
    starts: Annotated[dict[str, Positive], Field(min_length=1)]


class LeRaCSettings(Section):
    """Defaults of the LeRaC regimes.

    Args:
        k: length in epochs.
        ratio: where the lowest rate starts over the full rate, in (0, 1].
        curve: a name in `lerac.curves.CURVES`, or `staircase`.
        staircase: what the curve `staircase` needs.
    """

    k: Positive
    ratio: Annotated[float, Field(gt=0, le=1)]
    curve: str = "exponential"
    staircase: StaircaseSettings | None = None

    @model_validator(mode="after")
    def _curve_is_known(self) -> Self:
        if self.curve not in (*CURVES, "staircase"):
            raise ValueError(f"curve must be one of {', '.join(CURVES)}, staircase, got {self.curve!r}")
        if (self.curve == "staircase") != (self.staircase is not None):
            raise ValueError("the curve staircase and the section [lerac.staircase] go together; one is missing")
        return self


class CBSSettings(Section):
    """Defaults of the CBS regimes: `sigma` of the Gaussian in pixels, multiplied by `decay` every `every` epochs."""

    sigma: Positive
    decay: Annotated[float, Field(gt=0, le=1)]
    every: Positive


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give dotted keys, such as `training.epochs`, and what is no mapping itself."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
