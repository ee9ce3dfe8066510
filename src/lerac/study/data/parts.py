"""Cutting official parts into training, validation and test examples, the same for every seed.

Where a data set has official test examples and no validation examples, these are cut from its training examples, by
an order that depends on nothing but what identifies each example (its file name, or its pixels) and a constant. So
the validation examples are the same in every run, on every machine and for ever; `lerac data split` writes them
down. The seeds of a study then vary initial weights, order and augmentation, not which examples are learned from.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lerac.study.errors import StudyError

__all__ = ["Chosen", "Sizes", "choose", "fixed_order"]

CONSTANT = b"lerac: validation split 1"


@dataclass(frozen=True)
class Sizes:
    """How many examples a recipe asks for.

    Args:
        train: the number; None: all that are left.
        validation: the number; or `test`: the epoch is chosen on the test examples, as the authors' code does.
        test: the number.
    """

    train: int | None
    validation: int | Literal["test"]
    test: int

    @property
    def cut_off(self) -> int:
        """How many validation examples are taken from the training part."""
        return 0 if isinstance(self.validation, str) else self.validation


@dataclass(frozen=True)
class Chosen:
    """Positions of examples, ascending: `train` and `validation` in the training part, `test` in the test part.

    `validation` is None where the epoch is chosen on the test examples.
    """

    train: Tensor
    validation: Tensor | None
    test: Tensor


def choose(name: str, train: tuple[Sequence[str], Any], test: tuple[Sequence[str], Any], sizes: Sizes) -> Chosen:
    """Choose examples from an official training and an official test part.

    Args:
        name: of the data set.
        train: what identifies each example of the training part, and its stratum, such as its class.
        test: the same of the test part.
        sizes: of the parts; smaller ones lie within larger ones.

    Raises:
        StudyError: if more is asked for than there is, or nothing is left to train on.
    """
    trainable, testable, validation = len(train[0]), len(test[0]), sizes.cut_off
    trained = trainable - validation if sizes.train is None else sizes.train
    if trained < 1 or trained + validation > trainable:
        raise StudyError(
            f"{name}: train {'(all others)' if sizes.train is None else trained} + validation {validation} examples "
            f"asked for, but its training part has {trainable}"
        )
    if sizes.test > testable:
        raise StudyError(f"{name}: test {sizes.test} examples asked for, but its test part has {testable}")
    order = fixed_order(*train)
    return Chosen(
        train=order[validation : validation + trained].sort().values,
        validation=None if isinstance(sizes.validation, str) else order[:validation].sort().values,
        test=fixed_order(*test)[: sizes.test].sort().values,
    )


def fixed_order(keys: Sequence[str], strata: Any) -> Tensor:
    """Order examples by the SHA-256 of a constant and their key; any beginning has every stratum by its share.

    Args:
        keys: what identifies each example.
        strata: (n,) whole numbers.

    Returns:
        (n,) int64, positions.
    """
    digests = np.array([hashlib.sha256(CONSTANT + key.encode()).hexdigest() for key in keys], dtype="U64")
    shuffled, groups = np.argsort(digests, kind="stable"), np.asarray(strata)
    share = np.empty(len(keys))  # how much of its stratum comes before an example
    for stratum in np.unique(groups):
        members = shuffled[groups[shuffled] == stratum]
        share[members] = (np.arange(len(members)) + 0.5) / len(members)
    return torch.from_numpy(shuffled[np.argsort(share[shuffled], kind="stable")])
