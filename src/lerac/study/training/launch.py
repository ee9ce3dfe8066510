"""The processes that `accelerate launch` or torchrun has started to train one run together, as they announce them."""

import os

from lerac.study.errors import StudyError

__all__ = ["check_agreement", "is_main", "launched_processes", "refuse_launch"]


def launched_processes() -> int:
    """Count the processes that train one run together; 1 for a command that was started by itself.

    Raises:
        StudyError: if a launcher was asked for several and has started one, or WORLD_SIZE is no count.
    """
    if "WORLD_SIZE" in os.environ:
        if (count := os.environ["WORLD_SIZE"]).isdecimal() and int(count) > 0:
            return int(count)
        raise StudyError(f"WORLD_SIZE must be a number of processes, as launchers set it, got {count!r}; unset it")
    if {"MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"} <= os.environ.keys():  # set by accelerate launch for several
        raise StudyError(
            "accelerate launch was asked for several processes and has started one, as it does without several GPUs; "
            "add --multi_gpu, which works on the CPU, too, or use torchrun --nproc-per-node N -m lerac train …"
        )
    return 1


def is_main() -> bool:
    """Whether this is the process that writes."""
    return launched_processes() == 1 or os.environ.get("RANK", "0") == "0"


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


def check_agreement(mine: int, what: str) -> None:
    """See that all processes read the same in the study's folder; every one must call this.

    Args:
        mine: what this process has read.
        what: that is.

    Raises:
        StudyError: if another process has read something else.
    """
    if launched_processes() == 1:
        return
    from accelerate.utils import gather_object  # type: ignore[import-untyped] # here: it takes long to load

    if len(set(all_of := gather_object([mine]))) > 1:
        raise StudyError(
            f"the processes do not see the same files: {', '.join(map(str, all_of))} {what}; choose an --out that all "
            "of them share"
        )
