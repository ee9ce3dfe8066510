"""What a study consists of: recipes × regimes × seeds, and the complete configuration of every run."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_serializer

from lerac.regimes.effects import Curriculum, Smoothing
from lerac.regimes.text import Regime
from lerac.study.data.settings import Section
from lerac.study.data.tasks import metric_of
from lerac.study.errors import StudyError, fault, shown
from lerac.study.metrics import Metric
from lerac.study.plan import command as _command  # noqa: F401 - a kind of experiment, as functions are
from lerac.study.plan.curriculum import resolve, smooth
from lerac.study.plan.experiment import KINDS, Experiment, PlannedRun, difference, joined, plan_run, run_folder
from lerac.study.plan.precision import MIXED
from lerac.study.plan.tuning import Tuned, Tuning
from lerac.study.recipes.naming import slug_of
from lerac.study.recipes.recipe import Recipe
from lerac.study.recipes.regimes import parse_regime

__all__ = ["Run", "Study"]


@dataclass(frozen=True)
class Run:
    """One training: everything that can change its result.

    Args:
        recipe: MODEL/DATASET.
        regime: canonical text.
        settings: values of the recipe that matter to this regime, as plain types.
        curriculum: None if the regime leaves the learning rates alone.
        smoothing: None without Curriculum by Smoothing.
        seed: decides split, noise, initial weights and data order.
        device: as torch names it.
        precision: of the arithmetic: a key of `lerac.study.plan.precision.MIXED`.
        threads: that torch may use on the CPU.
        processes: that train it together by data parallelism. They round otherwise than one, have batch statistics of
            their own parts and dropout of their own, so their number belongs to the configuration.
        tuning: whether it is measured on validation data only, never on test data.
        where: folder that the paths of somebody's own network are relative to; changes no result.
    """

    recipe: str
    regime: str
    settings: dict[str, Any]
    curriculum: Curriculum | None
    smoothing: Smoothing | None
    seed: int
    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1
    processes: int = 1
    tuning: bool = False
    where: str = ""

    def configuration(self) -> dict[str, Any]:
        """Give all that can change the result but the seed, as plain types; what is as usual is not mentioned.

        The text of the regime cannot: `lerac` and `lerac(k=3)` are one training where the recipe's k is 3.
        """
        fields = asdict(self)
        del fields["seed"], fields["regime"], fields["where"]
        if self.processes == 1:
            del fields["processes"]
        if not self.tuning:
            del fields["tuning"]
        return fields

    @property
    def folder(self) -> str:
        """Where the run is kept, relative to the study: runs/<slug>-<hash>/<seed>; equal trainings share it."""
        regime = parse_regime(self.regime).name
        return run_folder(slug_of(self.recipe), regime, self.configuration(), self.seed)

    @property
    def experiment(self) -> str:
        """What it is a run of."""
        return self.recipe

    @property
    def metric(self) -> Metric:
        """What it is judged by."""
        return metric_of(self.settings["dataset"])

    @property
    def epochs(self) -> int:
        """How many it has at most."""
        return int(self.settings["training"]["epochs"])

    @property
    def recorded(self) -> tuple[str, ...]:
        """Names of the numbers that every entry of its history has."""
        return ("steps", "seconds", "train_loss", *(f"validation_{name}" for name in self.metric.measured))

    def __str__(self) -> str:
        return f"{self.experiment} {self.regime} seed {self.seed}"


def _read_experiment(value: Any) -> Any:
    """Make an experiment of what `study.json` says of it: a recipe, or one of another kind, which names it."""
    if isinstance(value, BaseModel) and hasattr(value, "settings"):
        return value
    if not isinstance(value, dict):  # pydantic takes a TypeError for a fault of ours
        raise ValueError(f"a recipe was expected, or an experiment of another kind, got {shown(value)}")  # noqa: TRY004
    if (kind := value.get("kind")) is None:
        return Recipe.model_validate(value)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{shown(kind)} is no kind of experiment that is known here")
    return KINDS[kind](value)


class Study(Section):
    """What was asked for; `study.json` is this as JSON.

    Args:
        recipes: that are trained, or experiments of other kinds, see `lerac.study.plan.experiment`.
        regimes: by which each is trained, as canonical text.
        seeds: with which each is trained.
        device: where, as torch names it.
        precision: of the arithmetic.
        threads: that each run may use on the CPU.
        processes: that train a run together.
        files: the word by which each recipe was asked for, if that is not its name: a file, for example.
        tuning: what is tried, if that is what it is for; its regimes are then the configurations.
        tuned: what was taken from a tuning, if its regimes were.

    Raises:
        ValidationError: if a field is missing, unknown or of the wrong type.
    """

    version: Literal[1] = 1
    recipes: list[Annotated[Any, BeforeValidator(_read_experiment)]]
    regimes: list[str]
    seeds: list[Annotated[int, Field(ge=0, lt=10**9)]]
    device: str = "cpu"
    precision: str = "float32"
    threads: Annotated[int, Field(ge=1, le=4096)] = 1
    processes: Annotated[int, Field(ge=1, le=4096)] = 1
    files: dict[str, str] = Field(default_factory=dict)
    tuning: Tuning | None = None
    tuned: Tuned | None = None

    @model_serializer(mode="wrap")
    def _without_nothing(self, write: Callable[["Study"], dict[str, Any]]) -> dict[str, Any]:
        """Write what there is: studies that have to do with no tuning do not mention it."""
        return {key: value for key, value in write(self).items() if value is not None}

    @property
    def metrics(self) -> list[Metric]:
        """What its experiments are judged by, each once."""
        return list(dict.fromkeys(experiment.metric for experiment in self.experiments))

    @property
    def experiments(self) -> Sequence[Experiment]:
        """What is trained: its recipes, and experiments of other kinds."""
        return self.recipes

    def runs(self) -> list[PlannedRun]:
        """List every run: by experiment, then seed, then regime, so that regimes can be compared early.

        Raises:
            StudyError: if a regime cannot be trained, or its curriculum outlasts training.
        """
        return [
            plan_run(experiment, self, regime, seed)
            for experiment in self.experiments
            for seed in self.seeds
            for regime in self.regimes
        ]

    def recipe_runs(self) -> list[Run]:
        """List the runs of recipes; errors as for `runs`."""
        return [run for run in self.runs() if isinstance(run, Run)]

    def run(self, recipe: Recipe, regime: Regime, seed: int) -> Run:
        """Give the configuration of one run of a recipe; errors as for `runs`."""
        if (lr := regime.options.get("lr")) is not None:
            recipe = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"lr": lr})})
        settings = recipe.settings()
        for section in ("warmup", "lerac", "cbs"):  # defaults of regimes, resolved here
            settings.pop(section, None)
        return Run(
            recipe=recipe.name,
            regime=str(regime),
            settings=settings,
            curriculum=resolve(regime, recipe),
            smoothing=smooth(regime, recipe),
            seed=seed,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            processes=self.processes,
            tuning=self.tuning is not None,
            where=recipe.where or "",
        )

    def extend(self, other: "Study") -> "Study":
        """Give the union with a study that only adds experiments, regimes or seeds.

        Raises:
            StudyError: if anything else differs; the message names it with both values.
        """
        for name in ("version", "device", "precision", "threads", "processes"):
            if (old := getattr(self, name)) != (new := getattr(other, name)):
                raise StudyError(f"it has {name} {old}, now asked for {new}")
        together = {experiment.name: experiment for experiment in self.experiments}
        for experiment in other.experiments:
            known = together.get(experiment.name)
            together[experiment.name] = experiment if known is None else joined(known, experiment)
        tuning = self._extended_tuning(other)
        return self.model_copy(
            update={
                "recipes": list(together.values()),
                "regimes": tuning.regimes if tuning else list(dict.fromkeys(self.regimes + other.regimes)),
                "seeds": sorted({*self.seeds, *other.seeds}),
                "files": {**other.files, **self.files},
                "tuning": tuning,
            }
        )

    def _extended_tuning(self, other: "Study") -> Tuning | None:
        if (self.tuning is None) != (other.tuning is None):
            was, now = ("compare", "tune") if self.tuning is None else ("tune", "compare")
            raise StudyError(f"it is one of lerac {was}, now asked for by lerac {now}")
        if self.tuned is None and other.tuned is not None:
            raise StudyError("it compares regimes that were not tuned, now asked for --tuned")
        if self.tuned is not None:
            self.tuned.require_same(other.tuned)
        return self.tuning.extend(other.tuning) if self.tuning and other.tuning else None

    @classmethod
    def from_json(cls, text: str) -> "Study":
        """Read `study.json`.

        Raises:
            StudyError: if the text is no study of this version of the format.
        """
        try:
            study = cls.model_validate_json(text)
            study._check()
        except ValidationError as error:
            raise StudyError(f"study.json cannot be read: {fault(error)}") from None
        except StudyError as error:
            raise StudyError(f"study.json cannot be read: {error}") from None
        return study

    def _check(self) -> None:
        """Refuse what no command writes: nothing to train, anything twice, and what cannot be trained."""
        names = [experiment.name for experiment in self.experiments]
        for key, values in (("recipes", names), ("regimes", self.regimes), ("seeds", self.seeds)):
            if not values:
                raise StudyError(f"{key} is empty, at least one was expected")
            if len(set(values)) < len(values):
                raise StudyError(f"{key} names one twice, got {shown(values)}")
        for regime in self.regimes if any(isinstance(one, Recipe) for one in self.experiments) else ():
            if (written := str(parse_regime(regime))) != regime:
                raise StudyError(f"regimes: write {written} for {shown(regime)}")
        if self.tuning is not None and self.tuning.regimes != self.regimes:
            raise StudyError("regimes and tuning.tried name different configurations")
        if self.precision not in MIXED:
            raise StudyError(f"precision must be one of {', '.join(MIXED)}, got {shown(self.precision)}")
        self.model_copy(update={"seeds": self.seeds[:1]}).runs()  # every regime fits every experiment, or this raises


@plan_run.register
def _run_recipe(recipe: Recipe, study: Study, regime: str, seed: int) -> PlannedRun:
    return study.run(recipe, parse_regime(regime), seed)


@joined.register
def _join_recipes(old: Recipe, new: Any) -> Any:
    if found := difference(old, new):
        raise StudyError(f"it has {old.name} with {found}")
    return old.model_copy(update={"where": new.where})  # it may have been moved
