"""Data in memory, cut and disturbed by a run's seed."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lerac.study.seeds import derive

__all__ = ["Split", "Splits", "with_label_noise"]


@dataclass(frozen=True)
class Split(Dataset[tuple[Tensor, Tensor]]):
    """Examples that serve one purpose.

    Args:
        inputs: (n, channels, height, width), float32.
        labels: (n,), int64.
        index: (n,), int64: the position of each example in the whole data set.
    """

    inputs: Tensor
    labels: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.inputs[i], self.labels[i]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Give a whole batch at once; torch's DataLoader asks for it where it exists."""
        return self.inputs[indices], self.labels[indices]


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set; no example is in two of them."""

    train: Split
    validation: Split
    test: Split
    classes: int

    @classmethod
    def cut(cls, inputs: Tensor, labels: Tensor, *, seed: int, train: int, validation: int, test: int) -> "Splits":
        """Cut at random with exactly these sizes, every class with its share in each part (within one example or two).

        The test examples do not depend on the seed, and a smaller test part lies within a larger one: so what was
        chosen with some seeds and sizes has never seen the test examples of any other.

        Raises:
            ValueError: if there are fewer examples than asked for, or a part has fewer than one per class.
        """
        order = _fixed_order(labels)
        tested, rest = order[:test], order[test:]
        trained, rest = _draw(rest, labels, train, derive(seed, "split", "train"))
        validated, _ = _draw(rest, labels, validation, derive(seed, "split", "validation"))
        indices = [torch.from_numpy(np.sort(part)) for part in (trained, validated, tested)]
        parts = [Split(inputs[index], labels[index], index) for index in indices]
        return cls(parts[0], parts[1], parts[2], int(labels.max()) + 1)


def with_label_noise(split: Split, share: float, classes: int, seed: int) -> Split:
    """Replace exactly round(share · n) labels, chosen at random, by another class drawn uniformly."""
    generator = np.random.default_rng(derive(seed, "label noise"))
    wrong = torch.from_numpy(generator.permutation(len(split))[: round(share * len(split))])
    labels = split.labels.clone()
    shift = torch.from_numpy(generator.integers(1, classes, size=len(wrong)))
    labels[wrong] = (labels[wrong] + shift) % classes
    return replace(split, labels=labels)


def _fixed_order(labels: Tensor) -> np.ndarray[Any, Any]:
    """Order the examples at random, whatever the seed the same; any beginning has all classes by their share."""
    shuffled = np.random.default_rng(derive(0, "test split")).permutation(len(labels))
    share = np.empty(len(labels))  # how much of its class comes before an example
    for label in range(int(labels.max()) + 1):
        members = shuffled[labels.numpy()[shuffled] == label]
        share[members] = (np.arange(len(members)) + 0.5) / len(members)
    order: np.ndarray[Any, Any] = shuffled[np.argsort(share[shuffled], kind="stable")]
    return order


def _draw(rest: np.ndarray[Any, Any], labels: Tensor, size: int, seed: int) -> tuple[Any, Any]:
    from sklearn.model_selection import train_test_split  # here, because it takes long to load

    if size == len(rest):
        return rest, rest[:0]
    chosen, left = train_test_split(rest, train_size=size, stratify=labels[rest].numpy(), random_state=seed)
    return chosen, left
