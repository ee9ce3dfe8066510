"""What networks are judged by on each kind of task."""

from lerac.study.data import DATASETS
from lerac.study.data.settings import Task
from lerac.study.metrics import ACCURACY, Metric

__all__ = ["MAE", "MAP50", "METRICS", "metric_of"]

MAE = Metric("mae", "min", unit="years", words="mean absolute error", loss="years", others=("loss",), low=0)
"""Mean distance between estimates and labels, in the unit of the labels: years of age."""

MAP50 = Metric("map50", unit="%", scale=100, words="mAP@0.5", brief=1, others=("map50-95", "loss"), low=0, high=1)
"""Mean average precision, of boxes that overlap by half (`training.average_precision`), in [0, 1]; shown in %.

Beside it, `map50-95` is the mean over least overlaps of 0.5, 0.55, …, 0.95."""

METRICS: dict[Task, Metric] = {"classification": ACCURACY, "regression": MAE, "detection": MAP50}


def metric_of(dataset: str) -> Metric:
    """Give what networks are judged by on a data set."""
    return METRICS[DATASETS[dataset].task]
