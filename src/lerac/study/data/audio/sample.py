"""Tiny audio data sets in the official layouts: a class is a tone of its own, in noise."""

import csv
import io
from pathlib import Path

import numpy as np

from lerac.regimes.drawing import derive
from lerac.study.data.audio import cremad, esc50
from lerac.study.data.audio.files import Wave, audio_library
from lerac.study.data.places import mark_sample, new_folder
from lerac.study.files import make_folder, write_bytes, write_text

__all__ = ["sample_cremad", "sample_esc50"]

CATEGORIES = ("dog", "rooster", "pig")
PER_FOLD = 3  # of each category; every recording is as long as a real one, 441 kB


def sample_esc50(root: Path) -> None:
    """Write three categories of ESC-50 in all five folds, 45 recordings, 20 MB."""
    audio_library("soundfile")  # before anything is written
    target, rate = new_folder(root, esc50.OFFICIAL[0]), esc50.RATE
    random = np.random.default_rng(derive(0, "sample", esc50.NAME))
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
    for fold in esc50.FOLDS:
        for label, category in enumerate(CATEGORIES):
            for number in range(PER_FOLD):
                source = 100_000 + 100 * fold + 10 * label + number
                name = f"{fold}-{source}-A-{label}.wav"
                rows.writerow([name, fold, label, category, category != "pig", source, "A"])
                _write(target / "audio" / name, _tone(300 * 3**label, rate * esc50.SECONDS, rate, random), rate)
    make_folder(target / "meta")
    write_text(target / "meta" / "esc50.csv", table.getvalue())
    mark_sample(target, esc50.NAME, {f"fold {fold}": len(CATEGORIES) * PER_FOLD for fold in esc50.FOLDS})


def sample_cremad(root: Path) -> None:
    """Write a sentence of 14 actors in every emotion, about one second each, one of them silent, one named `_X`."""
    audio_library("soundfile")  # before anything is written
    target, rate = new_folder(root, cremad.FOLDERS[0]), cremad.RATE
    random = np.random.default_rng(derive(0, "sample", cremad.NAME))
    trained = [actor for actor in cremad.ACTORS if cremad.part_of(actor) == "train"]
    actors = (*trained[:8], *cremad.VALIDATION_ACTORS[:3], *cremad.TEST_ACTORS[:3])
    said = [(actor, cremad.SENTENCES[i % len(cremad.SENTENCES)]) for i, actor in enumerate(actors)]
    takes = [(actor, sentence, label) for actor, sentence in said for label in range(len(cremad.EMOTIONS))]
    for number, (actor, sentence, label) in enumerate(takes):
        emotion = cremad.EMOTIONS[label]
        level = "X" if number == 1 else "MD" if sentence == "IEO" and emotion != "NEU" else "XX"
        wave = _tone(200 * 2**label, int(random.uniform(0.8, 1.2) * rate), rate, random)
        name = f"{actor}_{sentence}_{emotion}_{level}.wav"
        _write(target / "AudioWAV" / name, np.zeros_like(wave) if number == 2 else wave, rate)
    mark_sample(target, cremad.NAME, {"recordings": len(takes)})


def _tone(hertz: float, samples: int, rate: int, random: np.random.Generator) -> Wave:
    pitch, start = hertz * random.uniform(0.9, 1.1), random.uniform(0, 2 * np.pi)
    tone = 0.3 * np.sin(start + 2 * np.pi * pitch * np.arange(samples) / rate)
    wave: Wave = (tone + 0.02 * random.standard_normal(samples)).astype(np.float32)
    return wave


def _write(path: Path, wave: Wave, rate: int) -> None:
    soundfile = audio_library("soundfile")
    make_folder(path.parent)
    write_bytes(path, lambda file: soundfile.write(file, wave, rate, format="WAV", subtype="PCM_16"))
