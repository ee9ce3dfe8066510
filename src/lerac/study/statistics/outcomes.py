"""What came out of a run, whatever was trained: all that statistics, tables, figures and the report are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lerac.study.metrics import Metric

__all__ = ["Origin", "Outcome", "State"]

State = Literal["done", "diverged"]


@dataclass(frozen=True)
class Origin:
    """What a run was trained on.

    Args:
        sha256: fingerprint of the data, equal for equal data and nothing else.
        published: whether it is the data that its authors published; None where nobody can tell.
        places: where it was, and the weights that training began with, as options of the command line.
    """

    sha256: str
    published: bool | None = None
    places: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def short(self) -> str:
        """Enough of the fingerprint to tell two apart."""
        return self.sha256[:12]


@dataclass(frozen=True)
class Outcome:
    """One run: who it was, how it ended, and what was measured at its end; the rest where it is known.

    Args:
        experiment: that it belongs to: recipes are called MODEL/DATASET.
        regime: canonical text.
        seed: by which it is paired with the other regimes of its experiment.
        metric: that it is judged by.
        state: how it ended; None while it has not.
        values: split → name → what was measured at the end, NaN if the run diverged; empty while it has not ended.
        history: an entry per finished epoch, oldest first: numbers by name.
        planned: epochs that it is to have at most; None where nobody knows.
        epochs: that it had when it ended.
        steps: optimizer steps that it had taken by then.
        seconds: that it took.
        device: where it was trained, as torch names it.
        environments: versions and machine where it was started and where it ended.
        pairing: what the runs of a seed must have in common, by name (weights, first batch, steps), as text to be
            compared; a value is None where it could not be seen. None: they have it by construction, as recipes do.
        origin: what it was trained on; None where nobody knows.
        error: traceback of the last attempt, if that failed.
        folder: where its files are, relative to that of the study; None if it has none.
        beside: what else its kind of experiment knows of it, for its own part of the report.
    """

    experiment: str
    regime: str
    seed: int
    metric: Metric
    state: State | None = None
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    planned: int | None = None
    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = None
    device: str | None = None
    environments: Sequence[Mapping[str, str]] = ()
    pairing: Mapping[str, str | None] | None = None
    origin: Origin | None = None
    error: str | None = None
    folder: str | None = None
    beside: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.experiment} {self.regime} seed {self.seed}"

    @property
    def ended(self) -> bool:
        """Whether it will not be trained any further."""
        return self.state is not None

    @property
    def diverged(self) -> bool:
        """Whether it ended because its loss was not finite."""
        return self.state == "diverged"

    @property
    def failed(self) -> bool:
        """Whether an error stopped its last attempt, and it has not ended since."""
        return self.error is not None and not self.ended

    def value(self, split: str, name: str | None = None) -> float | None:
        """Give what was measured at the end, by default the metric.

        Returns:
            None while it has not ended, or if that was not measured there; NaN if the run diverged.
        """
        return self.values.get(split, {}).get(name or self.metric.name)
