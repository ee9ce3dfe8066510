"""What the classification data sets have in common: official parts become splits, labels are checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lerac.study.data.parts import Sizes, choose
from lerac.study.data.pictures.images import Pictures
from lerac.study.data.places import Place
from lerac.study.data.splits import Split, Splits, with_label_noise
from lerac.study.errors import StudyError

__all__ = ["Part", "Parts", "assemble", "read_lines", "require_labels"]


@dataclass(frozen=True)
class Part:
    """One of the parts a data set is published in.

    Args:
        name: of the part.
        labels: one per example.
        keys: what identifies each example on every machine.
        pictures: the images, or those already held, (n, 3, height, width) uint8.
    """

    name: str
    labels: Sequence[int]
    keys: Sequence[str]
    pictures: Pictures | Tensor

    @classmethod
    def of_pictures(cls, name: str, labels: Sequence[int], pictures: Pictures) -> "Part":
        """Make a part of images that say themselves what identifies them."""
        return cls(name, labels, [pictures.key(i) for i in range(len(pictures))], pictures)


@dataclass(frozen=True)
class Parts:
    """A data set as it is published: what there is to learn from, and what to test on.

    Args:
        place: where it is.
        form: `official` or `hub`.
        classes: how many labels there are.
        train: the training part.
        test: the part that is tested on.
    """

    place: Place
    form: str
    classes: int
    train: Part
    test: Part


def assemble(
    parts: Parts,
    make: Callable[[Part, Tensor, Tensor, bool], Split],
    *,
    seed: int,
    sizes: Sizes,
    label_noise: float,
) -> Splits:
    """Cut the parts and make the splits.

    Args:
        parts: the data set.
        make: gives a split of a part; called with the part, positions in it, their labels and whether it is trained on.
        seed: decides the label noise.
        sizes: of the splits.
        label_noise: share of the training labels to replace by another class, in [0, 1).

    Raises:
        StudyError: if there are fewer examples than asked for.
    """
    train, test = parts.train, parts.test
    chosen = choose(parts.place.name, (train.keys, train.labels), (test.keys, test.labels), sizes)
    truth, tested = torch.tensor(train.labels), torch.tensor(test.labels)
    learned = make(train, chosen.train, truth[chosen.train], True)
    measured = make(test, chosen.test, tested[chosen.test], False)
    validation = chosen.validation
    return Splits(
        with_label_noise(learned, label_noise, parts.classes, seed) if label_noise else learned,
        measured if validation is None else make(train, validation, truth[validation], False),
        measured,
        classes=parts.classes,
        channels=3,
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


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file that are not empty.

    Raises:
        StudyError: if it is missing, empty or not UTF-8.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise StudyError(f"{path}: this file is missing; unpack the data set again") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read ({error}); unpack the data set again") from None
    if not lines:
        raise StudyError(f"{path}: this file is empty; unpack the data set again")
    return lines
