"""Two processes that train together. They take seconds to start, so they start once a file and do all its tasks."""

import os
import socket
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def on_two_ranks(home: str, folder: Path, *, connected: bool = True, seconds: float = 200) -> Callable[[Any], list]:
    """Have two processes do each of a module's `TASKS`; what gives what each of them answered to a task, or fails.

    Args:
        home: the module; its `TASKS` are functions by name that take `folder`, and answer in plain types and tensors.
        folder: an empty folder.
        connected: with gloo, before the first task; otherwise that is left to the tasks, as under `torchrun`.
        seconds: how long they may take together.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.spawn(_work, (port, home, folder, connected), nprocs=2, join=False)
    deadline = time.monotonic() + seconds
    while not context.join(timeout=1):
        if time.monotonic() > deadline:
            for process in context.processes:
                process.kill()
            pytest.fail("the ranks wait for each other")
    answers = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]

    def of(task: Callable | str) -> list:
        pair = [of_rank[task if isinstance(task, str) else task.__name__] for of_rank in answers]
        for trace, _ in pair:
            if trace:
                pytest.fail(trace)
        return [answer for _, answer in pair]

    return of


def by_name(*tasks: Callable) -> dict[str, Callable]:
    return {task.__name__: task for task in tasks}


def _work(rank: int, port: int, home: str, folder: Path, connected: bool) -> None:
    os.environ |= {
        "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    torch.set_num_threads(1)
    if connected:
        dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    answers = {}
    for name, task in import_module(home).TASKS.items():
        try:
            answers[name] = None, task(folder)
        except BaseException:
            answers[name] = traceback.format_exc(), None
    torch.save(answers, folder / f"rank{rank}.pt")
    dist.destroy_process_group()
