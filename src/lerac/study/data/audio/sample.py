"""Tiny audio data sets in the official layouts: a class is a tone of its own, in noise."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lerac.study.data.audio.files import Wave, audio_library
from lerac.study.data.places import mark_sample, new_folder
from lerac.study.files import write_bytes, write_text
from lerac.study.seeds import derive

__all__ = ["write_cremad_sample", "write_esc50_sample"]

CATEGORIES = ("dog", "rooster", "pig")
PER_FOLD = 3  # of each category; every recording is as long as a real one, 441 kB


def write_esc50_sample(root: Path, folder: str, rate: int, seconds: int) -> None:
    """Write three categories of ESC-50 in all five folds, 45 recordings, 20 MB.

    Args:
        root: data root.
        folder: under it.
        rate: samples per second.
        seconds: length of every recording.

    Raises:
        StudyError: if there is data already.
    """
    audio_library("soundfile")  # before anything is written
    target = new_folder(root, folder)
    random = np.random.default_rng(derive(0, "sample", "esc50"))
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
    for fold in range(1, 6):
        for label, category in enumerate(CATEGORIES):
            for number in range(PER_FOLD):
                source = 100_000 + 100 * fold + 10 * label + number
                name = f"{fold}-{source}-A-{label}.wav"
                rows.writerow([name, fold, label, category, category != "pig", source, "A"])
                _write(target / "audio" / name, _tone(300 * 3**label, rate * seconds, rate, random), rate)
    write_text(target / "meta" / "esc50.csv", table.getvalue())
    mark_sample(target, "esc50", {f"fold {fold}": len(CATEGORIES) * PER_FOLD for fold in range(1, 6)})


def write_cremad_sample(
    root: Path, folder: str, rate: int, actors: Sequence[int], sentences: Sequence[str], emotions: Sequence[str]
) -> None:
    """Write a sentence of every actor in every emotion, about one second each, one of them silent, one named `_X`.

    Args:
        root: data root.
        folder: under it.
        rate: samples per second.
        actors: by their numbers.
        sentences: taken in turn.
        emotions: each a tone of its own.

    Raises:
        StudyError: if there is data already.
    """
    audio_library("soundfile")  # before anything is written
    target = new_folder(root, folder)
    random = np.random.default_rng(derive(0, "sample", "cremad"))
    takes = [(actor, sentences[i % len(sentences)], label) for i, actor in enumerate(actors) for label in range(6)]
    for number, (actor, sentence, label) in enumerate(takes):
        level = "X" if number == 1 else "MD" if sentence == "IEO" and emotions[label] != "NEU" else "XX"
        wave = _tone(200 * 2**label, int(random.uniform(0.8, 1.2) * rate), rate, random)
        name = f"{actor}_{sentence}_{emotions[label]}_{level}.wav"
        _write(target / "AudioWAV" / name, np.zeros_like(wave) if number == 2 else wave, rate)
    mark_sample(target, "cremad", {"recordings": len(takes)})


def _tone(hertz: float, samples: int, rate: int, random: np.random.Generator) -> Wave:
    pitch, start = hertz * random.uniform(0.9, 1.1), random.uniform(0, 2 * np.pi)
    tone = 0.3 * np.sin(start + 2 * np.pi * pitch * np.arange(samples) / rate)
    wave: Wave = (tone + 0.02 * random.standard_normal(samples)).astype(np.float32)
    return wave


def _write(path: Path, wave: Wave, rate: int) -> None:
    soundfile = audio_library("soundfile")
    write_bytes(path, lambda file: soundfile.write(file, wave, rate, format="WAV", subtype="PCM_16"))
