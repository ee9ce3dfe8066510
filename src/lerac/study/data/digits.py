"""Handwritten digits: 1797 grey images of 8×8 from 43 writers, part of scikit-learn.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository.

The test examples do not depend on the seed, and a smaller test part lies within a larger one: so what was chosen with
some seeds and sizes has never seen the test examples of any other. The seed decides which of the other examples train
and which validate, and which training labels are made noisy.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lerac.regimes.drawing import derive
from lerac.study.data.fingerprint import Fingerprint
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import HeldSplit, Positions, Splits, stratified, with_label_noise

__all__ = ["fingerprint", "load"]

CLASSES = 10
PUBLISHED = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"  # of images, labels


def load(data: DataSettings, seed: int, root: Path | None = None) -> Splits:
    """Give the digits, scaled to [0, 1], as inputs (n, 1, size, size), 8 unless another size is asked for.

    Every class has its share in each part, within one example or two. There are no files, so `root` is not used.

    Raises:
        ValueError: if there are fewer examples than asked for, or a part has fewer than one per class.
    """
    digits = _digits()
    inputs = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
    if data.size is not None:
        inputs = functional.interpolate(inputs, size=(data.size, data.size), mode="bilinear")
    labels = torch.tensor(digits.target, dtype=torch.int64)
    train, validation, test = (HeldSplit(inputs[i], labels[i], i) for i in _cut(labels, data, seed))
    return Splits(with_label_noise(train, data.label_noise, CLASSES, seed), validation, test, CLASSES, channels=1)


def fingerprint() -> Fingerprint:
    """Say whether the digits are those that scikit-learn has published so far."""
    digits = _digits()
    content = b"".join(numbers.astype(np.uint8).tobytes() for numbers in (digits.images, digits.target))
    sha256 = hashlib.sha256(content).hexdigest()
    return Fingerprint(sha256, published=sha256 == PUBLISHED)


def _digits() -> Any:
    import sklearn.datasets  # here, because it takes long to load

    return sklearn.datasets.load_digits()


def _cut(labels: Tensor, data: DataSettings, seed: int) -> list[Tensor]:
    """Give the positions of the training, validation and test examples, ascending."""
    assert data.train is not None
    order = stratified(np.random.default_rng(derive(0, "test split")).permutation(len(labels)), labels)
    tested, rest = order[: data.test], order[data.test :]
    trained, rest = _draw(rest, labels, data.train, derive(seed, "split", "train"))
    validated, _ = _draw(rest, labels, data.cut_off, derive(seed, "split", "validation"))
    return [torch.from_numpy(np.sort(part)) for part in (trained, validated, tested)]


def _draw(rest: Positions, labels: Tensor, size: int, seed: int) -> tuple[Any, Any]:
    from sklearn.model_selection import train_test_split

    if size == len(rest):
        return rest, rest[:0]
    chosen, left = train_test_split(rest, train_size=size, stratify=labels[rest].numpy(), random_state=seed)
    return chosen, left
