"""Progress of a study on the terminal, read from the metrics files of the runs."""

import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from lerac.study.plan.experiment import PlannedRun, chosen_by
from lerac.study.plan.own import UNNAMED
from lerac.study.runs.outcomes import SPLITS
from lerac.study.runs.own import planned_epochs
from lerac.study.runs.run import RunFolder

__all__ = ["TerminalProgress", "report_failure"]


def report_failure(console: Console, folder: Path, run: PlannedRun, reason: str) -> None:
    """Say which run failed, why, and where more about it is."""
    where = folder / run.folder / "error.txt"
    console.print(f"failed: {run}: {reason} (see {where})", markup=False, soft_wrap=True)


class TerminalProgress:
    """A bar for the study and a line for each run in flight; on anything but a terminal a line per ended run.

    Meanwhile Ctrl-C is a KeyboardInterrupt, so that workers are sent home and the terminal is left as it was.

    Args:
        console: where to.
        study: the folder of the study.
        runs: all of the study; those that have ended already count as done.
    """

    def __init__(self, console: Console, study: Path, runs: Sequence[PlannedRun]) -> None:
        self._console, self._study, self._total = console, study, len(runs)
        self._done = sum(RunFolder(study, run).status() is not None for run in runs)
        self._bar_of: dict[str, TaskID] = {}  # by the run's folder
        self._running: list[PlannedRun] = []
        self._live: Progress | None = None
        if console.is_terminal:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
            self._overall = self._live.add_task("runs", total=self._total, completed=self._done, note="")

    def __enter__(self) -> Self:
        self._on_interrupt = _on_interrupt(signal.default_int_handler)
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        _on_interrupt(self._on_interrupt)

    def started(self, run: PlannedRun) -> None:
        """Show a line for the run."""
        self._running.append(run)
        if self._live:
            self._bar_of[run.folder] = self._live.add_task(f"  {_short(run)}", total=run.epochs, note="")

    def ended(self, run: PlannedRun, failure: str | None) -> None:
        """Take its line away, or print how it went."""
        self._running.remove(run)
        self._done += failure is None
        if self._live:
            self._live.remove_task(self._bar_of.pop(run.folder))
            self._live.update(self._overall, completed=self._done)
        else:
            width = len(str(self._total))
            status = RunFolder(self._study, run).status()
            text = f"failed, {failure}" if failure else _outcome(run, status) if status else "its files are gone"
            self._console.print(f"[{self._done:{width}}/{self._total}] {run}: {text}", markup=False, soft_wrap=True)

    def tick(self) -> None:
        """Bring the lines up to date with the runs' metrics."""
        if not self._live:
            return
        for run in self._running:
            files = RunFolder(self._study, run)
            if history := files.history():
                name, last = run.metric.name, history[-1]
                latest = last.get(f"validation_{name}", last.get(name))
                note = "" if latest is None else run.metric.text(latest)
                total = run.epochs if run.epochs is not None else planned_epochs(files.path)
                self._live.update(self._bar_of[run.folder], completed=last["epoch"] + 1, total=total, note=note)


def _on_interrupt(handler: Any) -> Any:
    """Say what Ctrl-C does from now on, and give what it did; one that is ignored stays so."""
    before = signal.getsignal(signal.SIGINT)
    if before in (signal.SIG_IGN, None) or threading.current_thread() is not threading.main_thread():
        return before
    return signal.signal(signal.SIGINT, handler)


def _short(run: PlannedRun) -> str:
    text = f"{run.regime} seed {run.seed}"
    return text if len(text) <= 36 else f"{text[:24]}…{text[-11:]}"


def _outcome(run: PlannedRun, status: dict[str, Any]) -> str:
    if status["state"] == "diverged":
        at = f" at step {status['steps']}" if status.get("steps") is not None else ""
        return f"diverged{at} ({status.get('reason', 'loss not finite')})"
    name, chosen = run.metric.name, status.get(chosen_by(run), {})
    if name == UNNAMED and name not in chosen:  # nobody has named the only one
        name = next(iter(chosen), name)
    measured = [
        f"{split} {run.metric.text(status[split][name])}" for split in SPLITS[::-1] if name in status.get(split, {})
    ]
    took = f" ({status['seconds']:.0f} s)" if status.get("seconds") is not None else ""
    return f"{', '.join(measured)}{took}"
