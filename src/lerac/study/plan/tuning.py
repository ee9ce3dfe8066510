"""What a tuning tries, as it is written down before the first run, and what a comparison takes from it."""

import math
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from lerac.study.data.settings import Section
from lerac.study.errors import StudyError, shown
from lerac.study.recipes.regimes import parse_regime

__all__ = ["AXES", "DIGITS", "MOST_CONFIGS", "Axis", "Tuned", "Tuning", "edges_of"]

AXES: dict[str, str | None] = {
    "lr": None,
    "k": "1%..15%",
    "ratio": "1e-6..1e-1",
    "sigma": "0.25..1",
    "every": "1%..10%",
}
"""Option → where its values come from unless somebody says; of `lr`, around the rate that there is. In the order of
the coordinates, which never changes."""

NEAR = 0.1  # share of an axis, of logarithms, that is its edge
MOST_CONFIGS = 4096
DIGITS = 3  # that matter of a value that is tried


class Axis(Section):
    """Where the values of an option come from.

    Args:
        words: as they are asked for: `A..B`, or a list.
        low: the least value, in the unit of the option.
        high: the largest.
        listed: the values, if they are a list.
    """

    words: str
    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]
    listed: list[float] | None = None

    def values(self, coordinates: Sequence[float]) -> list[float]:
        """Give a value for each coordinate in [0, 1).

        Of a list, each value comes once before any comes again: always the one nearest to the coordinate that is left.
        """
        if self.listed is None:
            span, found = math.log(self.high / self.low), list[float]()
            for u in coordinates:
                found.append(self._rounded(self.low * math.exp(u * span), found))
            return found
        values, left = [], list[int]()
        for u in coordinates:
            left = left or list(range(len(self.listed)))
            nearest = min(left, key=lambda i: abs((i + 0.5) / len(self.listed or ()) - u))
            left.remove(nearest)
            values.append(self.listed[nearest])
        return values

    def _rounded(self, value: float, before: Sequence[float]) -> float:
        """Round to as few digits as tell it from those before, three or more."""
        rounded = value
        for digits in range(DIGITS, 18):
            rounded = min(max(float(f"{value:.{digits}g}"), self.low), self.high)
            if rounded not in before:
                break
        return rounded


class Tuning(Section):
    """A study that tries configurations and measures them on validation data only.

    Args:
        configs: how many configurations each regime has.
        epochs: of each run at most; None where nobody has said.
        epoch_steps: optimizer steps of an epoch, as they were told; None where a recipe says them, or nobody.
        axes: option → where its values come from, of all options that are tuned in any regime.
        tried: regime as it was asked for → its configurations in their order, as canonical text.
    """

    configs: Annotated[int, Field(ge=1, le=MOST_CONFIGS)]
    epochs: Annotated[int, Field(ge=1)] | None = None
    epoch_steps: Annotated[int, Field(ge=1)] | None = None
    axes: dict[str, Axis]
    tried: dict[str, list[str]] = Field(min_length=1)

    @model_validator(mode="after")
    def _budgets_are_equal(self) -> Self:
        names = [parse_regime(regime).name for regime in self.tried]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is tuned twice; say once which of its options are fixed")
        for regime, texts in self.tried.items():
            if len(texts) != self.configs:
                raise ValueError(f"{regime} has {len(texts)} configurations, and every regime {self.configs}")
            if len(set(texts)) < len(texts):
                raise ValueError(f"{regime} has a configuration twice")
        if strange := set(self.axes) - set(AXES):
            raise ValueError(f"{shown(min(strange))} is no option that is tuned")
        return self

    @property
    def regimes(self) -> list[str]:
        """All configurations, by regime, in their order."""
        return [text for texts in self.tried.values() for text in texts]

    def extend(self, other: "Tuning") -> "Tuning":
        """Give the union with one that only adds regimes, or configurations to every regime.

        Raises:
            StudyError: if anything else differs, or budgets would not be equal.
        """
        for name in ("epochs", "epoch_steps"):
            if (old := getattr(self, name)) != (new := getattr(other, name)):
                raise StudyError(f"it tunes trainings of {name} {old}, now asked for {new}")
        for option in self.axes.keys() & other.axes.keys():
            if (old := self.axes[option]) != (new := other.axes[option]):
                raise StudyError(f"it tunes --{option} {old.words}, now asked for {new.words}")
        tried = dict(self.tried)
        for regime, texts in other.tried.items():
            short, long = sorted((tried.get(regime, []), texts), key=len)
            if short != long[: len(short)]:
                raise StudyError(f"it tunes {regime} by other configurations: {short[0]} and {long[0]} are the first")
            tried[regime] = long
        if unequal := [regime for regime, texts in tried.items() if len(texts) != other.configs]:
            raise StudyError(
                f"{unequal[0]} has {len(tried[unequal[0]])} configurations there, now asked for {other.configs}: every "
                "regime has the same number, so name all of them"
            )
        try:
            axes, length = {**self.axes, **other.axes}, {"epochs": self.epochs, "epoch_steps": self.epoch_steps}
            return Tuning(configs=other.configs, axes=axes, tried=tried, **length)
        except ValueError as error:
            raise StudyError(str(error)) from None


class Tuned(Section):
    """What a comparison has taken from a tuning.

    Args:
        folders: of the tuning.
        results: sha256 of its results.csv.
        configs: configurations that each regime had.
        seeds: with which each was trained; none of them is compared.
        epochs: of each run at most; None where nobody has said.
        axes: see `Tuning`.
        chosen: regime as it was asked for → the configuration that was chosen, as canonical text.
        edges: of those, what lies on an edge of its axis, in words: text → what.
    """

    folders: list[str]
    results: str
    configs: int
    seeds: list[int]
    epochs: int | None = None
    axes: dict[str, Axis]
    chosen: dict[str, str]
    edges: dict[str, list[str]] = Field(default_factory=dict)

    @property
    def told(self) -> str:
        """What every regime was given, and in which space, in words."""
        of = "" if self.epochs is None else f" × {self.epochs} epochs"
        axes = ", ".join(f"{option} {axis.words}" for option, axis in self.axes.items())
        seeds = f"{len(self.seeds)} seeds from {min(self.seeds)} to {max(self.seeds)}"
        return f"best of {self.configs} configurations × {seeds}{of} on validation data, of {axes}"

    def require_same(self, other: "Tuned | None") -> None:
        """See that later runs take the same.

        Raises:
            StudyError: if they do not.
        """
        if other is None:
            raise StudyError(f"it compares what was tuned in {', '.join(self.folders)}: add --tuned")
        changes = {"folders": self.folders}  # it may have been moved
        if self != other.model_copy(update=changes):
            raise StudyError("it compares what another tuning chose, or this one before it was changed")


def edges_of(tuning: Tuning, regime: str, text: str) -> list[str]:
    """Say which options of a configuration lie on the edge of what was tried.

    That is the outermost value that the regime was tried with, and what is within 10 % of the end of the axis, of
    logarithms.

    Args:
        tuning: which.
        regime: as it was asked for.
        text: of the configuration.
    """
    found = []
    options = [parse_regime(one).options for one in tuning.tried[regime]]
    own = parse_regime(text).options
    for option, axis in tuning.axes.items():
        tried = [float(one[option]) for one in options if option in one]
        if option in parse_regime(regime).options or len(set(tried)) < 2:
            continue
        value, near = float(own[option]), (axis.high / axis.low) ** NEAR
        if value <= max(min(tried), axis.low * near):
            found.append(f"{option} = {value:g}, low in {axis.low:g}..{axis.high:g}")
        elif value >= min(max(tried), axis.high / near):
            found.append(f"{option} = {value:g}, high in {axis.low:g}..{axis.high:g}")
    return found
