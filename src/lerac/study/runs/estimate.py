"""How long the rest of a study takes, judged by the epochs it has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from lerac.study.statistics.outcomes import Outcome

__all__ = ["Pace"]


@dataclass(frozen=True)
class Pace:
    """What an epoch takes.

    Args:
        epoch: experiment and regime → mean seconds of the epochs they have, training and validation; experiment and
            None → those of all its regimes.
    """

    epoch: Mapping[tuple[str, str | None], float]

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> "Pace":
        """Judge by the histories of runs, ended or not."""
        found: dict[tuple[str, str | None], list[float]] = {}
        for outcome in outcomes:
            if outcome.history and "seconds" in outcome.history[-1]:
                seconds = outcome.history[-1]["seconds"] / len(outcome.history)
                for regime in (outcome.regime, None):
                    found.setdefault((outcome.experiment, regime), []).append(seconds)
        return cls({key: fmean(seconds) for key, seconds in found.items()})

    def left(self, outcome: Outcome) -> float | None:
        """Give the seconds that a run still takes if it is not stopped early; None if nothing of its kind tells."""
        if outcome.ended:
            return 0.0
        experiment, regime = outcome.experiment, outcome.regime
        epoch = self.epoch.get((experiment, regime), self.epoch.get((experiment, None)))
        if epoch is None or outcome.planned is None:
            return None
        return epoch * (outcome.planned - len(outcome.history))
