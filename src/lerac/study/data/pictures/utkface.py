"""UTKFace: 23,708 aligned and cropped faces with the age in years, 0 to 116; a regression.

Source: Zhang, Song, Qi, "Age Progression/Regression by Conditional Adversarial Autoencoder", CVPR 2017. Form: a folder
`UTKFace` with `age_gender_race_date&time.jpg.chip.jpg` (or `….jpg`). A few names lack gender or race and are kept:
only the age is used.

There is no official split and the paper's is not known, so this one is ours: test, then validation, then training
examples from one fixed order of the file names with every decade of age by its share; the same for every seed and
machine. Nobody knows who is on two images, so a face can be in two parts. Preprocessing is ours, too: both sides
resized to 64, no augmentation, mean and standard deviation 0.5 per channel, as the authors' code does elsewhere.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lerac.study.data.pictures.images import HALF, FilePictures, Normalise, Square, StreamedImages
from lerac.study.data.pictures.listing import image_names, read_all
from lerac.study.data.places import Checked, Place, locate
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import Splits, fixed_order
from lerac.study.errors import StudyError

__all__ = ["FOLDER", "NAME", "Face", "check", "find", "load", "parse_face"]

NAME, FOLDER = "utkface", "UTKFace"
COUNTS = {"all": 23_708}
READS = ("*",)
OLDEST, SIZE = 116, 64
GENDERS, RACES = 2, 5


@dataclass(frozen=True)
class Face:
    """What a file name says.

    Args:
        age: in years, 0 to 116.
        gender: 0 male, 1 female; None if the name lacks it.
        race: 0 White, 1 Black, 2 Asian, 3 Indian, 4 other; None if the name lacks it.
    """

    age: int
    gender: int | None
    race: int | None


def load(data: DataSettings, seed: int, root: Path | None = None) -> Splits:
    """Give images as inputs (batch, 3, size, size), read when a batch is asked for, and ages in years as float32.

    The seed changes nothing: there is no augmentation and the split is fixed.
    """
    if data.label_noise:
        raise StudyError(f"{NAME}: label_noise {data.label_noise:g} asked for, but ages are no classes; use 0")
    pictures, faces = _read(find(root, bool(data.sample)))
    first = data.test + data.cut_off
    if (data.train or 1) + first > len(faces):
        raise StudyError(
            f"{NAME}: {data.asked_of_train} + validation {data.cut_off} + test {data.test} examples asked for, but it "
            f"has {len(faces)}"
        )
    ages = torch.tensor([face.age for face in faces])
    order = fixed_order(pictures.names, ages // 10)

    def make(index: Tensor) -> StreamedImages:
        index = index.sort().values
        square = Square(data.size or SIZE)
        return StreamedImages(pictures, ages[index].float(), index, square, Normalise(*HALF), seed)

    measured = make(order[: data.test])
    return Splits(
        make(order[first:] if data.train is None else order[first : first + data.train]),
        make(order[data.test : first]) if data.cut_off else measured,
        measured,
        classes=1,
        task="regression",
        channels=3,
    )


def check(root: Path | None) -> Checked:
    """Read every image and every name."""
    place = find(root, None)
    pictures, faces = _read(place)
    read_all(pictures)
    lacking = sum(face.gender is None or face.race is None for face in faces)
    counts = {"all": len(faces), "without gender or race": lacking}
    return Checked(NAME, place.folder, "official", place.sample, counts, classes=1)


def parse_face(name: str) -> Face:
    """Read age, gender and race from a file name.

    Raises:
        StudyError: if it has no age, or a value is out of its range.
    """
    match = re.fullmatch(r"(\d+)_((?:\d*_)*)\d{14,}[^_]*\.jpe?g", name, flags=re.IGNORECASE)
    if match is None or int(match[1]) > OLDEST:
        raise StudyError(
            f"{name}: age_gender_race_time.jpg with an age of 0 to {OLDEST} expected; unpack UTKFace again"
        )
    fields = [int(field) if field else None for field in match[2].split("_")[:-1]]
    if len(fields) < 2:
        return Face(int(match[1]), None, None)  # one of the two is missing, and nobody knows which
    (gender, race), more = fields[:2], fields[2:]
    if more or (gender or 0) >= GENDERS or (race or 0) >= RACES:
        raise StudyError(f"{name}: gender must be 0 or 1 and race 0 to 4; unpack UTKFace again")
    return Face(int(match[1]), gender, race)


def find(root: Path | None, sample: bool | None) -> Place:
    """Find the folder."""
    return locate(NAME, (FOLDER,), COUNTS, root, sample=sample, reads=READS)


def _read(place: Place) -> tuple[FilePictures, list[Face]]:
    names = image_names(place.folder)
    faces = []
    for name in names:
        try:
            faces.append(parse_face(name))
        except StudyError as error:
            raise StudyError(f"{place.folder}: {error}") from None
    place.require_count("all", len(names))
    return FilePictures(place.folder, names), faces
