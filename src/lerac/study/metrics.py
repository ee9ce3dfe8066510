"""What a network is judged by: accuracy, or for a regression the mean absolute error."""

from dataclasses import dataclass

from lerac.study.data import DATASETS

__all__ = ["ACCURACY", "MAE", "Metric", "metric_of"]


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
        higher_is_better: else lower is.
    """

    name: str
    title: str
    factor: float
    unit: str
    difference: str
    digits: int
    higher_is_better: bool

    def better(self, value: float, than: float) -> bool:
        """Whether a value is strictly better than another."""
        return value > than if self.higher_is_better else value < than

    def text(self, value: float) -> str:
        """Show a value with its unit, such as `91.2%` or `6.31 years`."""
        return f"{self.factor * value:.{self.digits}f}{'' if self.unit == '%' else ' '}{self.unit}"


ACCURACY = Metric("accuracy", "accuracy", 100, "%", "points", 1, higher_is_better=True)
"""Share of examples classified as labelled, in [0, 1]; shown in %."""

MAE = Metric("mae", "mean absolute error", 1, "years", "years", 2, higher_is_better=False)
"""Mean distance between estimates and labels, in the unit of the labels: years of age."""


def metric_of(dataset: str) -> Metric:
    """Give what networks are judged by on a data set."""
    return MAE if DATASETS[dataset].task == "regression" else ACCURACY
