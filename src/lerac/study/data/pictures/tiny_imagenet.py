"""Tiny ImageNet: 100,000 training and 10,000 validation images of 64×64 in 200 classes, some of them grey.

Source: Le and Yang, "Tiny ImageNet Visual Recognition Challenge", 2015 (CS231n, Stanford). Official form: the folder
`tiny-imagenet-200`; Hub form: `zh-plus/tiny-imagenet` in a folder `tiny-imagenet`. Classes are the sorted WordNet ids.

Preprocessing: 64×64 without augmentation (paper, section 6), mean and standard deviation 0.5 per channel (authors'
data_handlers.py). The official validation images are the test part, as in the authors' code, because the official
test images have no labels; the validation part is cut from the training images (paper: 10 %).
"""

from pathlib import Path

from torch import Tensor

from lerac.study.data.hub import HUB_FILES
from lerac.study.data.pictures.classification import Part, Parts, assemble
from lerac.study.data.pictures.images import HALF, FilePictures, Normalise, hold
from lerac.study.data.pictures.listing import (
    check_pictures,
    folder_names,
    image_names,
    read_classes,
    read_lines,
    require_same,
)
from lerac.study.data.places import Checked, Place, locate
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import HeldSplit, Splits
from lerac.study.errors import StudyError

__all__ = ["CLASSES", "FOLDER", "NAME", "check", "find", "load"]

NAME, FOLDER, HUB_FOLDER = "tiny-imagenet", "tiny-imagenet-200", "tiny-imagenet"
CLASSES, SIZE = 200, 64
COUNTS = {"train": 100_000, "val": 10_000}
READS = ("wnids.txt", "train/*/images/*", "val/val_annotations.txt", "val/images/*", *HUB_FILES)


def load(data: DataSettings, seed: int, root: Path | None = None) -> Splits:
    """Give images as inputs (batch, 3, size, size), held in memory as bytes; 1.4 GB for all of them."""
    parts = _read(find(root, bool(data.sample)))
    normalise = Normalise(*HALF, size=data.size or SIZE)

    def make(part: Part, index: Tensor, labels: Tensor, training: bool) -> HeldSplit:
        assert not isinstance(part.pictures, Tensor)
        return HeldSplit(hold(part.pictures, SIZE, index.tolist()), labels, index, normalise)

    return assemble(parts, make, data, seed)


def check(root: Path | None) -> Checked:
    """Read everything."""
    return check_pictures(NAME, _read(find(root, None)), SIZE)


def find(root: Path | None, sample: bool | None) -> Place:
    """Find the folder."""
    return locate(NAME, (FOLDER, HUB_FOLDER), COUNTS, root, sample=sample, reads=READS)


def _read(place: Place) -> Parts:
    if place.folder.name == FOLDER:
        wnids = read_classes(place.folder / "wnids.txt", CLASSES)
        train, val = _read_train(place, wnids), _read_val(place, wnids)
        return Parts(place, "official", CLASSES, train, val)
    hub = {"train": "train", "val": "valid"}
    train, val = (Part.of_hub(place, part, files, CLASSES) for part, files in hub.items())
    return Parts(place, "hub", CLASSES, train, val)


def _read_train(place: Place, wnids: list[str]) -> Part:
    folder = place.folder / "train"
    require_same(folder, folder_names(folder), wnids, place.folder / "wnids.txt")
    names, labels = [], []
    for label, wnid in enumerate(wnids):
        found = image_names(folder / wnid / "images")
        if len(found) != place.counts["train"] // CLASSES:
            place.require_count("train", len(found) * CLASSES, folder / wnid / "images")
        names += [f"train/{wnid}/images/{name}" for name in found]
        labels += [label] * len(found)
    place.require_count("train", len(labels), folder)
    return Part.of_pictures("train", labels, FilePictures(place.folder, names))


def _read_val(place: Place, wnids: list[str]) -> Part:
    path, folder = place.folder / "val" / "val_annotations.txt", place.folder / "val" / "images"
    position = {wnid: label for label, wnid in enumerate(wnids)}
    labels: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split("\t")
        if len(fields) != 6:
            raise StudyError(f"{path}, line {number}: file, class and 4 numbers between tabs expected, got {line!r}")
        if fields[1] not in position:
            raise StudyError(f"{path}, line {number}: class {fields[1]!r} is not in wnids.txt")
        if fields[0] in labels:
            raise StudyError(f"{path}, line {number}: {fields[0]} is listed twice")
        labels[fields[0]] = position[fields[1]]
    require_same(folder, image_names(folder), labels, path)
    place.require_count("val", len(labels), path)
    names = sorted(labels)
    pictures = FilePictures(place.folder, [f"val/images/{name}" for name in names])
    return Part.of_pictures("val", [labels[name] for name in names], pictures)
