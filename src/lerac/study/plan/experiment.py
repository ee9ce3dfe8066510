"""What can be planned, trained and compared: the little that every kind of experiment, and every run of it, must say.

A kind is two classes: its experiments, and runs of them. What else rooms do with them is registered there, by class:
`plan_run` gives the run of a regime and a seed, `runs.run.train` trains one, and `report.details.details_of` gives
what the report shows beside the outcomes, which a kind can do without. Recipes are one kind, functions another.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any, Protocol

from lerac.study.errors import StudyError
from lerac.study.metrics import Metric
from lerac.study.recipes.sections import flat

__all__ = ["KINDS", "Experiment", "PlannedRun", "chosen_by", "difference", "joined", "plan_run", "run_folder"]


class Experiment(Protocol):
    """What is trained by every regime; equal names with equal settings are the same.

    In `study.json` it is a pydantic model among `recipes`, and has a field `kind`, by which `KINDS` reads it again.
    """

    @property
    def name(self) -> str:
        """What tables call it: recipes are called MODEL/DATASET."""

    @property
    def slug(self) -> str:
        """The name as a part of file names."""

    @property
    def metric(self) -> Metric:
        """What it is judged by."""

    @property
    def published(self) -> Mapping[str, Sequence[float]]:
        """Regime → mean and standard deviation that others report, in the unit that is shown; empty if nobody does."""

    @property
    def warnings(self) -> Sequence[str]:
        """What must be known before any of its numbers is believed."""

    def settings(self) -> dict[str, Any]:
        """Give all values that can change a result, as plain types."""


class PlannedRun(Protocol):
    """One training of an experiment; a frozen dataclass that can be pickled, and whose fields are plain types.

    A kind that can be tuned has a field `tuning`: whether it is measured on validation data only, never on test data.
    """

    @property
    def experiment(self) -> str:
        """The name of what it is a run of."""

    @property
    def regime(self) -> str:
        """Canonical text."""

    @property
    def seed(self) -> int:
        """By which it is paired with the other regimes of its experiment."""

    @property
    def metric(self) -> Metric:
        """What it is judged by."""

    @property
    def epochs(self) -> int | None:
        """How many it has at most; None where nobody knows."""

    @property
    def device(self) -> str:
        """Where it is trained, as torch names it."""

    @property
    def threads(self) -> int:
        """That torch may use on the CPU."""

    @property
    def folder(self) -> str:
        """Where it is kept, relative to the study: see `run_folder`."""


def chosen_by(run: PlannedRun) -> str:
    """Name the split on which a run is judged: `validation` while tuning, else `test`."""
    return "validation" if getattr(run, "tuning", False) else "test"


KINDS: dict[str, Callable[[Any], Experiment]] = {}
"""What `kind` says in `study.json` → what makes the experiment of all that stands there; recipes have no `kind`."""


def run_folder(slug: str, regime: str, configuration: Mapping[str, Any], seed: int) -> str:
    """Give runs/<slug>-<regime>-<hash>/<seed>; runs of the same configuration share all but the last part.

    Args:
        slug: of the experiment.
        regime: its name, without options.
        configuration: all that can change a result but the seed, as plain types.
        seed: of the run.
    """
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:10]
    return f"runs/{slug}-{regime}-{digest}/{seed}"


@singledispatch
def plan_run(experiment: Any, study: Any, regime: str, seed: int) -> PlannedRun:
    """Give the run of an experiment by a regime and a seed.

    Every kind of experiment registers how that is made.

    Args:
        experiment: which.
        study: the `Study` it is of, which says device and threads.
        regime: canonical text.
        seed: of the run.

    Raises:
        StudyError: if it cannot be trained by that regime.
    """
    raise TypeError(f"nobody has registered what a run of {type(experiment).__name__} is")


@singledispatch
def joined(old: Any, new: Any) -> Any:
    """Give one experiment for two of one name, of which the second is asked for later.

    A kind that can differ in more than its settings registers what becomes of that.

    Raises:
        StudyError: if their settings differ; says in what.
    """
    if found := difference(old, new):
        raise StudyError(f"it has {old.name} with {found}")
    return old


def difference(old: Experiment, new: Experiment) -> str:
    """Say in which kind or settings two experiments differ; empty if in none."""
    if type(old) is not type(new):
        return f"kind {type(old).__name__}, now asked for {type(new).__name__}"
    before, after = dict(flat(old.settings())), dict(flat(new.settings()))
    changed = [
        f"{key} {before.get(key)}, now asked for {after.get(key)}"
        for key in before | after
        if before.get(key) != after.get(key)
    ]
    return "; ".join(changed)
