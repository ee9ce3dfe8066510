"""The data sets that a recipe can name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lerac.study.data.digits import load_digits
from lerac.study.data.places import Checked
from lerac.study.data.splits import HeldSplit, Inputs, Split, Splits, Task

__all__ = ["DATASETS", "Checked", "DataSet", "HeldSplit", "Inputs", "Split", "Splits", "Task"]


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set without loading it.

    Args:
        load: gives the splits; called with the run's seed and the recipe's section [data] by keyword.
        examples: how many there are.
        classes: how many labels there are.
        check: reads every file under a data root and gives what is there; None for data without files.
        sample: writes a tiny generated data set in the official layout under a data root; None as above.
    """

    load: Callable[..., Splits]
    examples: int
    classes: int
    check: Callable[[Path], Checked] | None = None
    sample: Callable[[Path], None] | None = None


DATASETS: dict[str, DataSet] = {"digits": DataSet(load_digits, examples=1797, classes=10)}
