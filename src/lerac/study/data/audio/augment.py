"""The paper's five augmentations of recordings; how strong they are is ours, as the paper does not say."""

import numpy as np

from lerac.study.data.audio.files import Wave, fitted, resampled
from lerac.study.data.audio.spectrogram import Picture
from lerac.study.data.settings import SoundAugment

__all__ = ["Augmentations"]


class Augmentations(SoundAugment):
    """What the values of `SoundAugment` do to recordings and spectrograms."""

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
