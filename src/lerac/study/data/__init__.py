"""The data sets that a recipe can name."""

from collections.abc import Callable

from lerac.study.data.digits import load_digits
from lerac.study.data.splits import Split, Splits

__all__ = ["DATASETS", "Split", "Splits"]

DATASETS: dict[str, Callable[..., Splits]] = {"digits": load_digits}
"""Name → loader, called with the run's seed and the values of the recipe's section [data] by keyword."""
