"""What the files of a run may hold, of whatever kind it is. The first fault is one line that names file and key."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lerac.study.errors import StudyError, fault
from lerac.study.plan.experiment import PlannedRun, chosen_by
from lerac.study.plan.own import UNNAMED
from lerac.study.statistics.outcomes import State

__all__ = ["checked_checkpoint", "checked_config", "checked_history", "checked_status"]

Count = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Values = dict[str, float]


class _Record(BaseModel):
    """Keys that are known are checked, never converted; others are left to whoever wrote them."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)
    CURE: ClassVar[str] = "delete it, and the run is trained again"


class _Status(_Record):
    state: State
    validation: Values | None = None
    test: Values | None = None
    best_epoch: Count | None = None
    epochs: Count | None = None
    steps: Count | None = None
    seconds: Seconds | None = None
    device: str | None = None
    environment: dict[str, str]


class _Config(_Record):
    CURE: ClassVar[str] = "delete it to go on without it"
    seed: Count | None = None
    environment: dict[str, str]


class _Epoch(_Record):
    CURE: ClassVar[str] = "delete it, it is made again"
    __pydantic_extra__: dict[str, float] = Field(init=False)
    epoch: Count
    steps: Count | None = None
    seconds: Seconds | None = None


class _Scheduler(_Record):
    last_epoch: Count


class _Checkpoint(_Record):
    CURE: ClassVar[str] = "delete it to train this run from the start"
    history: list[dict[str, Any]]
    scheduler: _Scheduler
    best_epoch: Count | None
    diverged_at: Count | None
    seconds: Seconds


def checked_status(path: Path, status: Any, run: PlannedRun) -> dict[str, Any]:
    """Give what `status.json` holds, if a run can have ended like that.

    Raises:
        StudyError: if it cannot.
    """
    _check(_Status, path, status)
    name, splits = run.metric.name, ("validation", "test")
    measured = {split: values[name] for split in splits if name in (values := status.get(split) or {})}
    open_yet = name == UNNAMED and status.get(chosen_by(run))  # what decides is found when the study is read
    if status["state"] == "done" and not measured and not open_yet:
        raise _damaged(_Status, path, f"a run that is done has test.{name} or validation.{name}, here is neither")
    for split, value in measured.items():
        if not run.metric.low <= value <= run.metric.high:
            bounds = f"[{run.metric.low:g}, {run.metric.high:g}]"
            raise _damaged(_Status, path, f"{split}.{name} must be in {bounds}, got {value!r}")
    if run.epochs is not None and (status.get("epochs") or 0) > run.epochs:
        raise _damaged(_Status, path, f"epochs must be at most {run.epochs}, got {status['epochs']}")
    found: dict[str, Any] = status
    return found


def checked_config(path: Path, config: Any, run: PlannedRun) -> dict[str, Any]:
    """Give what `config.json` holds, if it is that of this run.

    Raises:
        StudyError: if it is not.
    """
    _check(_Config, path, config)
    if (seed := config.get("seed")) not in (None, run.seed):
        raise _damaged(_Config, path, f"seed must be {run.seed}, as its folder says, got {seed}")
    found: dict[str, Any] = config
    return found


def checked_history(path: Path, entries: Sequence[Any], run: PlannedRun) -> list[dict[str, Any]]:
    """Give the entries of a history, one per epoch, if this run can have them.

    Args:
        path: of the file that holds them.
        entries: oldest first.
        run: whose; a kind of run that always writes some numbers names them as `recorded`.

    Raises:
        StudyError: if it cannot.
    """
    if (wrong := _wrong_in_history(entries, run)) is not None:
        raise _damaged(_Epoch, path, wrong)
    return [*entries]


def _wrong_in_history(entries: Sequence[Any], run: PlannedRun) -> str | None:
    recorded = getattr(run, "recorded", ())
    for i, entry in enumerate(entries):
        line = f"line {i + 1}: "
        if (wrong := _wrong(_Epoch, entry)) is not None:
            return line + wrong
        if missing := [name for name in recorded if name not in entry]:
            return f"{line}{missing[0]} is missing"
        if entry["epoch"] != i if recorded else i > 0 and entry["epoch"] <= entries[i - 1]["epoch"]:
            return f"{line}epoch {entry['epoch']} does not follow what is before it"
    if run.epochs is not None and len(entries) > run.epochs:
        return f"it has {len(entries)} epochs of {run.epochs}"
    return None


def checked_checkpoint(path: Path, state: Mapping[str, Any], run: PlannedRun) -> Mapping[str, Any]:
    """Give the state of the training of a recipe, if its numbers go together; tensors are left to those who load them.

    Raises:
        StudyError: if they do not.
    """
    _check(_Checkpoint, path, state)
    history, best = state["history"], state["best_epoch"]
    if (wrong := _wrong_in_history(history, run)) is not None:
        raise _damaged(_Checkpoint, path, f"history: {wrong}")
    if (best is None) != (not history) or (best or 0) >= max(1, len(history)):
        raise _damaged(_Checkpoint, path, f"best_epoch cannot be {best} after {len(history)} epochs")
    if history and state["diverged_at"] is None and state["scheduler"]["last_epoch"] != history[-1]["steps"]:
        raise _damaged(_Checkpoint, path, "scheduler.last_epoch is not the steps of the last epoch")
    return state


def _check(kind: type[_Record], path: Path, value: Any) -> None:
    if (wrong := _wrong(kind, value)) is not None:
        raise _damaged(kind, path, wrong)


def _wrong(kind: type[_Record], value: Any) -> str | None:
    try:
        kind.model_validate(value)
    except ValidationError as error:
        return fault(error)
    return None


def _damaged(kind: type[_Record], path: Path, reason: str) -> StudyError:
    return StudyError(f"{path} is damaged: {reason}; {kind.CURE}")
