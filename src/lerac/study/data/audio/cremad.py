"""CREMA-D: 7,442 recordings of 91 actors who say 12 sentences in 6 emotions; audio only, as in the paper.

Source: Cao et al., "CREMA-D", IEEE Transactions on Affective Computing 2014; form: the repository `CREMA-D`
(`CREMA-D-master` as an archive) with `AudioWAV/1001_DFA_ANG_MD.wav`: actor, sentence, emotion, level. Mono, 16,000
samples per second. One name ends in `_X` in place of a level and one recording is silent; both are kept.

Split: 70/15/15 (paper). Whether it was by actor is not known; ours is, so that no voice is in two parts: 63, 14 and
14 actors, of whom the 28 are below. They are the first 14 and the next 14 of the actors 1001 to 1091 ordered by the
SHA-256 of "lerac: CREMA-D actors 1" and the number, the same for every seed. An actor has at most 82 recordings,
and 20 of all possible ones do not exist, so that at least 5,146, 1,128 and 1,128 are there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lerac.study.data.audio.files import read_wave
from lerac.study.data.audio.recordings import Listening, Recordings
from lerac.study.data.audio.sample import write_cremad_sample
from lerac.study.data.parts import Chosen, Sizes, fixed_order
from lerac.study.data.places import Checked, Place, data_root, locate
from lerac.study.data.splits import Splits
from lerac.study.errors import StudyError

__all__ = [
    "TEST_ACTORS",
    "VALIDATION_ACTORS",
    "Utterance",
    "check_cremad",
    "load_cremad",
    "parse_name",
    "sample_cremad",
]

NAME = "cremad"
FOLDERS = ("CREMA-D", "CREMA-D-master")
COUNTS = {"recordings": 7442}
RATE = 16_000
SECONDS = 4
EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
SENTENCES = ("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")
LEVELS = ("LO", "MD", "HI", "XX", "X")
ACTORS = range(1001, 1092)
TEST_ACTORS = (1003, 1009, 1024, 1029, 1039, 1044, 1046, 1048, 1054, 1060, 1065, 1076, 1079, 1084)
VALIDATION_ACTORS = (1001, 1005, 1017, 1026, 1040, 1057, 1067, 1069, 1071, 1074, 1075, 1077, 1086, 1090)


@dataclass(frozen=True)
class Utterance:
    """What a file name says.

    Args:
        actor: 1001 to 1091.
        sentence: one of 12, by its letters.
        label: the emotion, from 0: anger, disgust, fear, happy, neutral, sad.
        level: LO, MD or HI; XX, and in one name X, where none was asked for.
    """

    actor: int
    sentence: str
    label: int
    level: str


def load_cremad(
    seed: int,
    *,
    train: int | None,
    validation: int | Literal["test"],
    test: int,
    rate: int = RATE,
    hop: int = 64,
    columns: int | None = None,
    augment: Mapping[str, Any] | None = None,
    label_noise: float = 0.0,
    sample: bool = False,
    root: Path | None = None,
) -> Splits:
    """Give log-mel spectrograms (batch, 1, 128, 1 + 4 · rate // hop) in [0, 1], computed when asked for.

    Args:
        seed: decides the augmentations and the label noise.
        train: number of training examples, of the 63 actors; None: all of theirs.
        validation: number of examples that choose the epoch, of 14 other actors; `test`: the test examples choose it.
        test: number of examples that are looked at once, of the last 14 actors.
        rate: samples per second to resample to; the recordings' own, 16,000, is our choice, the paper names none.
        hop: samples between two columns; 64 in the paper.
        columns: how many are kept, from the start; None: all.
        augment: names and values of `Augmentations`; None does nothing to the training examples.
        label_noise: share of the training labels to replace by another class, in [0, 1).
        sample: whether a generated sample is wanted instead of the real data.
        root: data root; None: LERAC_DATA.

    Raises:
        StudyError: if files are missing or wrongly named, a setting makes no sense or there are fewer examples than
            asked for; reading a batch raises it if a recording cannot be read.
    """
    listening = Listening(seed, rate, hop, columns, augment, label_noise)
    paths, utterances = _read(_place(data_root(root), sample))
    order = fixed_order([path.name for path in paths], [utterance.label for utterance in utterances])
    pools = {
        part: order[[part_of(utterances[i].actor) == part for i in order.tolist()]]
        for part in ("train", "validation", "test")
    }
    sizes = Sizes(train, validation, test)
    for part, wanted in (("train", sizes.train or 0), ("validation", sizes.cut_off), ("test", sizes.test)):
        if wanted > len(pools[part]):
            raise StudyError(f"{NAME}: {part} {wanted} examples asked for, but its actors have {len(pools[part])}")
    members = Chosen(
        train=pools["train"][:train].sort().values,
        validation=None if isinstance(validation, str) else pools["validation"][:validation].sort().values,
        test=pools["test"][:test].sort().values,
    )
    recordings = Recordings(paths, [str(path) for path in paths], RATE, rate, SECONDS)
    return listening.splits(recordings, [utterance.label for utterance in utterances], members, len(EMOTIONS))


def check_cremad(root: Path) -> Checked:
    """Read every recording and every name.

    Raises:
        StudyError: with the first faulty file.
    """
    place = _place(root, None)
    paths, utterances = _read(place)
    silent = sum(not read_wave(path, RATE).any() for path in paths)
    parts = [part_of(utterance.actor) for utterance in utterances]
    counts = {part: parts.count(part) for part in ("train", "validation", "test")}
    counts |= {"silent": silent, "level X": sum(utterance.level == "X" for utterance in utterances)}
    return Checked(NAME, place.folder, "official", place.sample, counts, len(EMOTIONS))


def sample_cremad(root: Path) -> None:
    """Write a tiny data set of tones in the official layout, with a silent recording and one that ends in `_X`.

    Raises:
        StudyError: if there is one already.
    """
    trained = [actor for actor in ACTORS if part_of(actor) == "train"]
    actors = (*trained[:8], *VALIDATION_ACTORS[:3], *TEST_ACTORS[:3])
    write_cremad_sample(root, FOLDERS[0], RATE, actors, SENTENCES, EMOTIONS)


def parse_name(name: str) -> Utterance:
    """Read actor, sentence, emotion and level from a file name.

    Raises:
        StudyError: if it is not made of these four.
    """
    pattern = rf"(\d{{4}})_({'|'.join(SENTENCES)})_({'|'.join(EMOTIONS)})_({'|'.join(LEVELS)})\.wav"
    match = re.fullmatch(pattern, name)
    if match is None or int(match[1]) not in ACTORS:
        raise StudyError(f"{name}: a name like 1001_DFA_ANG_MD.wav expected, of actor, sentence, emotion and level")
    return Utterance(int(match[1]), match[2], EMOTIONS.index(match[3]), match[4])


def part_of(actor: int) -> str:
    """Say which split has an actor's recordings."""
    return "test" if actor in TEST_ACTORS else "validation" if actor in VALIDATION_ACTORS else "train"


def _place(root: Path, sample: bool | None) -> Place:
    return locate(NAME, FOLDERS, COUNTS, root, sample=sample)


def _read(place: Place) -> tuple[list[Path], list[Utterance]]:
    folder = place.folder / "AudioWAV"
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        raise StudyError(f"{folder}: this folder is missing; fetch the data set again") from None
    utterances = []
    for path in paths:
        try:
            utterances.append(parse_name(path.name))
        except StudyError as error:
            raise StudyError(f"{folder}: {error}") from None
    place.require_count("recordings", len(paths), folder)
    return paths, utterances
