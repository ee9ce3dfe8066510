"""ImageNet-200: the first 200 classes of ILSVRC 2012 by WordNet id; about 1,300 training images each, 50 to test.

Source: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015. Form: `ILSVRC` with
`Data/CLS-LOC/{train/<wnid>,val}` and `Annotations/CLS-LOC/val/*.xml`, which has the classes of the validation images.

Preprocessing (authors' data_handlers.py): random crop of 8 to 100 % of the area resized to 224, flip, colour jitter of
0.4 (brightness, contrast, saturation), mean and standard deviation of ImageNet. To measure: the shorter side resized
to 256, then the centre 224; the authors crop at random there, too, which makes their numbers depend on chance. The
official validation images are the test part; the validation part is cut from the training images (paper: 10 %).
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from PIL import Image
from torch import Tensor

from lerac.study.data.pictures.classification import Part, Parts, assemble
from lerac.study.data.pictures.images import IMAGENET, FilePictures, Normalise, StreamedImages, to_bytes
from lerac.study.data.pictures.listing import check_pictures, folder_names, image_names, read_xml
from lerac.study.data.places import Checked, Place, locate
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import Splits
from lerac.study.errors import StudyError

__all__ = ["CLASSES", "FOLDER", "MOST", "NAME", "check", "find", "load"]

NAME, FOLDER = "imagenet200", "ILSVRC"
CLASSES, ALL_CLASSES, PER_CLASS_VAL, SIZE = 200, 1000, 50, 224
COUNTS = {"val": CLASSES * PER_CLASS_VAL}
TRAIN, VAL, ANNOTATIONS = "Data/CLS-LOC/train", "Data/CLS-LOC/val", "Annotations/CLS-LOC/val"
FEWEST, MOST = 732, 1300  # training images of a class in ILSVRC 2012 (Russakovsky et al., IJCV 2015)
FIRST, LAST = "n01440764", "n02097298"  # of the 200, in the sorted list of ILSVRC 2012


def load(data: DataSettings, seed: int, root: Path | None = None) -> Splits:
    """Give images as inputs (batch, 3, size, size), read and augmented when a batch is asked for."""
    parts, size = _read(find(root, bool(data.sample))), data.size or SIZE

    def make(part: Part, index: Tensor, labels: Tensor, training: bool) -> StreamedImages:
        assert not isinstance(part.pictures, Tensor)
        transform = Augment(size) if training else Measure(size, at_random=data.crop == "random")
        return StreamedImages(part.pictures, labels, index, transform, Normalise(*IMAGENET), seed)

    return assemble(parts, make, data, seed)


def check(root: Path | None) -> Checked:
    """Read every image and annotation of the 200 classes."""
    return check_pictures(NAME, _read(find(root, None)))


class Augment:
    """The authors' augmentation; draws from torch's generator.

    Args:
        size: height and width of the result, in pixels.
    """

    def __init__(self, size: int) -> None:
        from torchvision.transforms import v2  # takes long to load

        self._transform = v2.Compose(
            [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), v2.ColorJitter(0.4, 0.4, 0.4)]
        )

    def __call__(self, image: Image.Image) -> Tensor:
        return to_bytes(self._transform(image))


class Measure:
    """Resizes the shorter side to 8/7 of `size` and takes the centre, or a random part, which is resized (official).

    Args:
        size: height and width of the result, in pixels.
        at_random: take a random part, drawn from torch's generator.
    """

    def __init__(self, size: int, *, at_random: bool) -> None:
        from torchvision.transforms import v2

        part = v2.RandomResizedCrop(size) if at_random else v2.CenterCrop(size)
        self._transform = v2.Compose([v2.Resize(size * 8 // 7), part])

    def __call__(self, image: Image.Image) -> Tensor:
        return to_bytes(self._transform(image))


def find(root: Path | None, sample: bool | None) -> Place:
    """Find the folder; of its classes, only the first 200 are read."""
    place = locate(NAME, (FOLDER,), COUNTS, root, sample=sample, reads=())
    classes = (f"{TRAIN}/{wnid}/*" for wnid in folder_names(place.folder / TRAIN)[:CLASSES])
    return replace(place, reads=(*classes, f"{VAL}/*", f"{ANNOTATIONS}/*.xml"))


def _read(place: Place) -> Parts:
    wnids = _wnids(place)
    return Parts(place, "official", CLASSES, _read_train(place, wnids), _read_val(place, wnids))


def _wnids(place: Place) -> list[str]:
    folder = place.folder / TRAIN
    wnids = folder_names(folder)
    if len(wnids) not in (CLASSES, ALL_CLASSES):
        raise StudyError(
            f"{folder}: {ALL_CLASSES} classes, or the first {CLASSES}, expected; found {len(wnids)}, of which the "
            f"first {CLASSES} could be other classes"
        )
    wnids = wnids[:CLASSES]
    if not place.sample and (wnids[0], wnids[-1]) != (FIRST, LAST):
        raise StudyError(
            f"{folder}: the first {CLASSES} classes must be {FIRST} to {LAST}, not {wnids[0]} to {wnids[-1]}"
        )
    return wnids


def _read_train(place: Place, wnids: list[str]) -> Part:
    folder = place.folder / TRAIN
    names, labels = [], []
    for label, wnid in enumerate(wnids):
        found = image_names(folder / wnid)
        if not place.sample and not FEWEST <= len(found) <= MOST:
            raise StudyError(
                f"{folder / wnid}: a wrong count: {len(found)} images, but every class has {FEWEST} to {MOST}"
            )
        names += [f"{TRAIN}/{wnid}/{name}" for name in found]
        labels += [label] * len(found)
    if "train" in place.counts:  # of a sample; nobody publishes the number of the real 200
        place.require_count("train", len(labels), folder)
    return Part.of_pictures("train", labels, FilePictures(place.folder, names))


def _read_val(place: Place, wnids: list[str]) -> Part:
    folder, annotations = place.folder / VAL, place.folder / ANNOTATIONS
    position = {wnid: label for label, wnid in enumerate(wnids)}
    names, labels = [], []
    for file in image_names(folder):
        wnid = _annotated(annotations / f"{Path(file).stem}.xml")
        if wnid in position:
            names.append(f"{VAL}/{file}")
            labels.append(position[wnid])
    counts = Counter(labels)
    each = place.counts["val"] // CLASSES
    for label, wnid in enumerate(wnids):
        if counts[label] != each:
            raise StudyError(f"{annotations}: a wrong count: {counts[label]} images of {wnid}, but {each} expected")
    return Part.of_pictures("val", labels, FilePictures(place.folder, names))


def _annotated(path: Path) -> str:
    found = {element.text or "" for element in read_xml(path).iterfind("object/name")}
    if len(found) != 1:
        raise StudyError(f"{path}: objects of one class expected, found {', '.join(sorted(found)) or 'none'}")
    return found.pop()
