"""What a network is judged by: accuracy, the mean absolute error of a regression, or mean average precision."""

from dataclasses import dataclass

from lerac.study.data import DATASETS
from lerac.study.data.settings import Task

__all__ = ["ACCURACY", "MAE", "MAP50", "Metric", "metric_of"]


@dataclass(frozen=True)
class Metric:
    """A number that says how good a network is.

    Args:
        name: in tables and files; `validation_<name>` in a history.
        title: in words.
        factor: from the number to the one that is shown.
        unit: of the number that is shown.
        difference: unit of a difference of two of them.
        digits: behind the point, of a single number that is shown.
        loss: unit of the loss that is trained; empty if it has none.
        higher_is_better: else lower is.
        others: names of what is measured beside it.
    """

    name: str
    title: str
    factor: float
    unit: str
    difference: str
    digits: int
    loss: str
    higher_is_better: bool
    others: tuple[str, ...] = ()

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of all that is measured on a split, the loss last."""
        return (self.name, *self.others, "loss")

    def better(self, value: float, than: float) -> bool:
        """Whether a value is strictly better than another."""
        return value > than if self.higher_is_better else value < than

    def text(self, value: float) -> str:
        """Show a value with its unit, such as `91.2%` or `6.31 years`."""
        return f"{self.factor * value:.{self.digits}f}{'' if self.unit == '%' else ' '}{self.unit}"


ACCURACY = Metric("accuracy", "accuracy", 100, "%", "points", 1, "nats", higher_is_better=True)
"""Share of examples classified as labelled, in [0, 1]; shown in %."""

MAE = Metric("mae", "mean absolute error", 1, "years", "years", 2, "years", higher_is_better=False)
"""Mean distance between estimates and labels, in the unit of the labels: years of age."""


MAP50 = Metric("map50", "mAP@0.5", 100, "%", "points", 1, "", higher_is_better=True, others=("map50-95",))
"""Mean average precision, of boxes that overlap by half (`training.average_precision`), in [0, 1]; shown in %.

Beside it, `map50-95` is the mean over least overlaps of 0.5, 0.55, …, 0.95."""

METRICS: dict[Task, Metric] = {"classification": ACCURACY, "regression": MAE, "detection": MAP50}


def metric_of(dataset: str) -> Metric:
    """Give what networks are judged by on a data set."""
    return METRICS[DATASETS[dataset].task]
