"""The paper's five augmentations of recordings; how strong they are is ours, as the paper does not say."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lerac.study.data.audio.files import Wave, fitted, resampled
from lerac.study.data.audio.spectrogram import Picture
from lerac.study.errors import StudyError

__all__ = ["Augmentations"]

SHARES = ("noise", "shift", "speed", "mixup", "mask", "shift_most", "mask_columns")


@dataclass(frozen=True)
class Augmentations:
    """What is done to training examples, each augmentation by itself with its probability.

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
        for name in SHARES:
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

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Augmentations":
        """Take plain values by name; what is not named has its default.

        Raises:
            StudyError: if a name is unknown or a value is of another type or out of its range.
        """
        known = {field.name: field.default for field in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in settings.items():
            if name not in known:
                raise StudyError(f"augment.{name} is unknown; there are {', '.join(known)}")
            numbers = list(value) if name == "noise_db" and isinstance(value, (list, tuple)) else [value]
            wanted = (int,) if name == "mask_bands" else (int, float)
            if len(numbers) != 1 + (name == "noise_db") or any(type(n) not in wanted for n in numbers):
                raise StudyError(f"augment.{name} must be like {known[name]}, got {value!r}")
            if not np.isfinite(numbers).all():
                raise StudyError(f"augment.{name} must be finite, got {value!r}")
            values[name] = tuple(numbers) if name == "noise_db" else value
        return cls(**values)

    def of_wave(self, wave: Wave, random: np.random.Generator) -> Wave:
        """Shift, change the speed and add noise; the length stays."""
        if random.random() < self.shift:
            most = int(self.shift_most * len(wave))
            wave = np.roll(wave, random.integers(-most, most, endpoint=True))
        if random.random() < self.speed:
            speed = random.uniform(1 - self.speed_most, 1 + self.speed_most)
            wave = fitted(resampled(wave, speed, 1.0), len(wave))
        if random.random() < self.noise:
            power = float(np.mean(np.square(wave, dtype=np.float64)))
            deviation = np.sqrt(power / 10 ** (random.uniform(*self.noise_db) / 10))
            wave = wave + random.standard_normal(len(wave), dtype=np.float32) * np.float32(deviation)
        return wave

    def share(self, random: np.random.Generator) -> float:
        """Draw how much of a mixture the example itself is: 1 if it is not mixed."""
        return float(random.beta(self.mixup_alpha, self.mixup_alpha)) if random.random() < self.mixup else 1.0

    def of_picture(self, picture: Picture, random: np.random.Generator) -> Picture:
        """Mask bands and columns of a spectrogram (bands, columns); a copy."""
        picture = picture.copy()
        if random.random() < self.mask:
            bands, columns = picture.shape
            start, stop = _span(min(self.mask_bands, bands), bands, random)
            picture[start:stop] = 0
            start, stop = _span(int(self.mask_columns * columns), columns, random)
            picture[:, start:stop] = 0
        return picture


def _span(most: int, size: int, random: np.random.Generator) -> tuple[int, int]:
    """Draw a width from 0 to `most`, then where it starts."""
    width = int(random.integers(0, most, endpoint=True))
    start = int(random.integers(0, size - width, endpoint=True))
    return start, start + width
