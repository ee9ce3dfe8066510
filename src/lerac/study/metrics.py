"""What networks are judged by: a number with a name, a goal and a unit; of what data it is, a metric does not know."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["ACCURACY", "LARGEST", "LONGEST", "Metric", "digits_of", "is_short"]

LONGEST = 80  # signs of a name: it must fit in tables and figures
LARGEST = 1e100  # of a value, whose square, and the square of that, are still numbers


def is_short(text: str) -> bool:
    """Whether a name or unit can be shown anywhere."""
    return bool(text.strip()) and len(text) <= LONGEST and text.isprintable()


@dataclass(frozen=True)
class Metric:
    """A number that says how good a network is, and how it is written.

    Args:
        name: in tables and files; `validation_<name>` in a history.
        goal: whether more or less of it is better.
        unit: of the number that is shown; empty if it has none.
        scale: from the number to the one that is shown.
        words: its name in sentences and headings; None: `name`.
        digits: behind the point, in tables.
        brief: behind the point, of a single number while training goes on; None: `digits`.
        loss: unit of the loss that is trained; empty if it has none.
        others: names of what is measured beside it.
        low: the least that it can be.
        high: the most that it can be.
    """

    name: str
    goal: Literal["max", "min"] = "max"
    unit: str = ""
    scale: float = 1
    words: str | None = None
    digits: int = 2
    brief: int | None = None
    loss: str = ""
    others: tuple[str, ...] = ()
    low: float = float("-inf")
    high: float = float("inf")

    @property
    def title(self) -> str:
        """What it is, in words."""
        return self.words or self.name

    @property
    def heading(self) -> str:
        """What it is and in which unit, such as `accuracy, %`."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def difference(self) -> str:
        """Unit of a difference of two of them: of percentages, points."""
        return "points" if self.unit == "%" else self.unit

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of all that is measured on a split."""
        return (self.name, *self.others)

    def better(self, value: float, than: float) -> bool:
        """Whether a value is strictly better than another."""
        return value > than if self.goal == "max" else value < than

    def number(self, value: float) -> str:
        """Write a value without its unit, such as `91.23`."""
        return f"{self.scale * value:.{self.digits}f}"

    def change(self, value: float) -> str:
        """Write a difference with its sign and without its unit, such as `+0.31`."""
        return f"{self.scale * value:+.{self.digits}f}"

    def apart(self, number: str) -> str:
        """Put the unit of differences behind a number, if there is one."""
        return f"{number} {self.difference}" if self.difference else number

    def text(self, value: float) -> str:
        """Write a single value with its unit, such as `91.2%` or `6.31 years`."""
        number = f"{self.scale * value:.{self.digits if self.brief is None else self.brief}f}"
        return f"{number}{'' if self.unit in ('', '%') else ' '}{self.unit}"


ACCURACY = Metric("accuracy", unit="%", scale=100, brief=1, loss="nats", others=("loss",), low=0, high=1)
"""Share of examples classified as labelled, in [0, 1]; shown in %."""


def digits_of(values: Sequence[float]) -> int:
    """Give digits behind the point that show four of the largest value, and two of how far values lie apart."""
    sizes = [(3, max(map(abs, values), default=0.0)), (1, max(values, default=0.0) - min(values, default=0.0))]
    return min(9, max([0, *(digits - math.floor(math.log10(size)) for digits, size in sizes if size > 0)]))
