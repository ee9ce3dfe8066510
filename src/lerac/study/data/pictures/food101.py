"""Food-101: 75,750 training images with some wrong labels, and 25,250 cleaned test images, of 101 dishes.

Source: Bossard, Guillaumin, Van Gool, "Food-101", ECCV 2014. Official form: the folder `food-101`; Hub form:
`ethz/food101` in a folder `food101`, where the test part is called validation. Classes are in alphabetical order.

Preprocessing: both sides resized to 64 without augmentation (128 for their CvT), mean and standard deviation 0.5 per
channel (authors' data_handlers.py). The validation part is cut from the training images (paper, section 6: 10 %).
"""

import json
from pathlib import Path

from torch import Tensor

from lerac.study.data.hub import HUB_FILES
from lerac.study.data.pictures.classification import Part, Parts, assemble
from lerac.study.data.pictures.images import HALF, FilePictures, Normalise, Square, StreamedImages
from lerac.study.data.pictures.listing import (
    check_pictures,
    folder_names,
    image_names,
    read_classes,
    read_lines,
    require_once,
    require_same,
)
from lerac.study.data.places import Checked, Place, locate
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import Splits
from lerac.study.errors import StudyError

__all__ = ["CLASSES", "FOLDER", "NAME", "check", "find", "load"]

NAME, FOLDER, HUB_FOLDER = "food101", "food-101", "food101"
CLASSES, SIZE = 101, 64
COUNTS = {"train": 75_750, "test": 25_250}
READS = ("meta/classes.txt", "meta/train.txt", "meta/test.txt", "images/*/*", *HUB_FILES)


def load(data: DataSettings, seed: int, root: Path | None = None) -> Splits:
    """Give images as inputs (batch, 3, size, size), read when a batch is asked for."""
    parts = _read(find(root, bool(data.sample)))

    def make(part: Part, index: Tensor, labels: Tensor, training: bool) -> StreamedImages:
        assert not isinstance(part.pictures, Tensor)
        return StreamedImages(part.pictures, labels, index, Square(data.size or SIZE), Normalise(*HALF), seed)

    return assemble(parts, make, data, seed)


def check(root: Path | None) -> Checked:
    """Read everything."""
    place = find(root, None)
    parts = _read(place)
    if parts.form == "official":
        _compare_lists(place.folder, parts)
    return check_pictures(NAME, parts)


def find(root: Path | None, sample: bool | None) -> Place:
    """Find the folder."""
    return locate(NAME, (FOLDER, HUB_FOLDER), COUNTS, root, sample=sample, reads=READS)


def _read(place: Place) -> Parts:
    if place.folder.name == FOLDER:
        train, test = _read_lists(place)
        return Parts(place, "official", CLASSES, train, test)
    hub = {"train": "train", "test": "validation"}
    train, test = (Part.of_hub(place, part, files, CLASSES) for part, files in hub.items())
    return Parts(place, "hub", CLASSES, train, test)


def _read_lists(place: Place) -> tuple[Part, Part]:
    path, images = place.folder / "meta" / "classes.txt", place.folder / "images"
    classes = read_classes(path, CLASSES)
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
    require_once(path, names)
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
