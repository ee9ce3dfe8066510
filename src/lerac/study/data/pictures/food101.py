"""Food-101: 75,750 training images with some wrong labels, and 25,250 cleaned test images, of 101 dishes.

Source: Bossard, Guillaumin, Van Gool, "Food-101", ECCV 2014. Official form: the folder `food-101`; Hub form:
`ethz/food101` in a folder `food101`, where the test part is called validation. Classes are in alphabetical order.

Preprocessing: both sides resized to 64 without augmentation (128 for their CvT), mean and standard deviation 0.5 per
channel (authors' data_handlers.py). The validation part is cut from the training images (paper, section 6: 10 %).
"""

import json
from pathlib import Path
from typing import Literal

from torch import Tensor

from lerac.study.data.hub import HubPictures, hub_labels, hub_table
from lerac.study.data.parts import Sizes
from lerac.study.data.pictures.classification import Part, Parts, assemble, read_lines, require_labels
from lerac.study.data.pictures.images import HALF, FilePictures, Normalise, Square, StreamedImages
from lerac.study.data.pictures.listing import check_pictures, folder_names, image_names, require_same
from lerac.study.data.places import Checked, Place, data_root, locate
from lerac.study.data.splits import Splits
from lerac.study.errors import StudyError

__all__ = ["FOLDER", "NAME", "check_food101", "load_food101"]

NAME, FOLDER, HUB_FOLDER = "food101", "food-101", "food101"
CLASSES = 101
COUNTS = {"train": 75_750, "test": 25_250}


def load_food101(
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
    """Give images as inputs (batch, 3, size, size), read when a batch is asked for.

    Args:
        seed: decides the label noise, and nothing else.
        train: number of training examples; with `validation` at most 75,750; None: all that are left.
        validation: number of examples that choose the epoch; or `test`: the test examples do, as in the authors' code.
        test: number of examples that are looked at once, at most 25,250.
        label_noise: share of the training labels to replace by another class, in [0, 1).
        size: height and width, in pixels.
        sample: whether a generated sample is wanted instead of the real data.
        root: data root; None: LERAC_DATA.

    Raises:
        StudyError: if files are missing, or there are fewer examples than asked for; when a batch is read, if an
            image is damaged.
    """
    parts = _read(_place(data_root(root), sample))

    def make(part: Part, index: Tensor, labels: Tensor, training: bool) -> StreamedImages:
        assert not isinstance(part.pictures, Tensor)
        return StreamedImages(part.pictures, labels, index, Square(size), Normalise(*HALF), seed)

    sizes = Sizes(train, validation, test)
    return assemble(parts, make, seed=seed, sizes=sizes, label_noise=label_noise)


def check_food101(root: Path) -> Checked:
    """Read everything.

    Raises:
        StudyError: with the first faulty file.
    """
    place = _place(root, None)
    parts = _read(place)
    if parts.form == "official":
        _compare_lists(place.folder, parts)
    return check_pictures(NAME, parts)


def _place(root: Path, sample: bool | None) -> Place:
    return locate(NAME, (FOLDER, HUB_FOLDER), COUNTS, root, sample=sample)


def _read(place: Place) -> Parts:
    if place.folder.name == FOLDER:
        train, test = _read_lists(place)
        return Parts(place, "official", CLASSES, train, test)
    train, test = (_read_table(place, part, files) for part, files in (("train", "train"), ("test", "validation")))
    return Parts(place, "hub", CLASSES, train, test)


def _read_lists(place: Place) -> tuple[Part, Part]:
    path, images = place.folder / "meta" / "classes.txt", place.folder / "images"
    classes = sorted(line.strip() for line in read_lines(path))
    if len(set(classes)) != CLASSES or len(classes) != CLASSES:
        raise StudyError(f"{path}: {CLASSES} different classes expected, found {len(set(classes))}")
    require_same(images, folder_names(images), classes, path)
    there = {f"{name}/{file.rsplit('.', 1)[0]}" for name in classes for file in image_names(images / name)}
    train, test = (_read_list(place, part, classes, there) for part in ("train", "test"))
    if both := sorted(set(train.keys) & set(test.keys)):
        raise StudyError(f"{place.folder / 'meta' / 'test.txt'}: {both[0]} is in train.txt, too")
    if more := sorted({f"images/{stem}.jpg" for stem in there} - {*train.keys, *test.keys}):
        raise StudyError(f"{place.folder / more[0]}: neither in meta/train.txt nor in meta/test.txt")
    return train, test


def _read_list(place: Place, part: str, classes: list[str], there: set[str]) -> Part:
    path = place.folder / "meta" / f"{part}.txt"
    position = {name: label for label, name in enumerate(classes)}
    names, labels = [], []
    for number, line in enumerate(map(str.strip, read_lines(path)), start=1):
        name = line.partition("/")[0]
        if name not in position:
            raise StudyError(f"{path}, line {number}: class {name!r} is not in classes.txt")
        if line not in there:
            raise StudyError(f"{place.folder / 'images' / line}.jpg: missing, but {path} lists it")
        names.append(f"images/{line}.jpg")
        labels.append(position[name])
    if len(set(names)) < len(names):
        raise StudyError(f"{path}: {next(n for n in names if names.count(n) > 1)} is listed twice")
    place.require_count(part, len(names), path)
    return Part.of_pictures(part, labels, FilePictures(place.folder, names))


def _compare_lists(folder: Path, parts: Parts) -> None:
    """The JSON files say the same as the text files, by class."""
    for part in (parts.train, parts.test):
        path = folder / "meta" / f"{part.name}.json"
        text = "\n".join(read_lines(path))
        try:
            lists = json.loads(text)
            names = {f"images/{stem}.jpg" for stems in lists.values() for stem in stems}
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise StudyError(f"{path}: class → list of images expected ({error})") from None
        if different := sorted(names ^ set(part.keys)):
            raise StudyError(f"{path}: says something else than {part.name}.txt about {different[0]}")


def _read_table(place: Place, part: str, files: str) -> Part:
    table = hub_table(place.folder, files, ("image", "label"))
    place.require_count(part, len(table))
    pictures = HubPictures(table, "image", place.folder, files)
    labels = require_labels(hub_labels(table, "label", place.folder), CLASSES, pictures.name)
    return Part.of_pictures(part, labels, pictures)
