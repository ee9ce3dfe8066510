"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test images of 32×32 in 10 or 100 classes.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. Official form: the pickles of the
"python version" in `cifar-10-batches-py` and `cifar-100-python`; Hub form: `uoft-cs/cifar10` in a folder `cifar10`,
`uoft-cs/cifar100` in `cifar100`. CIFAR-100 is read with its fine labels.

Preprocessing: 32×32 without augmentation (paper, section 6), mean and standard deviation 0.5 per channel (authors'
data_handlers.py); 64×64 for their pre-trained CvT (ibid.). Validation: cut from the training images (paper: 10 %), or
the test images (authors' code).
"""

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lerac.study.data.hub import HUB_FILES
from lerac.study.data.pictures.classification import Part, Parts, assemble, require_labels
from lerac.study.data.pictures.images import HALF, Normalise, hold
from lerac.study.data.places import Checked, Place, locate
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import HeldSplit, Splits
from lerac.study.errors import StudyError

__all__ = ["CIFAR10", "CIFAR100", "Cifar"]

COUNTS = {"train": 50_000, "test": 10_000}
SIZE = 32
PIXELS = 3 * SIZE * SIZE


@dataclass(frozen=True)
class Cifar:
    """One of the two.

    Args:
        name: of the data set.
        folder: of the official form.
        classes: how many labels there are.
        train: names of the files with training images.
        test: name of the file with test images.
        meta: name of the file with the classes' names.
        labels: key of the labels in the files.
        names: key of the classes' names in `meta`.
        column: of the labels in the Hub form.
    """

    name: str
    folder: str
    classes: int
    train: tuple[str, ...]
    test: str
    meta: str
    labels: str
    names: str
    column: str

    def load(self, data: DataSettings, seed: int, root: Path | None = None) -> Splits:
        """Give images as inputs (batch, 3, size, size), held in memory as bytes; 180 MB for all of them."""
        parts = self.read(self.find(root, bool(data.sample)))
        normalise = Normalise(*HALF, size=data.size or SIZE)

        def make(part: Part, index: Tensor, labels: Tensor, training: bool) -> HeldSplit:
            assert isinstance(part.pictures, Tensor)
            return HeldSplit(part.pictures[index], labels, index, normalise)

        return assemble(parts, make, data, seed)

    def check(self, root: Path | None) -> Checked:
        """Read everything; of real files in the official form, compare the checksums that torchvision has."""
        place = self.find(root, None)
        if self._is_official(place) and not place.sample and (wrong := self._unpublished(place.folder)):
            raise StudyError(f"{wrong}; unpack the data set again")
        parts = self.read(place)
        counts = {part.name: len(part.labels) for part in (parts.train, parts.test)}
        return Checked(self.name, place.folder, parts.form, place.sample, counts, self.classes)

    def find(self, root: Path | None, sample: bool | None) -> Place:
        """Find the folder."""
        reads = (*self.train, self.test, self.meta, *HUB_FILES)
        return locate(self.name, (self.folder, self.name), COUNTS, root, sample=sample, reads=reads)

    def published(self, place: Place) -> bool | None:
        """Whether these are the published files, by the checksums that torchvision has; it has none of the Hub form."""
        return not self._unpublished(place.folder) if self._is_official(place) else None

    def read(self, place: Place) -> Parts:
        """Read all images and labels, and check their number."""
        if self._is_official(place):
            self._read_meta(place.folder / self.meta)
            train = self._read_files(place, "train", self.train)
            return Parts(place, "official", self.classes, train, self._read_files(place, "test", (self.test,)))
        train, test = (self._read_table(place, part) for part in ("train", "test"))
        return Parts(place, "hub", self.classes, train, test)

    def _is_official(self, place: Place) -> bool:
        return place.folder.name == self.folder

    def _read_meta(self, path: Path) -> None:
        names = read_pickle(path).get(self.names)
        if not isinstance(names, list) or len(names) != self.classes:
            raise StudyError(f"{path}: {self.names!r} must name {self.classes} classes; unpack the data set again")

    def _read_files(self, place: Place, part: str, files: tuple[str, ...]) -> Part:
        images, labels = [], []
        for file in files:
            data, found = self._read_file(place.folder / file)
            images.append(data)
            labels += found
        place.require_count(part, len(labels))
        return Part.held(part, labels, torch.cat(images))

    def _read_file(self, path: Path) -> tuple[Tensor, list[int]]:
        batch = read_pickle(path)
        data, labels = batch.get("data"), batch.get(self.labels)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS:
            raise StudyError(f"{path}: 'data' must be (n, {PIXELS}) uint8; unpack the data set again")
        if not isinstance(labels, list) or len(labels) != len(data):
            found = len(labels) if isinstance(labels, list) else "no"
            raise StudyError(f"{path}: {len(data)} images, but {found} {self.labels!r}; unpack the data set again")
        checked = require_labels(labels, self.classes, lambda i: f"{path}: image {i}")
        return torch.from_numpy(data.copy()).view(-1, 3, SIZE, SIZE), checked

    def _read_table(self, place: Place, part: str) -> Part:
        found = Part.of_hub(place, part, part, self.classes, image="img", label=self.column)
        assert not isinstance(found.pictures, Tensor)
        return Part.held(part, found.labels, hold(found.pictures, SIZE))

    def _unpublished(self, folder: Path) -> str:
        """Say which file is not the published one, and why; nothing if all are."""
        import torchvision

        known = torchvision.datasets.CIFAR10 if self.classes == 10 else torchvision.datasets.CIFAR100
        meta = (known.meta["filename"], known.meta["md5"])
        for file, md5 in [*known.train_list, *known.test_list, meta]:
            path = folder / file
            if not path.is_file():
                return f"{path}: this file is missing"
            if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5:
                return f"{path}: not the published file (its MD5 is not {md5})"
        return ""


class _Arrays(pickle.Unpickler):
    """Reads arrays and plain types; a pickle that names anything else could run code."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file does")
        if module == "numpy.core.multiarray":  # where NumPy 1 had it
            module = "numpy._core.multiarray" if int(np.__version__.split(".")[0]) >= 2 else module
        return super().find_class(module, name)


def read_pickle(path: Path) -> dict[str, Any]:
    """Read one of the pickles; keys become text.

    Raises:
        StudyError: if it is missing, damaged, or anything but arrays and plain types.
    """
    try:
        with path.open("rb") as file:
            content = _Arrays(file, encoding="bytes").load()
    except FileNotFoundError:
        raise StudyError(f"{path}: this file is missing; unpack the data set again") from None
    except Exception as error:  # a damaged pickle can raise any, as Python's documentation says
        raise StudyError(
            f"{path}: cannot be read ({str(error) or type(error).__name__}); unpack the data set again"
        ) from None
    if not isinstance(content, dict):
        raise StudyError(f"{path}: a dict expected, found {type(content).__name__}; unpack the data set again")
    # Damage can be in a key; it is missing then.
    return {key.decode(errors="replace") if isinstance(key, bytes) else str(key): content[key] for key in content}


CIFAR10 = Cifar(
    name="cifar10",
    folder="cifar-10-batches-py",
    classes=10,
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test="test_batch",
    meta="batches.meta",
    labels="labels",
    names="label_names",
    column="label",
)
CIFAR100 = Cifar(
    name="cifar100",
    folder="cifar-100-python",
    classes=100,
    train=("train",),
    test="test",
    meta="meta",
    labels="fine_labels",
    names="fine_label_names",
    column="fine_label",
)
