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
from dataclasses import dataclass
from pathlib import Path

from lerac.study.data.audio.files import read_wave
from lerac.study.data.audio.recordings import Recordings, check_sound, make_splits
from lerac.study.data.places import Checked, Place, locate
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import Chosen, Splits, fixed_order
from lerac.study.errors import StudyError

__all__ = [
    "ACTORS",
    "EMOTIONS",
    "FOLDERS",
    "NAME",
    "RATE",
    "SENTENCES",
    "TEST_ACTORS",
    "VALIDATION_ACTORS",
    "Utterance",
    "check",
    "find",
    "load",
    "parse_name",
    "part_of",
]

NAME = "cremad"
FOLDERS = ("CREMA-D", "CREMA-D-master")
COUNTS = {"recordings": 7442}
READS = ("AudioWAV/*",)
RATE = 16_000
SECONDS = 4
HOP = 64  # paper
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


def load(data: DataSettings, seed: int, root: Path | None = None) -> Splits:
    """Give log-mel spectrograms (batch, 1, 128, 1 + 4 · rate // hop) in [0, 1], computed when asked for."""
    check_sound(data)
    paths, utterances = _read(find(root, bool(data.sample)))
    labels = [utterance.label for utterance in utterances]
    order = fixed_order([path.name for path in paths], labels)
    pools = {
        part: order[[part_of(utterances[i].actor) == part for i in order.tolist()]]
        for part in ("train", "validation", "test")
    }
    for part, wanted in (("train", data.train or 0), ("validation", data.cut_off), ("test", data.test)):
        if wanted > len(pools[part]):
            raise StudyError(f"{NAME}: {part} {wanted} examples asked for, but its actors have {len(pools[part])}")
    members = Chosen(
        train=pools["train"][: data.train].sort().values,
        validation=pools["validation"][: data.cut_off].sort().values if data.cut_off else None,
        test=pools["test"][: data.test].sort().values,
    )
    recordings = Recordings(paths, [str(path) for path in paths], RATE, data.rate or RATE, SECONDS)
    return make_splits(recordings, labels, len(EMOTIONS), members, data, hop=data.hop or HOP, seed=seed)


def check(root: Path | None) -> Checked:
    """Read every recording and every name."""
    place = find(root, None)
    paths, utterances = _read(place)
    silent = sum(not read_wave(path, RATE).any() for path in paths)
    parts = [part_of(utterance.actor) for utterance in utterances]
    counts = {part: parts.count(part) for part in ("train", "validation", "test")}
    counts |= {"silent": silent, "level X": sum(utterance.level == "X" for utterance in utterances)}
    return Checked(NAME, place.folder, "official", place.sample, counts, len(EMOTIONS))


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


def find(root: Path | None, sample: bool | None) -> Place:
    """Find the folder."""
    return locate(NAME, FOLDERS, COUNTS, root, sample=sample, reads=READS)


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
