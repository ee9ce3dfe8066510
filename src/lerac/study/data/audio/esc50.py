"""ESC-50: 2,000 recordings of 5 s of 50 kinds of sound, in five folds of 400; the folds are never mixed.

Source: Piczak, "ESC", ACM Multimedia 2015; official form: the repository `ESC-50` (`ESC-50-master` as an archive)
with `meta/esc50.csv` and `audio/`; Hub form: `ashraq/esc50` in a folder `esc50`. Mono, 44,100 samples per second.

One fold is the test split, so that five runs are a cross-validation (paper): without a fold, the seed names it, seed
0 the first, seed 4 the fifth, seed 5 the first again. A study of seeds 0 to 4 is one cross-validation, and its
intervals speak of other folds as well as of other trainings. Validation examples (paper: 10 %) are cut from the
other four folds, the same for every seed with the same fold. What is chosen with one fold has seen the test
recordings of the others: such is cross-validation.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lerac.study.data.audio.files import read_wave
from lerac.study.data.audio.recordings import Recordings, check_sound, make_splits
from lerac.study.data.hub import HUB_FILES, hub_table
from lerac.study.data.places import Checked, Place, locate
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import Chosen, Splits, choose
from lerac.study.errors import StudyError, shown

__all__ = ["FOLDS", "NAME", "OFFICIAL", "RATE", "SECONDS", "check", "find", "load"]

NAME = "esc50"
RATE = 44_100
SECONDS = 5
HOP = 128  # paper
CLASSES = 50
FOLDS = (1, 2, 3, 4, 5)
OFFICIAL = ("ESC-50", "ESC-50-master")
COUNTS = {f"fold {fold}": 400 for fold in FOLDS}
READS = ("meta/esc50.csv", "audio/*", *HUB_FILES)
PER_CLASS = 40
PATTERN = re.compile(r"([1-5])-\d+-[A-Z]-(\d{1,2})\.wav")


@dataclass(frozen=True)
class Clips:
    """The whole data set: of every recording its name, fold, class and file."""

    names: list[str]
    folds: list[int]
    labels: list[int]
    categories: list[str]
    sources: Sequence[Path | bytes]


def load(data: DataSettings, seed: int, root: Path | None = None) -> Splits:
    """Give log-mel spectrograms (batch, 1, 128, 1 + 5 · rate // hop) in [0, 1], computed when asked for."""
    check_sound(data)
    if data.fold is not None and data.fold not in FOLDS:
        raise StudyError(f"data.fold must be 1 to 5, got {data.fold}")
    clips = _read(find(root, bool(data.sample)))
    tested = torch.tensor(clips.folds) == (data.fold or seed % 5 + 1)
    pools = [positions.nonzero().flatten() for positions in (~tested, tested)]
    learning, testing = (([clips.names[i] for i in pool], [clips.labels[i] for i in pool]) for pool in pools)
    chosen = choose(NAME, learning, testing, data)
    validated = None if chosen.validation is None else pools[0][chosen.validation]
    members = Chosen(pools[0][chosen.train], validated, pools[1][chosen.test])
    recordings = Recordings(clips.sources, clips.names, RATE, data.rate or RATE, SECONDS)
    return make_splits(recordings, clips.labels, CLASSES, members, data, hop=data.hop or HOP, seed=seed)


def check(root: Path | None) -> Checked:
    """Read every recording, and check folds, classes, lengths and names."""
    place = find(root, None)
    clips = _read(place)
    named: dict[int, str] = {}
    for name, label, category in zip(clips.names, clips.labels, clips.categories, strict=True):
        if named.setdefault(label, category) != category:
            raise StudyError(f"{place.folder}: {name} has category {category}, others of target {label} {named[label]}")
    if len(set(named.values())) != len(named):
        raise StudyError(f"{place.folder}: two targets have one category")
    if not place.sample:
        for label in range(CLASSES):
            if (found := clips.labels.count(label)) != PER_CLASS:
                raise StudyError(f"{place.folder}: {found} recordings of target {label}, but there are {PER_CLASS}")
    if _is_official(place) and (more := {p.name for p in (place.folder / "audio").iterdir()} - set(clips.names)):
        raise StudyError(f"{place.folder / 'audio' / min(more)}: meta/esc50.csv does not name this file")
    for position, name in enumerate(clips.names):
        if len(wave := read_wave(clips.sources[position], RATE, _where(place, name))) != RATE * SECONDS:
            raise StudyError(f"{_where(place, name)}: {len(wave) / RATE:g} s, but all recordings have {SECONDS} s")
    counts = {f"fold {fold}": clips.folds.count(fold) for fold in FOLDS}
    return Checked(NAME, place.folder, "official" if _is_official(place) else "hub", place.sample, counts, CLASSES)


def find(root: Path | None, sample: bool | None) -> Place:
    """Find the folder."""
    return locate(NAME, (*OFFICIAL, "esc50"), COUNTS, root, sample=sample, reads=READS)


def _is_official(place: Place) -> bool:
    return place.folder.name in OFFICIAL


def _where(place: Place, name: str) -> str:
    return str(place.folder / "audio" / name) if _is_official(place) else f"{place.folder}: {name}"


def _read(place: Place) -> Clips:
    """Read all but the recordings themselves."""
    clips = _read_official(place) if _is_official(place) else _read_hub(place)
    for fold in FOLDS:
        place.require_count(f"fold {fold}", clips.folds.count(fold))
    if len(set(clips.names)) != len(clips.names):
        twice = next(name for name in clips.names if clips.names.count(name) > 1)
        raise StudyError(f"{place.folder}: {twice} is there twice")
    return clips


def _read_official(place: Place) -> Clips:
    path = place.folder / "meta" / "esc50.csv"
    clips = Clips([], [], [], [], sources := [])
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            for row in rows:
                _take(clips, row, f"{path}, line {rows.line_num}")
    except FileNotFoundError:
        raise StudyError(f"{path} is missing") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"{path}: cannot be read ({error})") from None
    for name in clips.names:
        if not (audio := place.folder / "audio" / name).is_file():
            raise StudyError(f"{audio} is missing, but {path} names it")
        sources.append(audio)
    return clips


def _read_hub(place: Place) -> Clips:
    import datasets  # type: ignore[import-not-found, import-untyped, unused-ignore]

    table = hub_table(place.folder, "train", ("filename", "fold", "target", "category", "audio"))
    table = table.cast_column("audio", datasets.Audio(decode=False))
    clips = Clips([], [], [], [], HubAudio(table))
    for number, row in enumerate(table.remove_columns("audio")):
        _take(clips, row, f"{place.folder}: train row {number}")
    return clips


@dataclass(frozen=True)
class HubAudio(Sequence[bytes]):
    """The recordings in a table, read when asked for."""

    table: Any

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, position: Any) -> Any:
        """Give what would be in the file."""
        cell = self.table[position]["audio"]
        if not isinstance(cell, dict) or not isinstance(cell.get("bytes"), bytes):
            raise StudyError(f"ESC-50: 'audio' of train row {position} has no bytes of a recording; download it again")
        return cell["bytes"]


def _take(clips: Clips, row: Mapping[str, Any], where: str) -> None:
    """Append a row of the table, whose values can be text.

    Raises:
        StudyError: if a value is missing or out of range, or contradicts the file's name.
    """
    if missing := [key for key in ("filename", "fold", "target", "category") if row.get(key) in (None, "")]:
        raise StudyError(f"{where}: no {', '.join(missing)}")
    name, numbers = str(row["filename"]), {key: str(row[key]) for key in ("fold", "target")}
    if not (match := PATTERN.fullmatch(name)):
        raise StudyError(f"{where}: filename must be like 1-100032-A-0.wav, got {name!r}")
    for key, allowed in (("fold", FOLDS), ("target", range(CLASSES))):
        if numbers[key] not in map(str, allowed):
            raise StudyError(f"{where}: {key} must be {allowed[0]} to {allowed[-1]}, got {shown(row[key])}")
    fold, label = int(numbers["fold"]), int(numbers["target"])
    if (fold, label) != (int(match[1]), int(match[2])):
        raise StudyError(f"{where}: fold {fold} and target {label}, but the file is called {name}")
    clips.names.append(name)
    clips.folds.append(fold)
    clips.labels.append(label)
    clips.categories.append(str(row["category"]))
