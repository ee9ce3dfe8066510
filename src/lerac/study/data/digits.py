"""Handwritten digits: 1797 grey images of 8×8 from 43 writers, part of scikit-learn.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository.
"""

import torch
from torch.nn import functional

from lerac.study.data.splits import Splits, with_label_noise

__all__ = ["load_digits"]


def load_digits(
    seed: int, *, train: int, validation: int, test: int, label_noise: float, size: int | None = None
) -> Splits:
    """Give the digits, scaled to [0, 1], as inputs (n, 1, size, size); only training labels are made noisy.

    Args:
        seed: decides the split and the noise.
        train: number of training examples; with `validation` and `test` at most 1797.
        validation: number of examples that choose the epoch.
        test: number of examples that are looked at once.
        label_noise: share of the training labels to replace by another class, in [0, 1).
        size: height and width in pixels to resize to, bilinearly; None for 8, as they are.

    Raises:
        ValueError: if there are not enough examples.
    """
    import sklearn.datasets  # here, because it takes longer to load than `lerac --help` should

    digits = sklearn.datasets.load_digits()
    inputs = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
    if size is not None:
        inputs = functional.interpolate(inputs, size=(size, size), mode="bilinear")
    labels = torch.tensor(digits.target, dtype=torch.int64)
    splits = Splits.cut(inputs, labels, seed=seed, train=train, validation=validation, test=test)
    noisy = with_label_noise(splits.train, label_noise, splits.classes, seed)
    return Splits(noisy, splits.validation, splits.test, splits.classes)
