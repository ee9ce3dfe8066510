"""What the classification data sets have in common: official parts become splits, labels are checked."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lerac.study.data.hub import hub_table
from lerac.study.data.pictures.images import HubPictures, Pictures
from lerac.study.data.places import Place
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import Split, Splits, choose, told_apart, with_label_noise
from lerac.study.errors import StudyError

__all__ = ["Part", "Parts", "assemble", "require_labels"]


@dataclass(frozen=True)
class Part:
    """One of the parts a data set is published in.

    Args:
        name: of the part.
        labels: one per example.
        keys: what identifies each example on every machine.
        pictures: the images, or those already held, (n, channels, height, width) uint8.
    """

    name: str
    labels: Sequence[int]
    keys: Sequence[str]
    pictures: Pictures | Tensor

    @classmethod
    def of_pictures(cls, name: str, labels: Sequence[int], pictures: Pictures) -> "Part":
        """Make a part of images that say themselves what identifies them."""
        return cls(name, labels, [pictures.key(i) for i in range(len(pictures))], pictures)

    @classmethod
    def held(cls, name: str, labels: Sequence[int], images: Tensor) -> "Part":
        """Make a part of images in memory, which their pixels identify, and the position if there are copies."""
        digests = (hashlib.sha256(image.tobytes()).hexdigest() for image in images.numpy())
        return cls(name, labels, told_apart(digests), images)

    @classmethod
    def of_hub(
        cls, place: Place, name: str, files: str, classes: int, *, image: str = "image", label: str = "label"
    ) -> "Part":
        """Open a part in the Hub's form.

        Args:
            place: where it is.
            name: of the part.
            files: what the names of its files start with.
            classes: how many labels there are.
            image: column of the images.
            label: column of the labels.

        Raises:
            StudyError: if it cannot be read, has another number of examples than it must have, or a wrong label.
        """
        table = hub_table(place.folder, files, (image, label))
        place.require_count(name, len(table))
        pictures = HubPictures(table, image, place.folder, files)
        labels = require_labels(list(table.with_format(None)[label]), classes, pictures.name)
        return cls.of_pictures(name, labels, pictures)


@dataclass(frozen=True)
class Parts:
    """A data set as it is published: what there is to learn from, and what to test on.

    Args:
        place: where it is.
        form: `official` or `hub`.
        classes: how many labels there are.
        train: the training part.
        test: the part that is tested on.
        channels: of the images.
    """

    place: Place
    form: str
    classes: int
    train: Part
    test: Part
    channels: int = 3


def assemble(
    parts: Parts, make: Callable[[Part, Tensor, Tensor, bool], Split], data: DataSettings, seed: int
) -> Splits:
    """Cut the parts and make the splits.

    Args:
        parts: the data set.
        make: gives a split of a part; called with the part, positions in it, their labels and whether it is trained on.
        data: with the sizes of the splits, and the share of training labels to replace.
        seed: decides the label noise.

    Raises:
        StudyError: if there are fewer examples than asked for.
    """
    train, test = parts.train, parts.test
    chosen = choose(parts.place.name, (train.keys, train.labels), (test.keys, test.labels), data)
    truth, tested = torch.tensor(train.labels), torch.tensor(test.labels)
    learned = make(train, chosen.train, truth[chosen.train], True)
    measured = make(test, chosen.test, tested[chosen.test], False)
    validation = chosen.validation
    return Splits(
        with_label_noise(learned, data.label_noise, parts.classes, seed),
        measured if validation is None else make(train, validation, truth[validation], False),
        measured,
        classes=parts.classes,
        channels=parts.channels,
    )


def require_labels(labels: Sequence[object], classes: int, where: Callable[[int], str]) -> list[int]:
    """Give the labels if each is a whole number in [0, classes).

    Raises:
        StudyError: with the first that is not, and where it is.
    """
    checked = []
    for i, label in enumerate(labels):
        if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < classes:
            raise StudyError(f"{where(i)}: label {label!r} is out of range, 0 to {classes - 1} expected")
        checked.append(label)
    return checked
