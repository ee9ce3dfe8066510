"""Trainings that people bring themselves: their experiments, and runs of them. This imports nothing of theirs."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field

from lerac.study.data.settings import Section
from lerac.study.errors import StudyError
from lerac.study.metrics import Metric
from lerac.study.plan.experiment import KINDS, difference, joined, plan_run, run_folder
from lerac.study.recipes.regimes import parse_regime

__all__ = ["UNNAMED", "FunctionExperiment", "OwnExperiment", "OwnRun"]

UNNAMED = "value"  # what one number is called that nobody has given a name
OURS = ("goal", "metric", "function", "arms")  # names in `settings` that are no settings of the training


class OwnExperiment(Section):
    """What somebody trains in a way of their own.

    Args:
        name: in tables.
        measure: name of the metric; None: whatever the runs measure, if that is one thing.
        goal: whether more or less of it is better.
        unit: of the number that is shown.
        scale: from what is measured to the number that is shown.
        values: that the training is handed, as JSON has them.
        folder: in which it is trained: the working directory of whoever asked.
        code: sha256 of the versions of its source that were used, the one in use last.
        accept: whether another version may go on where one has ended runs; nothing that is kept.
        digits: behind the point, in tables; nothing that is kept.
    """

    name: str = Field(min_length=1)
    measure: str | None = None
    goal: Literal["max", "min"] = "max"
    unit: str = ""
    scale: float = Field(default=1, gt=0)
    values: dict[str, Any] = Field(default_factory=dict)
    folder: str
    code: list[str] = Field(min_length=1)
    accept: bool = Field(default=False, exclude=True)
    digits: int = Field(default=2, ge=0, exclude=True)

    @property
    def slug(self) -> str:
        """The name as a part of file names."""
        return _slug(self.name)

    @property
    def made_by(self) -> str:
        """What its code is of, in words."""
        return "what it is made by"

    @property
    def metric(self) -> Metric:
        """What it is judged by."""
        return Metric(self.measure or UNNAMED, self.goal, self.unit, self.scale, digits=self.digits)

    @property
    def judged(self) -> dict[str, Any]:
        """The metric as a run has it, whose name is None until it is known."""
        return {"name": self.measure, "goal": self.goal, "unit": self.unit, "scale": self.scale}

    @property
    def published(self) -> Mapping[str, Sequence[float]]:
        """Nothing: nobody else has measured it."""
        return {}

    @property
    def warnings(self) -> Sequence[str]:
        """Nothing is known of it before it is trained."""
        return ()

    def settings(self) -> dict[str, Any]:
        """Give what makes it another experiment, as plain types."""
        values = {f"settings.{key}" if key in OURS else key: value for key, value in self.values.items()}
        return {"goal": self.goal, **({"metric": self.measure} if self.measure else {}), **values}

    def joined(self, new: Self) -> Self:
        """Give one for this one and the same as it is asked for later, whose source may have changed.

        Raises:
            StudyError: if its settings differ, or its source without leave.
        """
        named = new if new.measure or not self.measure else new.model_copy(update={"measure": self.measure})
        before = self if self.measure or not new.measure else self.model_copy(update={"measure": new.measure})
        if found := difference(before, named):
            raise StudyError(f"it has {self.name} with {found}")
        if not (new.accept or set(new.code) <= set(self.code) or set(self.code) <= set(new.code)):
            raise StudyError(
                f"{self.name}: {new.made_by} has changed since runs of it ended (sha256 "
                f"{self.code[-1][:10]}, now {new.code[-1][:10]}); runs of both are no fair comparison. lerac compare "
                "with --code accept has them together in one folder all the same, and the report then says so"
            )
        code = [*(one for one in self.code if one not in new.code), *new.code]
        return named.model_copy(update={"code": code, "accept": False})

    def as_asked(self, new: Self, ended: Collection[str]) -> Self:
        """Give it with the source by which it is asked for later, where no run by another has ended.

        Args:
            new: as it is asked for.
            ended: regimes that have ended runs.
        """
        return self if ended else self.model_copy(update={"code": new.code})


class FunctionExperiment(OwnExperiment):
    """A function `train(trial)`.

    Args:
        kind: of experiment.
        file: in which it is defined, absolute; empty where it has none, as in a notebook.
        function: its name there.
        module: by which its file is imported; None: from the file itself, as a script.
    """

    kind: Literal["function"] = "function"
    file: str
    function: str
    module: str | None = None

    @property
    def made_by(self) -> str:
        """What its code is of, in words."""
        return self.file or "the function"

    def settings(self) -> dict[str, Any]:
        """Give what makes it another experiment, as plain types; of its source, `joined` asks."""
        return {"function": self.function, **super().settings()}


@dataclass(frozen=True)
class OwnRun:
    """One training of somebody's own: who it is, and all that its process must know.

    Args:
        kind: of experiment.
        experiment: its name.
        regime: canonical text, with nothing left open.
        seed: by which it is paired with the other regimes.
        settings: values that the training is handed; the `lr` of a regime among them.
        source: file, function and module of a function; words, results and arm of a command, see `CommandExperiment`.
        code: sha256 of the source that it is to be trained by.
        judged: name (None: as `UNNAMED`), goal, unit and scale of the metric.
        directory: in which it is trained.
        slug: of the experiment.
        device: as torch names it.
        threads: that torch may use on the CPU.
        tuning: whether only what it measures on validation data is kept.
    """

    kind: str
    experiment: str
    regime: str
    seed: int
    settings: dict[str, Any]
    source: dict[str, Any]
    code: str
    judged: dict[str, Any]
    directory: str
    slug: str
    device: str = "cpu"
    threads: int = 1
    tuning: bool = False

    @property
    def metric(self) -> Metric:
        """What it is judged by."""
        return Metric(**{**self.judged, "name": self.judged["name"] or UNNAMED})

    @property
    def epochs(self) -> None:
        """Nobody knows before it tells."""
        return

    @property
    def folder(self) -> str:
        """Where it is kept, relative to the study; neither source nor metric decide it."""
        hashed = {
            "kind": self.kind,
            "name": self.experiment,
            "regime": self.regime,
            "settings": self.settings,
            "device": self.device,
            "threads": self.threads,
            **({"tuning": True} if self.tuning else {}),
        }
        return run_folder(self.slug, _slug(self.regime.partition("(")[0])[:40], hashed, self.seed)

    def __str__(self) -> str:
        return f"{self.experiment} {self.regime} seed {self.seed}"


def _slug(name: str) -> str:
    return re.sub(r"[^\w+-]+", "-", name).strip("-") or "own"


KINDS["function"] = FunctionExperiment.model_validate


@plan_run.register
def _run_function(experiment: FunctionExperiment, study: Any, regime: str, seed: int) -> OwnRun:
    lr = parse_regime(regime).options.get("lr")
    return OwnRun(
        kind=experiment.kind,
        experiment=experiment.name,
        regime=regime,
        seed=seed,
        settings={**experiment.values, **({} if lr is None else {"lr": lr})},
        source={"file": experiment.file, "function": experiment.function, "module": experiment.module},
        code=experiment.code[-1],
        judged=experiment.judged,
        directory=experiment.folder,
        slug=experiment.slug,
        device=study.device,
        threads=study.threads,
        tuning=study.tuning is not None,
    )


@joined.register
def _join_own(old: OwnExperiment, new: Any) -> Any:
    if type(new) is not type(old):
        raise StudyError(f"it has {old.name} with {difference(old, new)}")
    return old.joined(new)
