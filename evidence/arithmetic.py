"""How the evidence's machines compute: kernels that most of them have, and a fingerprint of how these round."""

import hashlib
import os

import torch
from torch import nn

from lerac.study.runs import run as runs

__all__ = ["PINNED", "environment", "fingerprint", "pin"]

PINNED = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}
"""Environment variables with which x86-64 machines use kernels for AVX2; newer ones would round otherwise."""


def pin() -> None:
    """Set `PINNED` for this process and its children; torch reads it when it first computes, but for the threads."""
    os.environ.update(PINNED)
    torch.set_num_threads(1)


def environment() -> dict[str, str]:
    """Name what equal numbers depend on: the versions, the kind of machine, and how it rounds."""
    return {**runs.environment("cpu"), "arithmetic": fingerprint()}


def fingerprint() -> str:
    """Train a small network of plain torch for a few steps on one thread; give a hash of its weights.

    Two machines with the same one round a small training alike.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 1, stride=2), nn.Flatten(), nn.Linear(256, 10),
        )  # fmt: skip
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        for _ in range(20):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(torch.rand(64, 1, 8, 8)), torch.randint(10, (64,)))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    torch.set_num_threads(before)
    weights = b"".join(weight.detach().numpy().tobytes() for weight in network.parameters())
    return hashlib.sha256(weights).hexdigest()[:16]
