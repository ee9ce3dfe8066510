"""What Accelerate does for a run: its device, its precision, and the processes that train it together."""

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.state import AcceleratorState  # type: ignore[import-untyped]
from accelerate.utils import (  # type: ignore[import-untyped]
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    ProjectConfiguration,
)
from torch import nn

from lerac.study.errors import StudyError
from lerac.study.files import folder_in
from lerac.study.plan.precision import MIXED
from lerac.study.plan.study import Run
from lerac.study.training.trackers import PROJECT, tracker_names

__all__ = ["build_accelerator", "compiled"]


def build_accelerator(run: Run, logs: Path | None = None) -> Accelerator:
    """Set this process up for a run, whatever it has done before.

    Args:
        run: its device, its precision, and the number of threads and processes.
        logs: folder for what trackers write; None: no tracker is used.

    Raises:
        StudyError: if the processes that are there are not those that the run is for.
    """
    AcceleratorState._reset_state(reset_partial_state=True)  # else device and precision of an earlier run stay
    if run.processes > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(run.threads))  # else Accelerate chooses
    _choose_device(run)
    accelerator = Accelerator(cpu=run.device == "cpu", **_options(run), **_trackers(logs))
    torch.set_num_threads(run.threads)
    kind = accelerator.distributed_type.value
    if kind != "NO" and not kind.startswith("MULTI_"):
        raise StudyError(f"the launcher asks for {kind}; several processes can only train by DistributedDataParallel")
    if accelerator.num_processes != run.processes:
        raise StudyError(
            f"{run} is for {run.processes} processes, and here are {accelerator.num_processes}: start it by "
            f"accelerate launch --num_processes {run.processes} -m lerac train …"
        )
    return accelerator


def compiled(network: nn.Module) -> Any:
    """Give a network that computes with the same weights, compiled; with one graph per size of batch.

    What the process has compiled before is forgotten: with too much of it, torch would give up without a word, and a
    run would depend on those before it. A graph for all sizes would round otherwise, and a run that is continued
    would not make it in the same epoch.
    """
    torch.compiler.reset()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = _own_cache()
    return torch.compile(network, dynamic=False)


@cache
def _own_cache() -> str:
    """Make the folder where this process keeps what it compiles.

    The one that all processes of a user share is not safe: a process killed while it compiles leaves half a library
    there, and from then on every run with the same graph would fail.
    """
    folder = tempfile.mkdtemp(prefix="lerac-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _options(run: Run) -> dict[str, Any]:
    """Say all in full, because Accelerate takes what is not said from the environment, which no one records.

    Batches are grouped to optimizer steps and compiled by the loop itself: Accelerate divides the loss of an
    incomplete group by the size of a complete one.
    """
    options: dict[str, Any] = {
        "mixed_precision": MIXED[run.precision],
        "gradient_accumulation_plugin": GradientAccumulationPlugin(num_steps=1),
        "dynamo_backend": "no",
    }
    if run.processes > 1:  # some networks have parameters that no output depends on
        options["kwargs_handlers"] = [DistributedDataParallelKwargs(find_unused_parameters=True)]
    return options


def _trackers(logs: Path | None) -> dict[str, Any]:
    if logs is None or not (names := tracker_names()):
        return {}
    folder_in(logs, f"trackers/{PROJECT}")  # where TensorBoard writes
    folder = ProjectConfiguration(project_dir=str(logs), logging_dir=str(logs / "trackers"))
    return {"log_with": names, "project_config": folder}


def _choose_device(run: Run) -> None:
    os.environ.pop("ACCELERATE_TORCH_DEVICE", None)
    if run.device == "cpu":
        return
    if run.processes == 1:  # else each process takes the GPU of its number
        os.environ["ACCELERATE_TORCH_DEVICE"] = run.device
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic cuBLAS asks for
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
