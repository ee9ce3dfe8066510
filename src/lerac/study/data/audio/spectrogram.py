"""From a recording to the picture that the paper's audio networks read."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lerac.study.data.audio.files import Wave, audio_library

__all__ = ["Picture", "Spectrogram"]

Picture = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Spectrogram:
    """Log-mel spectrogram in [0, 1].

    Short-time Fourier transform, square root of its magnitude, mel bands, logarithm, then the recording's own least
    value becomes 0 and its greatest 1. A recording without any difference, as silence is, becomes 0 everywhere.

    Source: paper, section on audio, for points, window, hop, bands and the order of the operations. Ours, as the
    paper is silent: the transform is centred, with silence around the recording; bands as librosa has them (Slaney's
    scale, each of area 1, from 0 to half the rate); what is below `floor` is raised to it before the logarithm.

    Every number is computed by one thread in one order, so it does not depend on which process computes it.

    Args:
        rate: samples per second of the recordings.
        hop: samples between two columns; 64 for CREMA-D, 128 for ESC-50 in the paper.
        points: of the Fourier transform.
        window: samples of the Hamming window.
        bands: number of rows.
        floor: what the logarithm's argument has at least; about what rounding to 16 bits leaves in a band.
        kept: columns that are kept, from the start; None: all.
    """

    rate: int
    hop: int
    points: int = 1024
    window: int = 512
    bands: int = 128
    floor: float = 1e-4
    kept: int | None = None

    def __call__(self, wave: Wave) -> Picture:
        """Give (bands, 1 + samples // hop) or those kept of a recording (samples,), the lowest band first."""
        from scipy.fft import rfft  # here and below, because it takes long to load

        around = np.pad(wave, self.window // 2)
        pieces = np.lib.stride_tricks.sliding_window_view(around, self.window)[:: self.hop][: self.kept]
        spectrum = rfft(pieces * self._weights, n=self.points, axis=1, workers=1)
        bands = self._filters @ np.sqrt(np.abs(spectrum)).T
        return unit_range(np.log(np.maximum(bands, np.float32(self.floor))))

    def columns(self, samples: int) -> int:
        """Count the columns that a recording of this many samples has."""
        return 1 + samples // self.hop

    @cached_property
    def _weights(self) -> Wave:
        from scipy.signal import get_window

        weights: Wave = get_window("hamming", self.window).astype(np.float32)
        return weights

    @cached_property
    def _filters(self) -> Any:
        """(bands, points // 2 + 1), sparse: a product that no number of threads changes."""
        from scipy.sparse import csr_array

        return csr_array(audio_library("librosa.filters").mel(sr=self.rate, n_fft=self.points, n_mels=self.bands))


def unit_range(picture: Picture) -> Picture:
    """Move and stretch to [0, 1]; zeros if all values are the same."""
    low, high = picture.min(), picture.max()
    if high == low:
        return np.zeros_like(picture)
    ranged: Picture = np.clip((picture - low) / (high - low), 0, 1)
    return ranged
