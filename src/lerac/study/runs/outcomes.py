"""From the files of runs to what statistics, tables, figures and the report are handed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lerac.study.plan.experiment import PlannedRun, chosen_by
from lerac.study.plan.own import OwnRun
from lerac.study.runs.origin import places_here, read_origin
from lerac.study.runs.own import noted
from lerac.study.runs.run import RunFolder
from lerac.study.statistics.outcomes import Origin, Outcome

__all__ = ["SPLITS", "collect", "outcome_of", "places_of"]

SPLITS = ("test", "validation")  # on which a run is measured at its end


def collect(folder: Path, runs: Iterable[PlannedRun]) -> list[Outcome]:
    """Read what is on disk of each run of a study; of one that was not started, nothing is known but its name."""
    outcomes = []
    for run in runs:
        files = RunFolder(folder, run)
        status, config = files.status(), files.config()
        environments = [known["environment"] for known in (config, status) if known]
        origin = read_origin(config, files.path / "config.json")
        outcome = outcome_of(run, status, files.history(), files.error(), environments, origin)
        outcomes.append(replace(outcome, **noted(run, files.path, status)) if isinstance(run, OwnRun) else outcome)
    return outcomes


def places_of(folder: Path, runs: Iterable[PlannedRun]) -> dict[str, str]:
    """Say where the data of runs is, and the weights, as options of the command line: here and now, or there and then.

    What is known of a kind of run that none of them is, or that does not say it, is nothing.
    """
    here: dict[str, str] = {}
    for run in runs:
        files = RunFolder(folder, run)
        there = read_origin(files.config(), files.path / "config.json")
        here = {**(there.places if there else {}), **here, **places_here(run)}
    return here


def outcome_of(
    run: PlannedRun,
    status: Mapping[str, Any] | None,
    history: Sequence[Mapping[str, Any]] = (),
    error: str | None = None,
    environments: Sequence[Mapping[str, str]] = (),
    origin: Origin | None = None,
) -> Outcome:
    """Put together what is known of a run.

    Args:
        run: which.
        status: how it ended, see `RunFolder.status`; None while it has not.
        history: an entry per finished epoch.
        error: traceback of the last failed attempt.
        environments: versions and machine where it was started and where it ended.
        origin: what it was trained on.
    """
    ended, splits = status or {}, SPLITS if chosen_by(run) == "test" else SPLITS[1:]
    if ended.get("state") == "diverged":
        values = {split: dict.fromkeys(run.metric.measured, float("nan")) for split in splits}
    else:
        values = {split: ended[split] for split in splits if split in ended}
    return Outcome(
        experiment=run.experiment,
        regime=run.regime,
        seed=run.seed,
        metric=run.metric,
        state=ended.get("state"),
        values=values,
        history=history,
        planned=run.epochs,
        epochs=ended.get("epochs"),
        steps=ended.get("steps"),
        seconds=ended.get("seconds"),
        device=ended.get("device"),
        environments=environments,
        origin=origin,
        error=error,
        folder=run.folder,
    )
