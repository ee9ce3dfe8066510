"""MNIST-1D: 4,000 training and 1,000 test signals of 40 samples in ten classes, made from ten templates.

Source: Greydanus and Kobak, "Scaling Down Deep Learning with MNIST-1D", ICML 2024; package `mnist1d`, Apache-2.0. The
signals are made by its authors' generator with their seed, once in a process, in seconds; no file is read.

Preprocessing: none, the generator gives signals of mean 0 and standard deviation 1, all together. Validation: cut from
the training signals, which their places identify.
"""

import hashlib
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lerac.study.data.fingerprint import Fingerprint
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import HeldSplit, Splits, choose, with_label_noise
from lerac.study.errors import library

__all__ = ["fingerprint", "load"]

CLASSES = 10
DIGITS = 6  # after the decimal point, that count: machines round the last of sixteen differently
PUBLISHED = "56802e64dad12bbb5a7d0ced606041e9754aad9603cb1dc40816d6c208e83900"  # also of the file that the authors keep


def load(data: DataSettings, seed: int, root: Path | None = None) -> Splits:
    """Give signals as inputs (batch, 1, 40). There are no files, so `root` is not used.

    Raises:
        StudyError: if there are fewer examples than asked for, or the package is not installed.
    """
    made = _made()
    keys = ([f"{part} {i}" for i in range(len(made[part]))] for part in ("y", "y_test"))
    chosen = choose("mnist1d", (next(keys), made["y"]), (next(keys), made["y_test"]), data)

    def split(index: torch.Tensor, suffix: str = "") -> HeldSplit:
        inputs = torch.tensor(made[f"x{suffix}"], dtype=torch.float32).unsqueeze(1)
        return HeldSplit(inputs[index], torch.tensor(made[f"y{suffix}"], dtype=torch.int64)[index], index)

    test = split(chosen.test, "_test")
    train = with_label_noise(split(chosen.train), data.label_noise, CLASSES, seed)
    return Splits(train, test if chosen.validation is None else split(chosen.validation), test, CLASSES, channels=1)


def fingerprint() -> Fingerprint:
    """Say whether the signals are those that the authors have published, up to rounding errors."""
    made, digest = _made(), hashlib.sha256()
    for part in ("x", "y", "x_test", "y_test"):
        digest.update(np.rint(made[part] * 10**DIGITS).astype("<i8").tobytes())
    return Fingerprint(digest.hexdigest(), published=digest.hexdigest() == PUBLISHED)


@cache
def _made() -> dict[str, Any]:
    """Run the generator, which seeds and draws from the global generators of Python and NumPy; these are put back."""
    data = library("mnist1d.data", "mnist1d", "lerac[experiments]")
    python, numpy = random.getstate(), np.random.get_state()
    try:
        made: dict[str, Any] = data.make_dataset(data.get_dataset_args())
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
    return made
