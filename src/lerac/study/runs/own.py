"""Runs of trainings that people bring themselves: trained, checked, and read again."""

from pathlib import Path
from typing import Any

from lerac.study.errors import RunFailedError, StopStudyError
from lerac.study.own import forked
from lerac.study.own.here import call_here, held
from lerac.study.own.record import FILE, Record, read_record
from lerac.study.own.returned import not_finite
from lerac.study.own.running import Answer
from lerac.study.own.trial import FOLDER
from lerac.study.plan.own import OwnRun
from lerac.study.recipes.regimes import parse_regime
from lerac.study.runs.run import RunFolder, train

__all__ = ["noted"]

UNSEEN: dict[str, str | None] = {"weights": None, "first batch": None, "steps": None}


@train.register
def _train_own(run: OwnRun, files: RunFolder) -> None:
    path = files.path.absolute()
    interrupted = _prepare(run, files)
    function = held(run.experiment)
    answer = forked.call(run, path) if function is None else call_here(run, path, function)
    if answer.stop is not None:
        raise StopStudyError(answer.stop)
    if answer.values is None:
        raise RunFailedError(answer.reason, answer.trace)
    record = read_record(path / FOLDER)
    _check(run, record)
    files.write_status(_status(run, files, answer, record, interrupted))


def _prepare(run: OwnRun, files: RunFolder) -> bool:
    """Make the folder of the training; say whether an earlier attempt was interrupted there.

    What an attempt has left that was trained by another version of the source is not continued.
    """
    before = (files.path / FOLDER).is_dir()
    if (files.config() or {}).get("code") != run.code:
        for name in ("checkpoint.pt", "metrics.jsonl", f"{FOLDER}/{FILE}", forked.OUTPUT):
            (files.path / name).unlink(missing_ok=True)
        files.write_config()
    if not (files.path / "checkpoint.pt").exists():
        (files.path / "metrics.jsonl").unlink(missing_ok=True)
    (files.path / FOLDER).mkdir(exist_ok=True)
    return before


def _check(run: OwnRun, record: Record | None) -> None:
    """Refuse a run that has not been trained as the study says.

    Raises:
        StopStudyError: as no other run would fare better.
    """
    who = f"{run.experiment} ({run.regime}, seed {run.seed})"
    if record is None:
        if parse_regime(run.regime).name == "conventional":
            return
        raise StopStudyError(
            f"{who} has never called attach, so that it was trained conventionally: add "
            "trial.attach(optimizer, model, epoch_steps=len(loader)) where the optimizer has been made"
        )
    if record.regime != run.regime:
        raise StopStudyError(f"{who}: attach was called for {record.regime}; leave the regime out, it is the trial's")
    for one in record.attached:
        if one.epochs is None or (promised := round(one.epochs * one.epoch_steps)) == one.steps:
            continue
        if one.scaled and one.steps < promised:  # loss scaling skips steps
            continue
        raise StopStudyError(
            f"{who} took {one.steps} optimizer steps, and attach was promised {promised} (epoch_steps="
            f"{one.epoch_steps} × epochs={one.epochs:g}). Count optimizer steps, not batches, where gradients are "
            "accumulated; len(loader) before a distributed prepare is not the number of steps after it; and leave "
            "epochs out if training may stop early"
        )


def _status(
    run: OwnRun, files: RunFolder, answer: Answer, record: Record | None, interrupted: bool
) -> dict[str, Any]:
    history = files.history()
    status: dict[str, Any] = {
        "epochs": (record and record.epochs) or len(history) or None,
        "steps": record and record.steps,
        "seconds": answer.seconds,
        "code": run.code,
    }
    if interrupted:
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
