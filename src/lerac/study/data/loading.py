"""From a split to batches, by as many worker processes as pay; the batches do not depend on how many."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader

from lerac.study.data.splits import Inputs, Split
from lerac.study.errors import StudyError

__all__ = ["in_order", "load_batches", "loader_workers", "loaders_asked"]

VARIABLE = "LERAC_LOADERS"
KILL_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl


def load_batches(
    split: Split, order: Iterable[list[int]], workers: int | None = None
) -> DataLoader[tuple[Inputs, Any]]:
    """Give a loader of whole batches.

    Args:
        split: where examples come from.
        order: lists of positions, one per batch; iterated anew every epoch.
        workers: processes that read ahead; None: `loader_workers`.
    """
    count = loader_workers(split) if workers is None else workers
    # A process that was spawned, as our workers are, would spawn these, too, every epoch anew; forking is much faster.
    how = "fork" if count and sys.platform == "linux" else None
    return DataLoader(
        split,
        batch_sampler=order,
        collate_fn=_as_it_is,
        num_workers=count,
        worker_init_fn=_end_with_parent,
        multiprocessing_context=how,
    )


def in_order(split: Split, batch_size: int) -> list[list[int]]:
    """Give the positions of a split from first to last, in batches of at most this size."""
    return [batch.tolist() for batch in torch.split(torch.arange(len(split)), batch_size)]


def loader_workers(split: Split) -> int:
    """Count the processes that read batches ahead: LERAC_LOADERS, or at most 4; none for a split held in memory.

    A daemonic process may have no children, so there it is none, too.

    Raises:
        StudyError: if LERAC_LOADERS is no count.
    """
    asked = loaders_asked()
    if not split.streamed or multiprocessing.current_process().daemon:
        return 0
    return asked if asked is not None else min(4, os.cpu_count() or 1)


def loaders_asked() -> int | None:
    """Give LERAC_LOADERS, or None if it is not set.

    Raises:
        StudyError: if it is no count.
    """
    text = os.environ.get(VARIABLE)
    if text is not None and not text.isdecimal():
        raise StudyError(f"{VARIABLE} must be a number of processes (0 reads in the training process), got {text!r}")
    return None if text is None else int(text)


def _end_with_parent(worker: int) -> None:
    """Let the system end this process with the training one; elsewhere than on Linux, torch does so within seconds."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(KILL_WITH_PARENT, signal.SIGKILL)
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:  # killed before we said so; torch would wait for ever
            os._exit(1)


def _as_it_is(batch: Any) -> Any:
    return batch  # a split gives whole batches
