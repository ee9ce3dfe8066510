"""A second kind of experiment: a function of regime and seed that returns numbers. No data set, network or recipe."""

import math
import random
from dataclasses import dataclass
from typing import Any, Literal

from lerac.study.data.settings import Section
from lerac.study.metrics import Metric
from lerac.study.plan.experiment import KINDS, plan_run, run_folder
from lerac.study.plan.study import Study
from lerac.study.runs.run import RunFolder, train

SCORE = Metric("score", "max", digits=3)


def play(regime: str, seed: int, settings: dict[str, Any]) -> float:
    """Return a number, as a training does; one regime may fail, one may diverge."""
    if regime == "failing" and seed == 1:
        raise ValueError("a fault of mine")
    if regime == "diverging" and seed == 0:
        return math.nan
    return random.Random(seed).random() + settings["gain"] * (regime != "conventional")


class Plain(Section):
    kind: Literal["plain"] = "plain"
    name: str
    gain: float

    slug = property(lambda self: self.name.replace(":", "-"))
    metric = property(lambda self: SCORE)
    published = property(lambda self: {})
    warnings = property(lambda self: [])

    def settings(self) -> dict[str, Any]:
        return {"gain": self.gain}


@dataclass(frozen=True)
class PlainRun:
    experiment: str
    regime: str
    seed: int
    settings: dict[str, Any]
    folder: str
    device: str = "cpu"
    threads: int = 1

    metric = SCORE
    epochs = None

    def __str__(self) -> str:
        return f"{self.experiment} {self.regime} seed {self.seed}"


KINDS["plain"] = Plain.model_validate


@plan_run.register
def _(experiment: Plain, study: Study, regime: str, seed: int) -> PlainRun:
    settings = experiment.settings()
    folder = run_folder(experiment.slug, regime, {"name": experiment.name, "regime": regime, **settings}, seed)
    return PlainRun(experiment.name, regime, seed, settings, folder, study.device, study.threads)


@train.register
def _(run: PlainRun, files: RunFolder) -> None:
    value = play(run.regime, run.seed, run.settings)
    if math.isnan(value):
        files.write_status({"state": "diverged"})
    else:
        files.write_status({"state": "done", "test": {"score": value, "beside": 1.0}, "seconds": 0.5})
