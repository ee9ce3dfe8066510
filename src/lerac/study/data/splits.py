"""The three parts of a data set, and the two ways to have one: held in memory, or read batch by batch."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lerac.study.seeds import derive

__all__ = ["HeldSplit", "Inputs", "Split", "Splits", "Task", "with_label_noise"]

Inputs = Tensor | dict[str, Tensor]
Task = Literal["classification", "regression", "detection"]


class Split(Dataset[tuple[Inputs, Any]]):
    """Examples that serve one purpose; torch's DataLoader takes it with a sampler that gives lists of positions.

    Attributes:
        labels: what is to be predicted, by position: (n,) int64 classes, (n,) float32 values of a regression, or a
            sequence of `detection.Objects`.
        index: (n,) int64: the position of each example in the whole data set.
        streamed: whether batches are read and decoded when asked for, so that worker processes pay.
    """

    labels: Any
    index: Tensor
    streamed: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Inputs, Any]:
        inputs, labels = self.__getitems__([i])
        one: Inputs = {name: tensor[0] for name, tensor in inputs.items()} if isinstance(inputs, dict) else inputs[0]
        return one, labels[0]

    @abstractmethod
    def __getitems__(self, indices: list[int]) -> tuple[Inputs, Any]:
        """Give a whole batch at once; torch's DataLoader asks for it where it exists.

        Returns:
            Inputs of the network, a Tensor or a dict of Tensors, batch first; and their labels.
        """

    def example(self, count: int = 2) -> Inputs:
        """Give the inputs of the first few examples, for `find_layers`."""
        return self.__getitems__(list(range(min(count, len(self)))))[0]

    def begin_epoch(self, epoch: int) -> None:
        """Say which epoch comes, before the iterator of its loader is made; random augmentations depend on it."""


@dataclass(frozen=True)
class HeldSplit(Split):
    """Examples in memory.

    Args:
        inputs: (n, …) as the network takes them, or as `prepare` does; or a dict of such tensors.
        labels: (n,), int64 or float32.
        index: (n,), int64.
        prepare: makes the inputs of a batch from what is held, such as floats from bytes.
    """

    inputs: Tensor | dict[str, Tensor]
    labels: Tensor
    index: Tensor
    prepare: Callable[[Any], Inputs] | None = None

    def __getitems__(self, indices: list[int]) -> tuple[Inputs, Tensor]:
        """Give a whole batch at once."""
        held, rows = self.inputs, torch.tensor(indices)
        batch: Inputs = (  # index_select copies whole rows, eight times as fast as held[indices] does for bytes
            {name: tensor.index_select(0, rows) for name, tensor in held.items()}
            if isinstance(held, dict)
            else held.index_select(0, rows)
        )
        return batch if self.prepare is None else self.prepare(batch), self.labels.index_select(0, rows)


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set; no example is in two of them, unless validation is the test part itself.

    Args:
        train: examples to learn from.
        validation: examples that choose the epoch.
        test: examples that are looked at once.
        classes: number of labels; 1 for a regression.
        task: what `labels` are.
        channels: of the images or spectrograms; 0 where inputs have no channels.
        vocabulary: number of tokens that texts are made of; 0 where inputs are no texts.
    """

    train: Split
    validation: Split
    test: Split
    classes: int
    task: Task = "classification"
    channels: int = 0
    vocabulary: int = 0

    @classmethod
    def cut(cls, inputs: Tensor, labels: Tensor, *, seed: int, train: int, validation: int, test: int) -> "Splits":
        """Cut at random with exactly these sizes, every class with its share in each part (within one example or two).

        The test examples do not depend on the seed, and a smaller test part lies within a larger one: so what was
        chosen with some seeds and sizes has never seen the test examples of any other.

        Args:
            inputs: (n, channels, height, width).
            labels: (n,), int64.
            seed: decides which of the other examples train and which validate.
            train: number of training examples.
            validation: number of validation examples.
            test: number of test examples.

        Raises:
            ValueError: if there are fewer examples than asked for, or a part has fewer than one per class.
        """
        order = _fixed_order(labels)
        tested, rest = order[:test], order[test:]
        trained, rest = _draw(rest, labels, train, derive(seed, "split", "train"))
        validated, _ = _draw(rest, labels, validation, derive(seed, "split", "validation"))
        indices = [torch.from_numpy(np.sort(part)) for part in (trained, validated, tested)]
        parts = [HeldSplit(inputs[index], labels[index], index) for index in indices]
        return cls(parts[0], parts[1], parts[2], classes=int(labels.max()) + 1, channels=inputs.shape[1])


SomeSplit = TypeVar("SomeSplit", bound=Any)


def with_label_noise(split: SomeSplit, share: float, classes: int, seed: int) -> SomeSplit:
    """Replace exactly round(share · n) labels, chosen at random, by another class drawn uniformly."""
    generator = np.random.default_rng(derive(seed, "label noise"))
    wrong = torch.from_numpy(generator.permutation(len(split))[: round(share * len(split))])
    labels = split.labels.clone()
    shift = torch.from_numpy(generator.integers(1, classes, size=len(wrong)))
    labels[wrong] = (labels[wrong] + shift) % classes
    noisy: SomeSplit = replace(split, labels=labels)
    return noisy


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
