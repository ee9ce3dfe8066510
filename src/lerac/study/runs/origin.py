"""What runs are trained on: written down when one is begun, and the same for all runs of a study."""

import os
from collections.abc import Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lerac.study.data import DATASETS
from lerac.study.data.settings import DataSettings
from lerac.study.errors import StudyError
from lerac.study.plan.experiment import PlannedRun
from lerac.study.plan.study import Run
from lerac.study.statistics.outcomes import Origin, Outcome

__all__ = ["origin_of", "places_here", "read_origin", "require_same_data", "require_same_origin"]

PLACES = {"--data-root": "LERAC_DATA", "--weights": "LERAC_WEIGHTS"}

_ORIGIN = TypeAdapter(Origin)


@singledispatch
def origin_of(run: Any) -> Origin | None:
    """Say what a run would be trained on here and now; None of a kind that registers nothing.

    Raises:
        StudyError: if its data is not there, or cannot be read.
    """
    return None


@origin_of.register
def _of_recipe(run: Run) -> Origin:
    data = DataSettings(**run.settings["data"])
    found = DATASETS[run.settings["dataset"]].fingerprint(data)
    return Origin(found.sha256, found.published, places_here(run))


def places_here(run: PlannedRun) -> dict[str, str]:
    """Say where this process looks for data and weights of a run, if it is told, as options of the command line."""
    if not _has_files(run):
        return {}
    told = {option: os.environ.get(variable) for option, variable in PLACES.items()}
    return {option: os.path.abspath(place) for option, place in told.items() if place}  # noqa: PTH100 - links stay


def read_origin(config: Mapping[str, Any] | None, path: Path) -> Origin | None:
    """Give what a `config.json` says that the run is trained on; None if it does not say it.

    Args:
        config: what is in the file; None if there is none.
        path: of the file, for errors.

    Raises:
        StudyError: if it is nothing of the kind.
    """
    if (told := (config or {}).get("trained_on")) is None:
        return None
    try:
        return _ORIGIN.validate_python(told)
    except ValidationError as error:
        key = ".".join(map(str, ("trained_on", *error.errors()[0]["loc"])))
        raise StudyError(f"{path} is damaged: {key} cannot be; delete it, and the run is trained again") from None


def require_same_origin(name: str, before: Origin | None, now: Origin | None) -> None:
    """Refuse to go on with other data than that of before; where either is not known, there is nothing to compare.

    Raises:
        StudyError: if they differ.
    """
    if before is not None and now is not None and before.sha256 != now.sha256:
        raise StudyError(
            f"{name} was trained on other data than is there now (fingerprint {before.short}, now {now.short}): "
            "give the data that it was begun with, or choose another folder for a new study"
        )


def require_same_data(runs: Sequence[PlannedRun], outcomes: Sequence[Outcome]) -> None:
    """Refuse to train runs of a study on other data than its runs were trained on that have been begun.

    Args:
        runs: that are to be trained.
        outcomes: of all runs of the study.

    Raises:
        StudyError: if the data of an experiment has changed, or is not there.
    """
    begun = {outcome.experiment: outcome for outcome in outcomes if outcome.origin is not None}
    for run in {run.experiment: run for run in runs}.values():
        outcome = begun.get(run.experiment)
        if outcome is not None or _has_files(run):  # which workers need not read to know them, then
            require_same_origin(str(outcome), outcome.origin if outcome else None, origin_of(run))


def _has_files(run: PlannedRun) -> bool:
    return isinstance(run, Run) and DATASETS[run.settings["dataset"]].has_files
