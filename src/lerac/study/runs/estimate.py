"""How long the rest of a study takes, judged by the epochs it has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from lerac.study.runs.folder import Result

__all__ = ["Estimate"]


@dataclass(frozen=True)
class Estimate:
    """What an epoch takes.

    Args:
        epoch: recipe and regime → mean seconds of the epochs they have, training and validation; recipe and None →
            those of all its regimes.
    """

    epoch: Mapping[tuple[str, str | None], float]

    @classmethod
    def of(cls, results: Iterable[Result]) -> "Estimate":
        """Judge by the histories of runs, ended or not."""
        found: dict[tuple[str, str | None], list[float]] = {}
        for result in results:
            if result.history:
                seconds = result.history[-1]["seconds"] / len(result.history)
                for regime in (result.run.regime, None):
                    found.setdefault((result.run.recipe, regime), []).append(seconds)
        return cls({key: fmean(seconds) for key, seconds in found.items()})

    def left(self, result: Result) -> float | None:
        """Give the seconds that a run still takes if it is not stopped early; None if nothing of its recipe tells."""
        if result.status is not None:
            return 0.0
        recipe = result.run.recipe
        epoch = self.epoch.get((recipe, result.run.regime), self.epoch.get((recipe, None)))
        epochs: int = result.run.settings["training"]["epochs"]
        return None if epoch is None else epoch * (epochs - len(result.history))
