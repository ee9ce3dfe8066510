"""Runs of trainings that people bring themselves: trained, checked, and read again."""

import math
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lerac.regimes.record import FILE
from lerac.study.errors import FolderInUseError, RunFailedError, StopStudyError, StudyError
from lerac.study.files import folder_in
from lerac.study.metrics import digits_of
from lerac.study.own import forked
from lerac.study.own.command.running import perform_command
from lerac.study.own.record import Record, read_record
from lerac.study.own.returned import not_finite
from lerac.study.own.running import Answer, held, perform
from lerac.study.own.trial import FOLDER
from lerac.study.plan.experiment import PlannedRun
from lerac.study.plan.own import OwnExperiment, OwnRun
from lerac.study.plan.study import Study
from lerac.study.recipes.regimes import parse_regime
from lerac.study.runs.run import RunFolder, train
from lerac.study.statistics.outcomes import Outcome

__all__ = ["noted", "planned_epochs", "readable", "settled", "warnings_of", "without_old_code"]

SHORT = "is shorter than a step"
UNSEEN: dict[str, str | None] = {"weights": None, "first batch": None, "steps": None}


@train.register
def _train_own(run: OwnRun, files: RunFolder) -> None:
    path = files.path.absolute()
    interrupted = _prepare(run, files)
    if run.kind == "command":
        answer = perform_command(run, path)
    else:
        function = held(run.experiment)
        answer = forked.call(run, path) if function is None else perform(run, path, function)
    if answer.stop is not None:
        hint = "; --epoch-steps N of lerac tune keeps axes above that" if run.tuning and SHORT in answer.stop else ""
        raise StopStudyError(f"{answer.stop}{hint}")
    if answer.in_use is not None:
        raise FolderInUseError(answer.in_use)
    if answer.values is None:
        raise RunFailedError(answer.reason, answer.trace)
    record = read_record(path / FOLDER)
    _check(run, record, answer.promised)
    files.write_status(_status(run, files, answer, record, interrupted))


def _prepare(run: OwnRun, files: RunFolder) -> bool:
    """Make the folder of the training; say whether an earlier attempt was interrupted there.

    What an attempt has left that was trained by another version of the source is not continued.
    """
    before = (files.path / FOLDER).is_dir()
    config = files.config() or {}
    if (config.get("code"), (config.get("source") or {}).get("arm")) != (run.code, run.source.get("arm")):
        for name in ("checkpoint.pt", "metrics.jsonl", f"{FOLDER}/{FILE}", forked.OUTPUT):
            (files.path / name).unlink(missing_ok=True)
        if run.kind == "command":  # which may go on from whatever is there
            _empty(files.path / FOLDER)
        files.write_config()
    if not (files.path / "checkpoint.pt").exists():
        (files.path / "metrics.jsonl").unlink(missing_ok=True)
    folder_in(files.path, FOLDER).mkdir(exist_ok=True)
    return before


def _empty(folder: Path) -> None:
    """Remove what is in a folder but its lock, which an orphan may have."""
    for path in folder.glob("*"):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _check(run: OwnRun, record: Record | None, promised: Sequence[float | None]) -> None:
    """Refuse a run that has not been trained as the study says.

    Args:
        run: which.
        record: of its training.
        promised: epochs, as in `Trial`.

    Raises:
        StopStudyError: as no other run would fare better.
    """
    who = f"{run.experiment} ({run.regime}, seed {run.seed})"
    if record is None:
        if run.source.get("arm") is not None:
            return
        if run.kind == "command":
            raise StopStudyError(
                f"{who}: the command has ended without {FOLDER}/{FILE}, so that nothing in it has called lerac.attach, "
                "and every regime would be trained alike: add lerac.attach(optimizer, model, epoch_steps=len(loader)) "
                'where the optimizer has been made, or, for a script that knows nothing of it, use --arm NAME="WORDS"'
            )
        if parse_regime(run.regime).name == "conventional":
            return
        raise StopStudyError(
            f"{who} has never called attach, so that it was trained conventionally: add "
            "trial.attach(optimizer, model, epoch_steps=len(loader)) where the optimizer has been made"
        )
    if record.regime != run.regime:
        raise StopStudyError(f"{who}: attach was called for {record.regime}; leave the regime out, it is the trial's")
    for one in record.attached:
        [epochs] = promised or [one.epochs]  # what a framework has planned is no promise
        if epochs is None or (steps := round(epochs * one.epoch_steps)) == one.steps:
            continue
        if not one.ended or (one.scaled and one.steps < steps):  # not counted to the end; loss scaling skips steps
            continue
        told = "the callback" if promised else "attach"
        raise StopStudyError(
            f"{who} took {one.steps} optimizer steps, and {told} was promised {steps} (epoch_steps="
            f"{one.epoch_steps} × epochs={epochs:g}). Count optimizer steps, not batches, where gradients are "
            "accumulated; len(loader) before a distributed prepare is not the number of steps after it; and leave "
            "epochs out if training may stop early"
        )


def _status(run: OwnRun, files: RunFolder, answer: Answer, record: Record | None, interrupted: bool) -> dict[str, Any]:
    history = files.history()
    status: dict[str, Any] = {
        "epochs": (record and record.epochs) or len(history) or None,
        "steps": record and record.steps,
        "seconds": answer.seconds,
        "code": run.code,
    }
    if interrupted and run.source.get("arm") is None:  # of arms, nobody can tell
        status["resumed"] = "save" if answer.loaded else "anew"
    if (reason := not_finite(answer.values or {})) is not None:
        return {"state": "diverged", "reason": reason, **status}
    return {"state": "done", **(answer.values or {}), **status}


def noted(run: OwnRun, path: Path, status: dict[str, Any] | None) -> dict[str, Any]:
    """Give what an `Outcome` has of such a run beside what all runs have.

    Args:
        run: which.
        path: its folder.
        status: how it ended; None while it has not.
    """
    record = read_record(path / FOLDER)
    beside = {key: status[key] for key in ("code", "resumed", "reason") if key in status} if status else {}
    return {
        "pairing": record.pairing if record else UNSEEN,
        "planned": record and record.epochs,
        "beside": {**beside, "record": record},
    }


def warnings_of(experiment: Any, outcomes: Sequence[Outcome]) -> list[str]:
    """Say what the runs of somebody's own training have shown that must be known; nothing of other kinds."""
    if not isinstance(experiment, OwnExperiment):
        return []
    found, records = [], [(one, one.beside.get("record")) for one in outcomes if one.ended]
    within = dict.fromkeys(one.regime for one, record in records if record and record.within_curriculum)
    if within:
        found.append(f"Training ended within the curriculum of {', '.join(within)}: a smaller k, or more epochs.")
    resumed = [one.beside.get("resumed") for one in outcomes]
    for word, how in (("save", "continued from the last save"), ("anew", "started anew")):
        if count := resumed.count(word):
            found.append(f"{count} of the runs {'was' if count == 1 else 'were'} interrupted and {how}.")
    if len(codes := getattr(experiment, "code", ())) > 1:
        used = Counter(str(one.beside["code"])[:10] for one in outcomes if "code" in one.beside)
        listed = ", ".join(f"{code} {used[code]} run{'s' * (used[code] != 1)}" for code in (one[:10] for one in codes))
        found.append(f"The source has changed, which --code accept has accepted (sha256: {listed}).")
    return found


def planned_epochs(path: Path) -> int | None:
    """Give how many epochs the training in a run's folder has said that it has; None if it has not."""
    record = read_record(path / FOLDER)
    return None if record is None else record.epochs


def settled(folder: Path, study: Study) -> Study:
    """Give a study whose experiments know what they are judged by, where ended runs tell.

    Raises:
        StudyError: if runs of one experiment have measured different things, and nobody has said which decides.
    """
    return _changed(
        study,
        lambda one: one if one.measure else one.model_copy(update={"measure": _measured(folder, study, one)}),
    )


def readable(study: Study, outcomes: Sequence[Outcome]) -> tuple[Study, list[Outcome]]:
    """Give both with as many digits behind the point as differences need: nobody has said how large a metric is."""

    def change(one: OwnExperiment) -> OwnExperiment:
        own = [x for x in outcomes if x.experiment == one.name]
        values = [value for x in own for split in ("test", "validation") if (value := x.value(split)) is not None]
        shown = [one.scale * value for value in values if math.isfinite(value)]
        return one.model_copy(update={"digits": max(one.digits, digits_of(shown))})

    study = _changed(study, change)
    metrics = {one.name: one.metric for one in study.experiments if isinstance(one, OwnExperiment)}
    return study, [replace(x, metric=metrics.get(x.experiment, x.metric)) for x in outcomes]


def without_old_code(folder: Path, present: Study, asked: Study) -> Study:
    """Give the study of a folder, with the source that is asked for where no run by another has ended."""
    later = {one.name: one for one in asked.experiments if isinstance(one, OwnExperiment)}

    def change(one: OwnExperiment) -> OwnExperiment:
        if type(new := later.get(one.name)) is not type(one):
            return one
        return one.as_asked(new, {run.regime for run in _runs_of(present, one) if RunFolder(folder, run).status()})

    return _changed(present, change)


def _measured(folder: Path, study: Study, experiment: OwnExperiment) -> str | None:
    statuses = (RunFolder(folder, run).status() for run in _runs_of(study, experiment))
    split = "validation" if study.tuning else "test"
    names = {name for status in statuses if status for name in status.get(split, {})}
    if len(names) > 1:
        listed = ", ".join(sorted(names))
        raise StudyError(f"{experiment.name} has measured {listed}; say by --metric which of them decides")
    return names.pop() if names else None


def _runs_of(study: Study, experiment: OwnExperiment) -> list[PlannedRun]:
    return study.model_copy(update={"recipes": [experiment]}).runs()


def _changed(study: Study, change: Callable[[OwnExperiment], OwnExperiment]) -> Study:
    recipes = [change(one) if isinstance(one, OwnExperiment) else one for one in study.experiments]
    return study.model_copy(update={"recipes": recipes})
