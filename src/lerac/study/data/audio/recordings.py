"""What the two audio data sets have in common: recordings that are read, augmented and drawn when asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lerac.study.data.audio.augment import Augmentations
from lerac.study.data.audio.files import Wave, audio_library, fitted, read_wave, resampled
from lerac.study.data.audio.spectrogram import Picture, Spectrogram
from lerac.study.data.parts import Chosen
from lerac.study.data.splits import Split, Splits, with_label_noise
from lerac.study.errors import StudyError
from lerac.study.seeds import derive

__all__ = ["AudioSplit", "Listening", "Recordings"]


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
class AudioSplit(Split):
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
        epoch: the next one; every epoch has augmentations of its own.
    """

    recordings: Recordings
    labels: Tensor
    index: Tensor
    spectrogram: Spectrogram
    classes: int
    augment: Augmentations | None = None
    seed: int = 0
    epoch: int = 0
    streamed = True

    def begin_epoch(self, epoch: int) -> None:
        """Say which epoch comes, before the iterator of its loader is made."""
        self.epoch = epoch

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


@dataclass(frozen=True)
class Listening:
    """How a data set is heard and cut: what the two share of their settings.

    Args:
        seed: decides label noise and augmentations.
        rate: samples per second to resample to.
        hop: samples between two columns of the spectrogram.
        columns: how many of them are kept, from the start; None: all.
        augment: names and values of `Augmentations`; None does nothing to the training examples.
        label_noise: share of the training labels to replace by another class, in [0, 1).

    Raises:
        StudyError: if one of them makes no sense, or a library of the extra `audio` is missing.
    """

    seed: int
    rate: int
    hop: int
    columns: int | None
    augment: Mapping[str, Any] | None
    label_noise: float

    def __post_init__(self) -> None:
        for module in ("soundfile", "soxr", "librosa"):  # before a recording is asked for
            audio_library(module)
        if not 4000 <= self.rate <= 48_000:  # beyond, a band has no frequency of the Fourier transform in it
            raise StudyError(f"data.rate must be 4000 to 48000 samples per second, got {self.rate}")
        if not 1 <= self.hop <= 4096:
            raise StudyError(f"data.hop must be 1 to 4096 samples, got {self.hop}")

    def splits(self, recordings: Recordings, labels: Sequence[int], members: Chosen, classes: int) -> Splits:
        """Make training, validation and test split.

        Args:
            recordings: of the whole data set.
            labels: of the whole data set.
            members: positions in the whole data set.
            classes: number of labels.

        Raises:
            StudyError: if more columns are asked for than there are.
        """
        every = torch.tensor(labels, dtype=torch.int64)
        spectrogram = Spectrogram(self.rate, self.hop, kept=self.columns)
        there = spectrogram.columns(recordings.samples)
        if self.columns is not None and not 1 <= self.columns <= there:
            raise StudyError(f"data.columns must be 1 to {there}, all that the spectrograms have, got {self.columns}")

        def make(index: Tensor, augment: Augmentations | None = None) -> AudioSplit:
            return AudioSplit(recordings, every[index], index, spectrogram, classes, augment, self.seed)

        train = make(members.train, None if self.augment is None else Augmentations.of(self.augment))
        noisy = with_label_noise(train, self.label_noise, classes, self.seed) if self.label_noise else train
        test = make(members.test)
        validation = test if members.validation is None else make(members.validation)
        return Splits(noisy, validation, test, classes, channels=1)
