"""Recordings from their files, as the network's part of the program wants them: mono, one rate, one length."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from lerac.study.errors import StudyError, library

__all__ = ["Wave", "audio_library", "fitted", "read_wave", "resampled"]

Wave = np.ndarray[Any, np.dtype[np.float32]]

UNTOLD = 0xFFFFFFFF  # a length that its writer did not know
LFS = b"version https://git-lfs.github.com/spec"


def audio_library(module: str) -> Any:
    """Import a library of the extra `audio` only when it is needed.

    Raises:
        StudyError: if it is not installed; says what to install.
    """
    return library(module, "sound", "lerac[audio]")


def read_wave(source: Path | bytes, rate: int, where: str | None = None) -> Wave:
    """Read a recording.

    Args:
        source: the file, or what is in it.
        rate: samples per second that it must have.
        where: what errors call it; the path if there is one.

    Returns:
        (samples,) in [-1, 1]; what a file of floats has beyond is kept.

    Raises:
        StudyError: if the file is missing, damaged, empty or a pointer of git-lfs, has another rate, more than one
            channel, or a value that is not finite; or if soundfile is not installed.
    """
    soundfile = audio_library("soundfile")
    where = where or str(source)
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
    except FileNotFoundError:
        raise StudyError(f"{where} is missing") from None
    except OSError as error:
        raise StudyError(f"{where}: cannot be read ({error})") from None
    if content.startswith(LFS):
        raise StudyError(f"{where} is a pointer of git-lfs, not a recording; fetch the recordings with `git lfs pull`")
    announced = int.from_bytes(content[4:8], "little") if content.startswith(b"RIFF") else UNTOLD
    if announced != UNTOLD and announced + 8 > len(content) + 1:  # where a last padding byte may lack
        raise StudyError(f"{where}: has {len(content)} of {announced + 8} bytes, it is cut short; fetch it anew")
    try:
        samples, found = soundfile.read(BytesIO(content), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise StudyError(f"{where}: cannot be read as a recording ({error}); fetch it anew") from None
    if found != rate:
        raise StudyError(f"{where}: {found} samples per second, but all recordings of this data set have {rate}")
    if samples.shape[1] != 1:
        raise StudyError(f"{where}: {samples.shape[1]} channels, but the recordings of this data set have one")
    if not len(samples):
        raise StudyError(f"{where}: has no samples; fetch it anew")
    wave: Wave = np.ascontiguousarray(samples[:, 0])
    if not np.isfinite(wave).all():
        raise StudyError(f"{where}: has values that are not finite; fetch it anew")
    return wave


def resampled(wave: Wave, rate: float, to: float) -> Wave:
    """Give the same sound with another number of samples per second; the same array if it is the same number."""
    if rate == to:
        return wave
    # The resampler of librosa, without the seconds that the rest of librosa.core takes to load.
    result: Wave = audio_library("soxr").resample(wave, rate, to, quality="HQ")
    return result


def fitted(wave: Wave, samples: int) -> Wave:
    """Cut at the end, or fill up with silence at the end, to exactly this many samples."""
    return np.pad(wave[:samples], (0, max(samples - len(wave), 0)))
