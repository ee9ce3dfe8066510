"""The three parts of a data set, how they are cut, and the two ways to have one: held in memory, or read when needed.

Where a data set has official test examples and no validation examples, these are cut from its training examples, by
an order that depends on nothing but what identifies each example (its file name, or its pixels) and a constant. So
the validation examples are the same in every run, on every machine and for ever; `lerac data split` writes them
down. The seeds of a study then vary initial weights, order and augmentation, not which examples are learned from.
"""

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lerac.regimes.drawing import derive
from lerac.study.data.settings import DataSettings, Task
from lerac.study.errors import StudyError

__all__ = [
    "Chosen",
    "HeldSplit",
    "Inputs",
    "Split",
    "Splits",
    "Streamed",
    "choose",
    "fixed_order",
    "stratified",
    "told_apart",
    "with_label_noise",
]

CONSTANT = b"lerac: validation split 1"

Inputs = Tensor | dict[str, Tensor]
Positions = np.ndarray[Any, np.dtype[np.int64]]


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


class Streamed(Split):
    """Examples that are read when a batch is asked for.

    Random augmentation draws from the seed, the epoch and the example's index alone: the same for any number of
    workers, any batch size and a training that was interrupted.

    Attributes:
        epoch: set by `begin_epoch`.
    """

    streamed = True
    epoch: int = 0

    def begin_epoch(self, epoch: int) -> None:
        """Say which epoch comes, before the iterator of its loader is made."""
        self.epoch = epoch


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


SomeSplit = TypeVar("SomeSplit", bound=Any)


def with_label_noise(split: SomeSplit, share: float, classes: int, seed: int) -> SomeSplit:
    """Replace exactly round(share · n) labels, chosen at random, by another class drawn uniformly."""
    if not share:
        return split
    generator = np.random.default_rng(derive(seed, "label noise"))
    wrong = torch.from_numpy(generator.permutation(len(split))[: round(share * len(split))])
    labels = split.labels.clone()
    shift = torch.from_numpy(generator.integers(1, classes, size=len(wrong)))
    labels[wrong] = (labels[wrong] + shift) % classes
    noisy: SomeSplit = replace(split, labels=labels)
    return noisy


@dataclass(frozen=True)
class Chosen:
    """Positions of examples, ascending: `train` and `validation` in the training part, `test` in the test part.

    `validation` is None where the epoch is chosen on the test examples.
    """

    train: Tensor
    validation: Tensor | None
    test: Tensor


def choose(name: str, train: tuple[Sequence[str], Any], test: tuple[Sequence[str], Any], data: DataSettings) -> Chosen:
    """Choose examples from an official training and an official test part.

    Args:
        name: of the data set.
        train: what identifies each example of the training part, and its stratum, such as its class.
        test: the same of the test part.
        data: with the sizes of the parts; smaller ones lie within larger ones.

    Raises:
        StudyError: if more is asked for than there is, or nothing is left to train on.
    """
    trainable, testable, validation = len(train[0]), len(test[0]), data.cut_off
    trained = trainable - validation if data.train is None else data.train
    if trained < 1 or trained + validation > trainable:
        raise StudyError(
            f"{name}: {data.asked_of_train} + validation {validation} examples asked for, but its training part has "
            f"{trainable}"
        )
    if data.test > testable:
        raise StudyError(f"{name}: test {data.test} examples asked for, but its test part has {testable}")
    order = fixed_order(*train)
    return Chosen(
        train=order[validation : validation + trained].sort().values,
        validation=None if data.validation == "test" else order[:validation].sort().values,
        test=fixed_order(*test)[: data.test].sort().values,
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
    return torch.from_numpy(stratified(np.argsort(digests, kind="stable"), strata))


def stratified(shuffled: Positions, strata: Any) -> Positions:
    """Order shuffled positions so that any beginning has every stratum by its share; within one they stay shuffled.

    Args:
        shuffled: (n,) every position once.
        strata: (n,) whole numbers, by position.
    """
    groups = np.asarray(strata)
    share = np.empty(len(shuffled))  # how much of its stratum comes before an example
    for stratum in np.unique(groups):
        members = shuffled[groups[shuffled] == stratum]
        share[members] = (np.arange(len(members)) + 0.5) / len(members)
    order: Positions = shuffled[np.argsort(share[shuffled], kind="stable")]
    return order


def told_apart(keys: Iterable[str]) -> list[str]:
    """Number the copies of a key, so that every example has one of its own."""
    seen: Counter[str] = Counter()
    numbered = []
    for key in keys:
        numbered.append(f"{key} {seen[key]}")
        seen[key] += 1
    return numbered
