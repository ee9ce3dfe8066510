"""Numbers that were measured elsewhere, as an experiment that can be compared and shown, and never trained."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lerac.study.data.settings import Section
from lerac.study.metrics import Metric

__all__ = ["NumbersExperiment"]


class NumbersExperiment(Section):
    """What stands in a file of numbers under one name.

    Args:
        kind: of experiment.
        name: in tables.
        metric: that it is judged by.
        warnings: what must be known before its numbers are believed.
        files: name → sha256 of the files that were read.
        place: among the experiments of the files, from 0.
    """

    kind: Literal["numbers"] = "numbers"
    name: str
    metric: Metric
    warnings: Sequence[str] = ()
    files: Mapping[str, str]
    place: int = 0

    @property
    def slug(self) -> str:
        """The name as a part of file names; another for every experiment."""
        return f"{re.sub(r'[^A-Za-z0-9-]+', '-', self.name).strip('-') or 'numbers'}-{self.place}"

    @property
    def published(self) -> Mapping[str, Sequence[float]]:
        """Nothing: nobody else has measured it."""
        return {}

    def settings(self) -> dict[str, Any]:
        """Give all that is known of how it was measured."""
        shown = {"metric": self.metric.name, "goal": self.metric.goal, "scale": self.metric.scale}
        return {**shown, "sha256": dict(self.files)}
