"""PASCAL VOC 2007 and 2012: photographs with boxes around objects of 20 classes; a detection.

Source: Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010. Form: `VOCdevkit/VOC20xx` with
`Annotations`, `ImageSets/Main` and `JPEGImages`. Learned from is trainval of both years (16,551 images), tested is on
test of 2007 (4,952), as is usual; the paper's choice is not known. The validation part is cut from trainval (10 %, each
year by its share) and not the official half, which would leave half of the usual training data.

Boxes: the files have corners (xmin, ymin, xmax, ymax) as pixels counted from 1, both inside the box. Here a box is
(xmin − 1, ymin − 1, xmax, ymax): edges counted from 0 at the image's left and upper border, so that a box of one pixel
has width 1 and the box of the whole image is (0, 0, width, height).
"""

from pathlib import Path
from xml.etree import ElementTree

import torch
from torch import Tensor

from lerac.study.data.boxes.detection import BoxAugmentations, DetectionSplit, Objects
from lerac.study.data.pictures.images import FilePictures
from lerac.study.data.pictures.listing import read_all, read_lines, read_xml, require_once
from lerac.study.data.places import Checked, Place, locate
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import Splits, choose
from lerac.study.errors import StudyError

__all__ = ["CLASSES", "FOLDER", "NAME", "check", "find", "load", "read_objects"]

NAME, FOLDER, SIZE = "voc", "VOCdevkit", 640
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
COUNTS = {"2007 trainval": 5011, "2012 trainval": 11_540, "2007 test": 4952}
READS = (
    *(f"VOC{year}/{files}" for year in (2007, 2012) for files in ("Annotations/*.xml", "JPEGImages/*.jpg")),
    *(f"VOC{part.replace(' ', '/ImageSets/Main/')}.txt" for part in COUNTS),
)


def load(data: DataSettings, seed: int, root: Path | None = None) -> Splits:
    """Give images as inputs (batch, 3, size, size), read when a batch is asked for, and the objects on them.

    `DetectionSplit` says what a batch is. The split does not depend on the seed.
    """
    if data.label_noise:
        raise StudyError(f"{NAME}: label_noise {data.label_noise:g} asked for, which is for classification; use 0")
    place = find(root, bool(data.sample))
    names = _read(place)
    learned, tested = [*names["2007 trainval"], *names["2012 trainval"]], names["2007 test"]
    years = [0] * len(names["2007 trainval"]) + [1] * len(names["2012 trainval"])
    chosen = choose(NAME, (learned, years), (tested, [0] * len(tested)), data)
    pictures = FilePictures(place.folder, [*learned, *tested])

    def make(index: Tensor, augment: BoxAugmentations | None = None) -> DetectionSplit:
        objects = [read_objects(_annotation(pictures, i)) for i in index.tolist()]
        return DetectionSplit(pictures, objects, index, data.size or SIZE, len(CLASSES), augment, seed)

    tests = make(chosen.test + len(learned))
    validates = tests if chosen.validation is None else make(chosen.validation)
    for part, split in (("validation", validates), ("test", tests)):
        if all(objects.difficult.all() for objects in split.labels):
            raise StudyError(
                f"{NAME}: none of the {len(split)} {part} images has an object that is not difficult, so there is "
                f"nothing to find; ask for more by data.{part}"
            )
    learns = make(chosen.train, None if data.augment is None else BoxAugmentations.of(data.augment))
    return Splits(learns, validates, tests, classes=len(CLASSES), task="detection", channels=3)


def check(root: Path | None) -> Checked:
    """Read every image and annotation of trainval 2007 and 2012 and test 2007."""
    place = find(root, None)
    names = _read(place)
    pictures = FilePictures(place.folder, [name for part in names.values() for name in part])
    read_all(pictures)
    for i in range(len(pictures)):
        objects = read_objects(_annotation(pictures, i))
        if (found := pictures.open(i).size) != objects.size:
            size, said = ("×".join(map(str, pair)) for pair in (found, objects.size))
            raise StudyError(
                f"{_annotation(pictures, i)}: an image of {said} pixels, but {pictures.name(i)} has {size}"
            )
    counts = {part: len(there) for part, there in names.items()}
    return Checked(NAME, place.folder, "official", place.sample, counts, len(CLASSES))


def read_objects(path: Path) -> Objects:
    """Read an annotation.

    Raises:
        StudyError: if it is missing or no such XML, or a class is unknown or a box not inside the image.
    """
    tree = read_xml(path)
    try:
        size = int(_text(tree, "size/width")), int(_text(tree, "size/height"))
        found = [_read_object(element, *size) for element in tree.iterfind("object")]
    except ValueError as error:
        raise StudyError(f"{path}: {error}; unpack the data set again") from None
    return Objects(
        torch.tensor([box for box, _, _ in found], dtype=torch.float32).view(-1, 4),
        torch.tensor([label for _, label, _ in found], dtype=torch.int64),
        torch.tensor([difficult for _, _, difficult in found], dtype=torch.bool),
        size,
    )


def _read_object(element: ElementTree.Element, width: int, height: int) -> tuple[tuple[float, ...], int, bool]:
    name, flag = _text(element, "name"), _text(element, "difficult")
    if name not in CLASSES or flag not in ("0", "1"):
        raise ValueError(f"class {name!r} with difficult {flag!r}: a class of VOC with 0 or 1 expected")
    left, upper, right, lower = (float(_text(element, f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax"))
    if not (1 <= left <= right <= width and 1 <= upper <= lower <= height):
        box = f"({left:g}, {upper:g}, {right:g}, {lower:g})"
        raise ValueError(f"box {box} of {name} is not inside the image of {width}×{height} pixels")
    return (left - 1, upper - 1, right, lower), CLASSES.index(name), flag == "1"


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"{path} is missing")
    return text.strip()


def find(root: Path | None, sample: bool | None) -> Place:
    """Find the folder."""
    return locate(NAME, (FOLDER,), COUNTS, root, sample=sample, reads=READS)


def _read(place: Place) -> dict[str, list[str]]:
    """Give the names of the images of each part, below the folder."""
    names = {}
    for part in COUNTS:
        year, lists = part.split()
        path = place.folder / f"VOC{year}" / "ImageSets" / "Main" / f"{lists}.txt"
        ids = [line.strip() for line in read_lines(path)]
        require_once(path, ids)
        place.require_count(part, len(ids), path)
        names[part] = [f"VOC{year}/JPEGImages/{i}.jpg" for i in ids]
        for name in names[part]:
            if not (place.folder / name).is_file():
                raise StudyError(f"{place.folder / name}: this image is missing, but {path} lists it")
    if both := sorted(set(names["2007 trainval"]) & set(names["2007 test"])):
        raise StudyError(f"{place.folder / both[0]}: both in trainval and in test")
    return names


def _annotation(pictures: FilePictures, i: int) -> Path:
    image = Path(pictures.name(i))
    return image.parent.parent / "Annotations" / f"{image.stem}.xml"
