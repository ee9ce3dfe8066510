"""The processes that `accelerate launch` or torchrun has started to train one run together, as they announce them."""

import os

from lerac.study.errors import StudyError

__all__ = ["is_main", "launched_processes", "refuse_launch"]


def launched_processes() -> int:
    """Count the processes that train one run together; 1 for a command that was started by itself.

    Raises:
        StudyError: if a launcher was asked for several and has started one.
    """
    if "WORLD_SIZE" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    if {"MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"} <= os.environ.keys():  # set by accelerate launch for several
        raise StudyError(
            "accelerate launch was asked for several processes and has started one, as it does without several GPUs; "
            "add --multi_gpu, which works on the CPU, too, or use torchrun --nproc-per-node N -m lerac train …"
        )
    return 1


def is_main() -> bool:
    """Whether this is the process that writes."""
    return os.environ.get("RANK", "0") == "0"


def refuse_launch(command: str) -> None:
    """Keep a command from being done by several processes at once.

    Raises:
        StudyError: if a launcher has started several.
    """
    if (count := launched_processes()) > 1:
        raise StudyError(
            f"{command} cannot be done by {count} processes of a launcher together; start it by itself. It is "
            "lerac train that several processes do, one run at a time, and lerac report makes the report afterwards"
        )
