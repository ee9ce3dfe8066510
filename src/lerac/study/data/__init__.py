"""The data sets that a recipe can name."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from lerac.study.data.audio.augment import Augmentations
from lerac.study.data.audio.cremad import check_cremad, load_cremad, sample_cremad
from lerac.study.data.audio.esc50 import check_esc50, load_esc50, sample_esc50
from lerac.study.data.boxes.detection import BoxAugmentations
from lerac.study.data.boxes.voc import check_voc, load_voc
from lerac.study.data.boxes.voc_sample import sample_voc
from lerac.study.data.digits import load_digits
from lerac.study.data.pictures import samples
from lerac.study.data.pictures.cifar import CIFAR10, CIFAR100, Cifar
from lerac.study.data.pictures.food101 import check_food101, load_food101
from lerac.study.data.pictures.imagenet200 import MOST, check_imagenet200, load_imagenet200
from lerac.study.data.pictures.tiny_imagenet import check_tiny_imagenet, load_tiny_imagenet
from lerac.study.data.pictures.utkface import check_utkface, load_utkface
from lerac.study.data.places import Checked
from lerac.study.data.splits import HeldSplit, Inputs, Split, Splits, Task
from lerac.study.data.text.boolq import BOOLQ
from lerac.study.data.text.pairs import TextPairs
from lerac.study.data.text.qnli import QNLI
from lerac.study.data.text.rte import RTE

__all__ = ["DATASETS", "Checked", "DataSet", "HeldSplit", "Inputs", "Split", "Splits", "Task"]


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set without loading it.

    Args:
        load: gives the splits; called with the run's seed and the recipe's section [data] by keyword.
        examples: how many with a label there are, at most.
        classes: how many labels there are; 1 for a regression.
        check: reads every file under a data root and gives what is there; None for data without files.
        sample: writes a tiny generated data set in the official layout under a data root; None as above.
        task: what its labels are.
        inputs: what its inputs are; `pictures` are images and spectrograms.
        augmentations: what a recipe's section [data.augment] can set; None where it has none.
    """

    load: Callable[..., Splits]
    examples: int
    classes: int
    check: Callable[[Path], Checked] | None = None
    sample: Callable[[Path], None] | None = None
    task: Task = "classification"
    inputs: Literal["pictures", "text"] = "pictures"
    augmentations: type[Augmentations] | type[BoxAugmentations] | None = None

    @property
    def settings(self) -> list[str]:
        """What a recipe's section [data] can set."""
        given_by_others = ("seed", "root", "weights")  # the run, and the command line
        return [name for name in inspect.signature(self.load).parameters if name not in given_by_others]


def _cifar(kind: Cifar) -> DataSet:
    return DataSet(kind.load, 60_000, kind.classes, kind.check, partial(samples.sample_cifar, kind))


def _text(pairs: TextPairs) -> DataSet:
    return DataSet(pairs.load, sum(pairs.counts.values()), 2, pairs.check, pairs.sample, inputs="text")


DATASETS: dict[str, DataSet] = {
    "digits": DataSet(load_digits, examples=1797, classes=10),
    "cifar10": _cifar(CIFAR10),
    "cifar100": _cifar(CIFAR100),
    "tiny-imagenet": DataSet(load_tiny_imagenet, 110_000, 200, check_tiny_imagenet, samples.sample_tiny_imagenet),
    "imagenet200": DataSet(load_imagenet200, 200 * MOST + 10_000, 200, check_imagenet200, samples.sample_imagenet200),
    "food101": DataSet(load_food101, 101_000, 101, check_food101, samples.sample_food101),
    "utkface": DataSet(load_utkface, 23_708, 1, check_utkface, samples.sample_utkface, "regression"),
    "voc": DataSet(load_voc, 21_503, 20, check_voc, sample_voc, "detection", augmentations=BoxAugmentations),
    "boolq": _text(BOOLQ),
    "qnli": _text(QNLI),
    "rte": _text(RTE),
    "esc50": DataSet(load_esc50, 2000, 50, check_esc50, sample_esc50, augmentations=Augmentations),
    "cremad": DataSet(load_cremad, 7442, 6, check_cremad, sample_cremad, augmentations=Augmentations),
}
