"""Fashion-MNIST: 60,000 training and 10,000 test images of clothing, grey, 28×28, in ten classes.

Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
arXiv 1708.07747; MIT licence. Official form: four IDX files, packed by gzip or not, in a folder `fashion-mnist` as
Debian's package `dataset-fashion-mnist` has it, in torchvision's `FashionMNIST/raw`, or in the data root itself.
Without a data root, Debian's package is read.

Preprocessing: 28×28 without augmentation, or resized; mean and standard deviation of the training images. Validation:
cut from the training images.
"""

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lerac.study.data.pictures.classification import Part, Parts, assemble, require_labels
from lerac.study.data.pictures.images import Normalise
from lerac.study.data.places import Checked, Place, data_root, locate
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import HeldSplit, Splits
from lerac.study.errors import StudyError

__all__ = ["check", "find", "load", "published"]

NAME, CLASSES, SIZE = "fashion-mnist", 10, 28
FOLDERS = ("fashion-mnist", "FashionMNIST/raw")
COUNTS = {"train": 60_000, "test": 10_000}
PREFIXES = {"train": "train", "test": "t10k"}
UNPACKED = {  # file → SHA-256 of its unpacked content
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
MEAN, STD = (0.2860,), (0.3530,)  # of the training images, intensities in [0, 1]
AGAIN = "unpack or install the data set again"


def load(data: DataSettings, seed: int, root: Path | None = None) -> Splits:
    """Give images as inputs (batch, 1, size, size), held in memory as bytes; 55 MB for all of them."""
    normalise = Normalise(MEAN, STD, size=data.size or SIZE)

    def make(part: Part, index: Tensor, labels: Tensor, training: bool) -> HeldSplit:
        assert isinstance(part.pictures, Tensor)
        return HeldSplit(part.pictures[index], labels, index, normalise)

    return assemble(_read(find(root, bool(data.sample))), make, data, seed)


def check(root: Path | None) -> Checked:
    """Read everything; of real files, compare the published checksums."""
    place = find(root, None)
    parts = _read(place)
    if not place.sample and (wrong := _unpublished(place)):
        raise StudyError(f"{wrong}; {AGAIN}")
    counts = {part.name: len(part.labels) for part in (parts.train, parts.test)}
    return Checked(NAME, place.folder, parts.form, place.sample, counts, CLASSES)


def find(root: Path | None, sample: bool | None) -> Place:
    """Find the folder, the first that has one of the files; where a file is in both forms, the packed one is read."""
    root = data_root(root, NAME)
    files = [f"{name}{suffix}" for name in UNPACKED for suffix in (".gz", "")]
    having = [folder for folder in (*FOLDERS, ".") if any((root / folder / file).is_file() for file in files)]
    place = locate(NAME, having[:1] or FOLDERS, COUNTS, root, sample=sample, reads=())
    return Place(NAME, place.folder, place.counts, place.sample, [_form(place.folder, name) for name in UNPACKED])


def published(place: Place) -> bool:
    """Whether these are the published files, by their unpacked content."""
    return not _unpublished(place)


def _form(folder: Path, name: str) -> str:
    packed = f"{name}.gz"
    return packed if (folder / packed).exists() or not (folder / name).exists() else name


def _unpublished(place: Place) -> str:
    """Say which file is not the published one, and why; nothing if all are."""
    for name, file in zip(UNPACKED, place.reads, strict=True):
        try:
            content = _content(place.folder / file)
        except StudyError as error:
            return str(error)
        if hashlib.sha256(content).hexdigest() != UNPACKED[name]:
            return f"{place.folder / file}: not the published file (its SHA-256, unpacked, is not {UNPACKED[name]})"
    return ""


def _read(place: Place) -> Parts:
    train, test = (_part(place, part) for part in COUNTS)
    return Parts(place, "official", CLASSES, train, test, channels=1)


def _part(place: Place, part: str) -> Part:
    images, labels = (
        place.folder / _form(place.folder, f"{PREFIXES[part]}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")
    )
    pixels, classes = read_idx(images, (SIZE, SIZE)), read_idx(labels, ())
    if len(pixels) != len(classes):
        raise StudyError(f"{images}: {len(pixels)} images, but {labels.name} has {len(classes)} labels; {AGAIN}")
    place.require_count(part, len(classes), images)
    checked = require_labels(classes.tolist(), CLASSES, lambda i: f"{labels}: image {i}")
    return Part.held(part, checked, torch.from_numpy(pixels).unsqueeze(1))


def read_idx(path: Path, shape: tuple[int, ...]) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Read a file of bytes in the IDX format: two zeros, type, number of dimensions, sizes, values.

    Args:
        path: of the file; packed by gzip if its name ends in .gz.
        shape: that each item must have.

    Returns:
        (n, *shape).

    Raises:
        StudyError: if it is missing or damaged, or anything else than the format says.
    """
    content, start = _content(path), 4 * (2 + len(shape))
    magic = bytes([0, 0, 8, 1 + len(shape)])  # 8: unsigned bytes
    if content[:4] != magic:
        raise StudyError(
            f"{path}: no IDX file of this kind: it begins {content[:4].hex()!r}, not {magic.hex()!r}; {AGAIN}"
        )
    if len(content) < start:
        raise StudyError(f"{path}: ends within its header, after {len(content)} of {start} bytes; {AGAIN}")
    count, *sizes = np.frombuffer(content, ">u4", count=1 + len(shape), offset=4).tolist()
    if tuple(sizes) != shape:
        found, expected = ("×".join(map(str, size)) for size in (sizes, shape))
        raise StudyError(f"{path}: {expected} pixels expected, its header says {found}; {AGAIN}")
    values = np.frombuffer(content, np.uint8, offset=start)
    if (expected := count * int(np.prod(shape))) != len(values):
        raise StudyError(f"{path}: its header says {count} items, {expected} bytes, but {len(values)} follow; {AGAIN}")
    return values.reshape(count, *shape).copy()


def _content(path: Path) -> bytes:
    """Give the unpacked content of a file."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except FileNotFoundError:
        raise StudyError(f"{path}: this file is missing; {AGAIN}") from None
    except (OSError, EOFError, zlib.error) as error:  # gzip's own are OSErrors
        raise StudyError(f"{path}: cannot be read ({str(error) or type(error).__name__}); {AGAIN}") from None
