"""UTKFace: 23,708 aligned and cropped faces with the age in years, 0 to 116; a regression.

Source: Zhang, Song, Qi, "Age Progression/Regression by Conditional Adversarial Autoencoder", CVPR 2017. Form: a folder
`UTKFace` with `age_gender_race_date&time.jpg.chip.jpg` (or `….jpg`). A few names lack gender or race and are kept:
only the age is used.

There is no official split and the paper's is not known, so this one is ours: test, then validation, then training
examples from one fixed order of the file names with every decade of age by its share; the same for every seed and
machine. Nobody knows who is on two images, so a face can be in two parts. Preprocessing is ours, too: both sides
resized, no augmentation, mean and standard deviation 0.5 per channel, as the authors' code does with other images.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lerac.study.data.parts import Sizes, fixed_order
from lerac.study.data.pictures.images import HALF, FilePictures, Normalise, Square, StreamedImages
from lerac.study.data.pictures.listing import image_names, read_all
from lerac.study.data.places import Checked, Place, data_root, locate
from lerac.study.data.splits import Splits
from lerac.study.errors import StudyError

__all__ = ["FOLDER", "NAME", "Face", "check_utkface", "load_utkface", "mean_absolute_error", "parse_face"]

NAME, FOLDER = "utkface", "UTKFace"
COUNTS = {"all": 23_708}
OLDEST = 116
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


def load_utkface(
    seed: int,
    *,
    train: int | None = None,
    validation: int | Literal["test"],
    test: int,
    label_noise: float = 0.0,
    size: int = 64,
    sample: bool = False,
    root: Path | None = None,
) -> Splits:
    """Give images as inputs (batch, 3, size, size), read when a batch is asked for, and ages in years as float32.

    Args:
        seed: changes nothing: there is no augmentation and the split is fixed.
        train: number of training examples; with `validation` and `test` at most 23,708; None: all that are left.
        validation: number of examples that choose the epoch; or `test`: the test examples do.
        test: number of examples that are looked at once.
        label_noise: must be 0: ages are no classes.
        size: height and width, in pixels.
        sample: whether a generated sample is wanted instead of the real data.
        root: data root; None: LERAC_DATA.

    Raises:
        StudyError: if files are missing, a name has no age, there are fewer examples than asked for, or label noise
            is asked for; when a batch is read, if an image is damaged.
    """
    if label_noise:
        raise StudyError(f"{NAME}: label_noise {label_noise:g} asked for, but ages are no classes; use 0")
    pictures, faces = _read(_place(data_root(root), sample))
    sizes = Sizes(train, validation, test)
    least = (sizes.train or 1) + sizes.cut_off + test
    if least > len(faces):
        raise StudyError(
            f"{NAME}: train {train or '(all others)'} + validation {sizes.cut_off} + test {test} examples asked for, "
            f"but it has {len(faces)}"
        )
    ages = torch.tensor([face.age for face in faces])
    order = fixed_order(pictures.names, ages // 10)
    first = test + sizes.cut_off

    def make(index: Tensor) -> StreamedImages:
        index = index.sort().values
        return StreamedImages(pictures, ages[index].float(), index, Square(size), Normalise(*HALF), seed)

    measured = make(order[:test])
    return Splits(
        make(order[first:] if train is None else order[first : first + train]),
        measured if isinstance(validation, str) else make(order[test:first]),
        measured,
        classes=1,
        task="regression",
        channels=3,
    )


def check_utkface(root: Path) -> Checked:
    """Read every image and every name.

    Raises:
        StudyError: with the first faulty file.
    """
    place = _place(root, None)
    pictures, faces = _read(place)
    read_all(pictures)
    lacking = sum(face.gender is None or face.race is None for face in faces)
    counts = {"all": len(faces), "without gender or race": lacking}
    return Checked(NAME, place.folder, "official", place.sample, counts, classes=1)


def mean_absolute_error(predicted: Tensor, ages: Tensor) -> float:
    """Give the mean absolute difference of predicted and true ages, in years.

    Args:
        predicted: (n,) or (n, 1), in years.
        ages: (n,), in years.

    Raises:
        ValueError: if there are none, or not as many of both.
    """
    if predicted.shape not in (ages.shape, (*ages.shape, 1)) or ages.ndim != 1 or not len(ages):
        raise ValueError(
            f"(n,) ages and as many predictions expected, got {tuple(ages.shape)}, {tuple(predicted.shape)}"
        )
    return float((predicted.double().reshape(-1) - ages.double()).abs().mean())


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


def _place(root: Path, sample: bool | None) -> Place:
    return locate(NAME, (FOLDER,), COUNTS, root, sample=sample)


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
