"""Training by the processes of a launcher: this one is one of them, and there are no workers."""

from pathlib import Path

from accelerate import PartialState  # type: ignore[import-untyped]
from rich.console import Console

from lerac.study.engines.progress import TerminalProgress, report_failure
from lerac.study.engines.worker import attempt
from lerac.study.plan.study import Run
from lerac.study.runs.run import RunFolder, train_run
from lerac.study.training.accelerator import build_accelerator
from lerac.study.training.launch import check_agreement, is_main

__all__ = ["train_together"]


def train_together(study: Path, run: Run) -> int:
    """Train a run in this process and those launched with it; give the number of failures.

    The main process tells on stderr how it went. If another one fails, its error is raised, and the launcher, which
    sees it end, ends the rest; the same command then continues the run.

    Args:
        study: its folder, which all processes share.
        run: which; every process must name the same.

    Raises:
        StudyError: if the processes are not those that the run is for, or do not see the same files.
    """
    build_accelerator(run)  # so that the processes know each other
    try:
        ended = RunFolder(study, run).status() is not None
        check_agreement(int(ended), "of 1 runs ended")
        if ended:
            return 0
        if not is_main():
            train_run(study, run)
            return 0
        errors = Console(stderr=True)
        with TerminalProgress(errors, study, [run]) as progress:
            progress.started(run)
            failure = attempt(study, run).failure
            progress.ended(run, failure)
        if failure:
            report_failure(errors, study, run, failure)
        return int(failure is not None)
    finally:
        PartialState().destroy_process_group()
