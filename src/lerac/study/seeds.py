"""Every random choice of a run comes from its seed and a word that names the choice.

So no choice depends on how many random numbers were drawn before it: a run that is continued at an epoch
boundary, or that trains with another regime, sees the same split, noise, initial weights and data order.
"""

import hashlib
import random

import numpy as np
import torch

__all__ = ["derive", "seed_everything"]


def derive(seed: int, *purpose: str | int) -> int:
    """Give a seed in [0, 2**32) that depends on the run's seed and on what it is for, and on nothing else."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
