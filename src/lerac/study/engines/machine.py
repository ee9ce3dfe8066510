"""What this machine has, and how runs that are trained side by side share it."""

import os
from collections import Counter
from collections.abc import Sequence

import torch

from lerac.study.data.loading import VARIABLE as LOADERS
from lerac.study.data.loading import loaders_asked

__all__ = ["cores", "gpus", "least_busy", "loaders_for", "side_by_side", "variables"]

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
GPUS = "CUDA_VISIBLE_DEVICES"


def cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus(device: str) -> list[str]:
    """Name the GPUs that workers share, as CUDA_VISIBLE_DEVICES does; none if the device is not just `cuda`."""
    if device != "cuda":
        return []
    count, chosen = torch.cuda.device_count(), os.environ.get(GPUS)
    names = [str(i) for i in range(count)] if chosen is None else [name.strip() for name in chosen.split(",")]
    return names[:count]  # CUDA, too, ends the list at the first name that it does not know


def side_by_side(device: str) -> int:
    """Count the runs that are trained at a time unless somebody says: one per core, or one per GPU."""
    return cores() if device == "cpu" else max(1, len(gpus(device)))


def least_busy(names: Sequence[str], taken: Sequence[str | None]) -> str | None:
    """Give the name that is taken least often, the first of several; None of none."""
    count = Counter(taken)
    return min(names, key=lambda name: count[name], default=None)


def loaders_for(workers: int) -> int:
    """Count the processes that read ahead for each worker: LERAC_LOADERS, or what cores are left, at most 4."""
    asked = loaders_asked()
    return asked if asked is not None else max(0, min(4, cores() // workers - 1))


def variables(threads: int, loaders: int) -> dict[str, str]:
    """Give the environment of a worker. Torch and BLAS read theirs when they are loaded: it has to be born with it."""
    return {**dict.fromkeys(THREADS, str(threads)), LOADERS: str(loaders)}
