"""What the two audio data sets have in common: recordings that are read, augmented and drawn when asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lerac.regimes.drawing import derive
from lerac.study.data.audio.augment import Augmentations
from lerac.study.data.audio.files import Wave, audio_library, fitted, read_wave, resampled
from lerac.study.data.audio.spectrogram import Picture, Spectrogram
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import Chosen, Splits, Streamed, with_label_noise
from lerac.study.errors import StudyError

__all__ = ["AudioSplit", "Recordings", "check_sound", "make_splits"]


@dataclass(frozen=True)
class Recordings:
    """Recordings of one length and rate, read when asked for.

    Args:
        sources: a file, or what is in one, per recording.
        names: what errors call each.
        native: samples per second that every file must have.
        rate: samples per second to resample to.
        seconds: length; shorter ones end with silence, longer ones are cut at the end.
    """

    sources: Sequence[Path | bytes]
    names: Sequence[str]
    native: int
    rate: int
    seconds: int

    @property
    def samples(self) -> int:
        """Length of every recording."""
        return self.seconds * self.rate

    def __getitem__(self, position: int) -> Wave:
        """Read one.

        Raises:
            StudyError: as `read_wave`.
        """
        wave = read_wave(self.sources[position], self.native, self.names[position])
        return fitted(resampled(wave, self.native, self.rate), self.samples)


@dataclass(eq=False)
class AudioSplit(Streamed):
    """Spectrograms of recordings, computed for every batch; an example depends on seed, epoch and index alone.

    Inputs of a batch are (n, 1, bands, columns) float32 in [0, 1]. Labels are (n,) int64, and with mix-up
    (n, classes) float32 that sum to 1, in every batch; the attribute `labels` is always int64.

    Args:
        recordings: of the whole data set.
        labels: (n,) int64, of this split.
        index: (n,) int64, where this split's recordings are in the whole.
        spectrogram: what is made of a recording.
        classes: number of labels.
        augment: None outside of training.
        seed: of the run; decides the augmentations.
    """

    recordings: Recordings
    labels: Tensor
    index: Tensor
    spectrogram: Spectrogram
    classes: int
    augment: Augmentations | None = None
    seed: int = 0

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Give a whole batch at once.

        Raises:
            StudyError: if a recording cannot be read.
        """
        examples = [self._example(position) for position in indices]
        inputs = torch.from_numpy(np.stack([picture for picture, _ in examples]))[:, None]
        if self.augment is None or not self.augment.mixup:
            return inputs, self.labels[indices]
        return inputs, torch.stack([label for _, label in examples])

    def _example(self, position: int) -> tuple[Picture, Tensor]:
        label = torch.nn.functional.one_hot(self.labels[position], self.classes).float()
        wave = self.recordings[int(self.index[position])]
        if self.augment is None:
            return self.spectrogram(wave), label
        random = np.random.default_rng(derive(self.seed, "augment", self.epoch, int(self.index[position])))
        picture = self.spectrogram(self.augment.of_wave(wave, random))
        if (share := self.augment.share(random)) < 1:
            other = int(random.integers(len(self)))
            mixed = self.augment.of_wave(self.recordings[int(self.index[other])], random)
            picture = np.float32(share) * picture + np.float32(1 - share) * self.spectrogram(mixed)
            label = share * label + (1 - share) * torch.nn.functional.one_hot(self.labels[other], self.classes)
        return self.augment.of_picture(np.clip(picture, 0, 1), random), label


def check_sound(data: DataSettings) -> None:
    """Refuse what makes no sense before a recording is asked for.

    Raises:
        StudyError: if a setting is out of its range, or a library of the extra `audio` is missing.
    """
    for module in ("soundfile", "soxr", "librosa"):
        audio_library(module)
    if data.rate is not None and not 4000 <= data.rate <= 48_000:  # beyond, a band has no frequency in it
        raise StudyError(f"data.rate must be 4000 to 48000 samples per second, got {data.rate}")
    if data.hop is not None and data.hop > 4096:
        raise StudyError(f"data.hop must be 1 to 4096 samples, got {data.hop}")


def make_splits(
    recordings: Recordings,
    labels: Sequence[int],
    classes: int,
    members: Chosen,
    data: DataSettings,
    *,
    hop: int,
    seed: int,
) -> Splits:
    """Make training, validation and test split.

    Args:
        recordings: of the whole data set.
        labels: of the whole data set.
        classes: number of labels.
        members: positions in the whole data set.
        data: how it is heard and augmented.
        hop: samples between two columns of the spectrogram.
        seed: decides label noise and augmentations.

    Raises:
        StudyError: if more columns are asked for than there are.
    """
    every = torch.tensor(labels, dtype=torch.int64)
    spectrogram = Spectrogram(recordings.rate, hop, kept=data.columns)
    there = spectrogram.columns(recordings.samples)
    if data.columns is not None and data.columns > there:
        raise StudyError(f"data.columns must be 1 to {there}, all that the spectrograms have, got {data.columns}")

    def make(index: Tensor, augment: Augmentations | None = None) -> AudioSplit:
        return AudioSplit(recordings, every[index], index, spectrogram, classes, augment, seed)

    train = make(members.train, None if data.augment is None else Augmentations.of(data.augment))
    test = make(members.test)
    validation = test if members.validation is None else make(members.validation)
    return Splits(with_label_noise(train, data.label_noise, classes, seed), validation, test, classes, channels=1)
