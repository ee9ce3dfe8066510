"""What a command does to the folder of a study: claim it, write down what it is to hold, train, write the tables."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lerac.study.engines import engine_of, here
from lerac.study.engines.pairing import Pairing
from lerac.study.engines.progress import TerminalProgress, report_failure
from lerac.study.engines.protocol import Failure
from lerac.study.engines.worker import GONE
from lerac.study.files import claim
from lerac.study.plan.experiment import PlannedRun
from lerac.study.plan.study import Study
from lerac.study.runs.folder import extend_study, write_study, write_tables
from lerac.study.runs.origin import require_same_data
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder
from lerac.study.statistics.outcomes import Outcome

__all__ = ["Session"]


@dataclass(frozen=True)
class Session:
    """What is asked for, and the folder that is to hold it; the folder may hold more of the same study.

    Args:
        folder: of the study; it need not exist yet.
        asked: what is asked for.
        option: of the command line that names the folder, for errors.
        engine: a key of `ENGINES`.
    """

    folder: Path
    asked: Study
    option: str = "--out"
    engine: str = "local"

    def study(self) -> Study:
        """Give the union of what is asked for and what the folder has; writes nothing.

        Raises:
            StudyError: if the folder holds another study.
        """
        return extend_study(self.folder, self.asked, option=self.option)

    @contextmanager
    def claimed(self, *, patience: float = 0.0) -> Iterator[Study]:
        """Keep other processes from working in the folder, write there what the study is from now on, and give it.

        Args:
            patience: seconds to wait for a process that has the folder, 0 or more.

        Raises:
            FolderInUseError: if another process has it.
            StudyError: if it holds another study, or one of other data, or cannot be written to.
        """
        self._check_data(self.study())  # first, so that nothing is written to a folder that is refused
        with claim(self.folder, patience=patience, option=self.option):
            study = self.study()  # again: it may have been extended meanwhile
            write_study(self.folder, study)
            yield study

    def train(self, runs: Sequence[PlannedRun], workers: int | None, *, paired: bool = False) -> int:
        """Train what is left of runs; say on stderr how it goes and which failed and why, and give their number.

        Args:
            runs: of the study.
            workers: side by side at most; None: as many as there is room for; 0: none, in this process.
            paired: whether runs of a seed that are not paired are an error.

        Raises:
            StudyError: if no other run would fare better than one did, or runs are not paired that have to be.
        """
        errors = Console(stderr=True)
        runs = list({run.folder: run for run in runs}.values())  # one training may have several names, as `lerac(k=3)`
        left = [run for run in runs if not self._ended(run)]
        train_all = engine_of(self.engine) if workers != 0 else here.train_all
        with TerminalProgress(errors, self.folder, runs) as shown:
            progress = Pairing(shown, self.folder, runs) if paired else shown
            failures = train_all(self.folder, left, workers=workers, progress=progress)
        told = {failure.run.folder for failure in failures}
        failures += [Failure(run, GONE) for run in runs if run.folder not in told and not self._ended(run)]
        for failure in failures:
            report_failure(errors, self.folder, failure.run, failure.reason)
        if failures:
            errors.print(f"{len(failures)} of {len(runs)} runs failed; the same command tries them again")
        return len(failures)

    def _ended(self, run: PlannedRun) -> bool:
        return RunFolder(self.folder, run).status() is not None

    def settled(self) -> Study:
        """Write and give the study once more, which may know by now what its runs measure."""
        study = self.study()
        write_study(self.folder, study)
        return study

    def write_tables(self, study: Study) -> list[Outcome]:
        """Write the tables of what has come out of a study, and give it."""
        outcomes = collect(self.folder, study.runs())
        write_tables(self.folder, outcomes)
        return outcomes

    def _check_data(self, study: Study) -> None:
        """See that what is asked for would be trained on what the study has been trained on so far."""
        if self.engine != "local":  # others may have the data elsewhere; each of their runs says what it is
            return
        outcomes = collect(self.folder, study.runs())
        ended = {outcome.folder for outcome in outcomes if outcome.ended}
        require_same_data([run for run in self.asked.runs() if run.folder not in ended], outcomes)
