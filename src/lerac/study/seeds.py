"""Seeding the generators that trainings use; every choice of a run is drawn from a seed of its own, see `derive`.

So no choice depends on how many random numbers were drawn before it: a run that is continued at an epoch
boundary, or that trains with another regime, sees the same split, noise, initial weights and data order.
"""

import random

import numpy as np
import torch

__all__ = ["seed_everything"]


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
