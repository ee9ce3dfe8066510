"""What a recipe says about its data: the sections [data] and [data.augment]."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lerac.study.errors import StudyError, shown

__all__ = ["BoxAugment", "DataSettings", "Section", "SoundAugment", "Task"]

Count = Annotated[int, Field(ge=1)]
Task = Literal["classification", "regression", "detection"]


class Section(BaseModel):
    """Values that are checked, never converted, and do not change; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _texts_can_be_printed(cls, values: Any) -> Any:
        for text in _texts(values):
            if not text.replace("\n", "").replace("\t", "").isprintable():
                raise ValueError(f"no sign may be one that cannot be printed, got {shown(text)}")
        return values


class DataSettings(Section):
    """Which examples, and what is done to them before the network sees them.

    What is None is left to the data set, whose module fixes and explains the rest of its preprocessing. No data set
    takes all keys; `DataSet.settings` names those that it takes.

    Args:
        train: number of training examples; None where it is not known to us: all that validation leaves, counted
            before training.
        validation: number of examples that choose the epoch, taken from the training examples where a data set has no
            validation split; or `test`: epochs are chosen on the test split, as the authors' code does.
        test: number of examples that are looked at once.
        label_noise: share of the training labels that are made wrong, in [0, 1); of classes only.
        sample: true: a generated sample in place of the real data.
        size: of images: height and width in pixels; with boxes a multiple of 32.
        crop: of measured images: `random`, as the authors' code has it, drawn once by the seed; None: in the centre.
        tokens: of text: `bert`, or `words` of the training split, which None is, too.
        max_length: of text: most tokens; what is longer is cut. None: 512 for `bert`, 200 for `words` (paper; the
            authors' code has 100 for `bert`).
        min_count: of `words`: how often one must occur in the training split to be in the vocabulary; None: once.
        fold: of the test split of a cross-validation, 1 to 5; None: the seed names it.
        rate: of sound: samples per second to resample to; None: the recordings' own, as the paper names none.
        hop: of sound: samples between two columns of the spectrogram.
        columns: of sound: how many columns of the spectrogram are kept, from its start; None: all.
        augment: of training examples: of sound, values of `SoundAugment`; of images with boxes, of `BoxAugment`; None:
            no augmentation.
    """

    train: Count | None = None
    validation: Count | Literal["test"]
    test: Count
    label_noise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    sample: Literal[True] | None = None
    size: Count | None = None
    crop: Literal["random"] | None = None
    tokens: Literal["bert", "words"] | None = None
    max_length: Count | None = None
    min_count: Count | None = None
    fold: Count | None = None
    rate: Count | None = None
    hop: Count | None = None
    columns: Count | None = None
    augment: dict[str, Any] | None = None

    @property
    def cut_off(self) -> int:
        """How many validation examples are taken from the training part."""
        return 0 if isinstance(self.validation, str) else self.validation

    @property
    def asked_of_train(self) -> str:
        """Say how many training examples are asked for."""
        return f"train {'(all others)' if self.train is None else self.train}"


def _texts(values: Any) -> Iterator[str]:
    """Give every text in lists and mappings, keys too."""
    left = [values]
    while left:
        match left.pop():
            case str() as text:
                yield text
            case dict() as inside:
                left += [*inside.keys(), *inside.values()]
            case list() as inside:
                left += inside


class _Augment:
    """Values of [data.augment] by name, each like its default."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Take plain values; what is not named has its default.

        Raises:
            StudyError: if a name is unknown or a value is of another type or out of its range.
        """
        known: dict[str, Any] = {field.name: field.default for field in fields(cls)}  # type: ignore[arg-type]
        taken = {}
        for name, value in values.items():
            if name not in known:
                raise StudyError(f"augment.{name} is unknown; there are {', '.join(known)}")
            default, paired = known[name], isinstance(value, list | tuple)
            numbers, like = (value, default) if paired else ((value,), (default,))
            kinds = (int,) if type(default) is int else (int, float)
            if paired != isinstance(default, tuple) or len(numbers) != len(like):
                raise StudyError(f"augment.{name} must be like {default}, got {value!r}")
            if any(type(number) not in kinds for number in numbers):
                raise StudyError(f"augment.{name} must be like {default}, got {value!r}")
            if not all(abs(number) < float("inf") for number in numbers):
                raise StudyError(f"augment.{name} must be finite, got {value!r}")
            taken[name] = tuple(value) if paired else value
        return cls(**taken)


@dataclass(frozen=True)
class SoundAugment(_Augment):
    """What is done to training examples of sound, each augmentation by itself with its probability.

    Source: paper for the five; probabilities and strengths are ours.

    Args:
        noise: probability of white noise.
        noise_db: signal over noise, uniform between the two, in decibels of power; silence gets no noise.
        shift: probability of a shift in time; what leaves at one end comes in at the other.
        shift_most: farthest shift either way, as a share of the length.
        speed: probability of another speed, which changes the pitch as well.
        speed_most: speeds are uniform in 1 ± this; a recording that got shorter ends with silence.
        mixup: probability of mix-up with a training example drawn at random (Zhang et al., ICLR 2018), of
            spectrograms and labels, with a share drawn from Beta(alpha, alpha).
        mixup_alpha: alpha of it.
        mask: probability of SpecAugment (Park et al., Interspeech 2019): one mask over bands and one over columns,
            filled with 0; without its time warping, as speed does the like.
        mask_bands: most bands that are masked.
        mask_columns: most columns that are masked, as a share of all.

    Raises:
        StudyError: if a probability or share is not in [0, 1], or a strength makes no sense.
    """

    noise: float = 0.5
    noise_db: tuple[float, float] = (10.0, 30.0)
    shift: float = 0.5
    shift_most: float = 0.25
    speed: float = 0.5
    speed_most: float = 0.1
    mixup: float = 0.5
    mixup_alpha: float = 0.4
    mask: float = 0.5
    mask_bands: int = 16
    mask_columns: float = 0.1

    def __post_init__(self) -> None:
        for name in ("noise", "shift", "speed", "mixup", "mask", "shift_most", "mask_columns"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise StudyError(f"augment.{name} must be in [0, 1], got {value}")
        if not self.noise_db[0] <= self.noise_db[1]:
            raise StudyError(f"augment.noise_db must be the least and the greatest decibels, got {self.noise_db}")
        if not 0 <= self.speed_most < 1:
            raise StudyError(f"augment.speed_most must be in [0, 1), got {self.speed_most}")
        if not self.mixup_alpha > 0:
            raise StudyError(f"augment.mixup_alpha must be positive, got {self.mixup_alpha}")
        if self.mask_bands < 0:
            raise StudyError(f"augment.mask_bands must be 0 or more, got {self.mask_bands}")


@dataclass(frozen=True)
class BoxAugment(_Augment):
    """What is done to training images with boxes; strengths by default are those of Ultralytics.

    Args:
        flip: probability of a mirrored image, in [0, 1].
        scale: sizes are uniform in 1 ± this times that which fits the square, in [0, 1); the square then shows a random
            part of the image, or the image stands in a random place of it. 0: fitted, in the middle.

    Raises:
        StudyError: if a value is out of its range.
    """

    flip: float = 0.5
    scale: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise StudyError(f"augment.flip must be in [0, 1], got {self.flip}")
        if not 0 <= self.scale < 1:
            raise StudyError(f"augment.scale must be in [0, 1), got {self.scale}")
