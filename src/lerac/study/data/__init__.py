"""The data sets that a recipe can name."""

from collections.abc import Callable
from dataclasses import dataclass

from lerac.study.data.digits import load_digits
from lerac.study.data.splits import Split, Splits

__all__ = ["DATASETS", "DataSet", "Split", "Splits"]


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set without loading it.

    Args:
        load: gives the splits; called with the run's seed and the recipe's section [data] by keyword.
        examples: how many there are.
        classes: how many labels there are.
    """

    load: Callable[..., Splits]
    examples: int
    classes: int


DATASETS: dict[str, DataSet] = {"digits": DataSet(load_digits, examples=1797, classes=10)}
