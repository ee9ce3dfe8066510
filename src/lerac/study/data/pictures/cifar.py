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
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lerac.study.data.hub import HubPictures, hub_labels, hub_table
from lerac.study.data.parts import Sizes
from lerac.study.data.pictures.classification import Part, Parts, assemble, require_labels
from lerac.study.data.pictures.images import HALF, Normalise, hold
from lerac.study.data.places import Checked, Place, data_root, locate
from lerac.study.data.splits import HeldSplit, Splits
from lerac.study.errors import StudyError

__all__ = ["CIFAR10", "CIFAR100", "Cifar"]

COUNTS = {"train": 50_000, "test": 10_000}
PIXELS = 3 * 32 * 32


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

    def load(
        self,
        seed: int,
        *,
        train: int | None = None,
        validation: int | Literal["test"],
        test: int,
        label_noise: float = 0.0,
        size: int = 32,
        sample: bool = False,
        root: Path | None = None,
    ) -> Splits:
        """Give images as inputs (batch, 3, size, size), held in memory as bytes; 180 MB for all of them.

        Args:
            seed: decides the label noise, and nothing else.
            train: number of training examples; with `validation` at most 50,000; None: all that are left.
            validation: number of examples that choose the epoch; or `test`: the test ones do, as the authors'.
            test: number of examples that are looked at once, at most 10,000.
            label_noise: share of the training labels to replace by another class, in [0, 1).
            size: height and width, in pixels.
            sample: whether a generated sample is wanted instead of the real data.
            root: data root; None: LERAC_DATA.

        Raises:
            StudyError: if files are missing or damaged, or there are fewer examples than asked for.
        """
        parts = self.read(self.place(data_root(root), sample))
        normalise = Normalise(*HALF, size=size)

        def make(part: Part, index: Tensor, labels: Tensor, training: bool) -> HeldSplit:
            assert isinstance(part.pictures, Tensor)
            return HeldSplit(part.pictures[index], labels, index, normalise)

        sizes = Sizes(train, validation, test)
        return assemble(parts, make, seed=seed, sizes=sizes, label_noise=label_noise)

    def check(self, root: Path) -> Checked:
        """Read everything; of real files in the official form, compare the checksums that torchvision has.

        Raises:
            StudyError: with the first faulty file.
        """
        place = self.place(root, None)
        if place.folder.name == self.folder and not place.sample:
            self._compare_checksums(place.folder)
        parts = self.read(place)
        counts = {part.name: len(part.labels) for part in (parts.train, parts.test)}
        return Checked(self.name, place.folder, parts.form, place.sample, counts, self.classes)

    def place(self, root: Path, sample: bool | None) -> Place:
        """Find the folder."""
        return locate(self.name, (self.folder, self.name), COUNTS, root, sample=sample)

    def read(self, place: Place) -> Parts:
        """Read all images and labels, and check their number."""
        if place.folder.name == self.folder:
            self._read_meta(place.folder / self.meta)
            train = self._read_files(place, "train", self.train)
            return Parts(place, "official", self.classes, train, self._read_files(place, "test", (self.test,)))
        train, test = (self._read_table(place, part) for part in ("train", "test"))
        return Parts(place, "hub", self.classes, train, test)

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
        return _part(part, labels, torch.cat(images))

    def _read_file(self, path: Path) -> tuple[Tensor, list[int]]:
        batch = read_pickle(path)
        data, labels = batch.get("data"), batch.get(self.labels)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS:
            raise StudyError(f"{path}: 'data' must be (n, {PIXELS}) uint8; unpack the data set again")
        if not isinstance(labels, list) or len(labels) != len(data):
            found = len(labels) if isinstance(labels, list) else "no"
            raise StudyError(f"{path}: {len(data)} images, but {found} {self.labels!r}; unpack the data set again")
        checked = require_labels(labels, self.classes, lambda i: f"{path}: image {i}")
        return torch.from_numpy(data.copy()).view(-1, 3, 32, 32), checked

    def _read_table(self, place: Place, part: str) -> Part:
        table = hub_table(place.folder, part, ("img", self.column))
        place.require_count(part, len(table))
        pictures = HubPictures(table, "img", place.folder, part)
        labels = require_labels(hub_labels(table, self.column, place.folder), self.classes, pictures.name)
        return _part(part, labels, hold(pictures, 32))

    def _compare_checksums(self, folder: Path) -> None:
        import torchvision

        known = torchvision.datasets.CIFAR10 if self.classes == 10 else torchvision.datasets.CIFAR100
        meta = (known.meta["filename"], known.meta["md5"])
        for file, md5 in [*known.train_list, *known.test_list, meta]:
            path = folder / file
            if not path.is_file():
                raise StudyError(f"{path}: this file is missing; unpack the data set again")
            if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5:
                raise StudyError(f"{path}: not the published file (its MD5 is not {md5}); unpack the data set again")


def _part(name: str, labels: list[int], images: Tensor) -> Part:
    # Pixels identify an image in either form, whatever the order of the files; the position tells copies apart.
    seen: dict[str, int] = {}
    keys = []
    for image in images:
        digest = hashlib.sha256(image.numpy().tobytes()).hexdigest()
        seen[digest] = seen.get(digest, -1) + 1
        keys.append(f"{digest} {seen[digest]}")
    return Part(name, labels, keys, images)


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
