"""What came out of a tuning, and what a comparison takes from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from lerac.study.errors import StudyError
from lerac.study.metrics import Metric
from lerac.study.plan.experiment import joined
from lerac.study.plan.own import OwnExperiment
from lerac.study.plan.study import Study
from lerac.study.plan.tuning import Tuned, Tuning, edges_of
from lerac.study.recipes.recipe import Recipe
from lerac.study.recipes.regimes import parse_regime
from lerac.study.runs.folder import RESULTS, csv_text, result_rows
from lerac.study.runs.merging import merge
from lerac.study.statistics.choosing import best, expected_best
from lerac.study.statistics.outcomes import Outcome
from lerac.study.statistics.summary import Summary, summarise
from lerac.study.statistics.verdicts import seed_ranges

__all__ = ["Choice", "Tried", "of_study", "tried"]


@dataclass(frozen=True)
class Choice:
    """What a regime was tried with, and what is chosen.

    Args:
        regime: as it was asked for.
        configurations: in their order, summarised on the validation split.
        chosen: one of them; None while runs are missing, or if all diverged.
        best_of: expected best of n of them, n = 1 …; empty while runs are missing, or if all diverged.
        edges: what of the chosen one lies on an edge of its axis, in words.
    """

    regime: str
    configurations: Sequence[Summary]
    chosen: Summary | None
    best_of: Sequence[float]
    edges: Sequence[str]

    @property
    def name(self) -> str:
        """The regime without options."""
        return parse_regime(self.regime).name

    @property
    def missing(self) -> int:
        """Runs that have not ended."""
        return sum(len(one.missing) for one in self.configurations)


@dataclass(frozen=True)
class Tried:
    """A tuning as far as it is.

    Args:
        folders: of it.
        study: that was asked for.
        tuning: what it tries.
        outcomes: of its runs.
        choices: of its regimes.
    """

    folders: Sequence[Path]
    study: Study
    tuning: Tuning
    outcomes: Sequence[Outcome]
    choices: Sequence[Choice]

    @property
    def metric(self) -> Metric:
        """By which is chosen."""
        return self.study.experiments[0].metric

    @property
    def missing(self) -> int:
        """Runs that have not ended."""
        return sum(choice.missing for choice in self.choices)

    @property
    def warnings(self) -> list[str]:
        """What must be known before any choice is believed."""
        found = [
            f"{one.chosen.regime} lies on an edge: {'; '.join(one.edges)}. A better one may lie beyond."
            for one in self.choices
            if one.chosen and one.edges
        ]
        found += [
            f"{one.regime}: every configuration has a run that diverged, so that none is chosen."
            for one in self.choices
            if not one.missing and one.chosen is None
        ]
        told = sorted({one.planned for one in self.outcomes if one.planned} - {self.tuning.epochs})
        if told and self.tuning.epochs:
            listed = ", ".join(map(str, told))
            found.append(f"The axes were made for {self.tuning.epochs} epochs (--epochs), and runs have {listed}.")
        return found

    def require_finished(self) -> None:
        """Refuse to choose from some of the runs.

        Raises:
            StudyError: if runs are missing.
        """
        if self.missing:
            raise StudyError(
                f"--tuned {self.folders[0]}: the tuning is not finished, {self.missing} of {len(self.outcomes)} runs "
                f"have not ended; the same lerac tune … --out {self.folders[0]} continues it, and its report.html has "
                "the whole command"
            )

    def tuned(self) -> Tuned:
        """Give what a comparison takes from it; errors as for `require_finished`."""
        self.require_finished()
        chosen = {one.regime: one.chosen.regime for one in self.choices if one.chosen}
        return Tuned(
            folders=[str(folder.absolute()) for folder in self.folders],
            results=sha256(csv_text(RESULTS, result_rows(self.outcomes)).encode()).hexdigest(),
            configs=self.tuning.configs,
            seeds=self.study.seeds,
            epochs=self.tuning.epochs,
            axes=self.tuning.axes,
            chosen=chosen,
            edges={one.chosen.regime: list(one.edges) for one in self.choices if one.chosen and one.edges},
        )

    def regimes(self, asked: str | None) -> list[str]:
        """Give the chosen configurations of the regimes that are asked for by name, or of all.

        Raises:
            StudyError: if one was not tuned, none of its configurations could be chosen, or runs are missing.
        """
        self.require_finished()
        choices = {one.name: one for one in self.choices}
        names = list(choices) if asked is None else [part.strip() for part in asked.split(",")]
        for name in names:
            if "(" in name or name not in choices:
                raise StudyError(
                    f"--regimes {asked}: with --tuned, names without options choose among what was tuned: "
                    f"{', '.join(choices)}"
                )
            if choices[name].chosen is None:
                raise StudyError(
                    f"{choices[name].regime}: every configuration that was tried has a run that diverged, so that "
                    f"none can be compared; leave it out by --regimes"
                )
        if twice := [name for name in names if names.count(name) > 1]:
            raise StudyError(f"--regimes: {twice[0]} is given twice")
        return [one.chosen.regime for name in names if (one := choices[name]).chosen]

    def handed_to(self, asked: Study) -> Study:
        """Give a comparison of what was chosen.

        Args:
            asked: with the regimes that `regimes` gives.

        Raises:
            StudyError: if runs are missing, or what is asked for is not what was tuned, or by a seed that was used.
        """
        tuned = self.tuned()
        if used := sorted(set(asked.seeds) & set(self.study.seeds)):
            raise StudyError(
                f"--seeds: {seed_ranges(used)} {'was' if len(used) == 1 else 'were'} used for tuning, so that nothing "
                f"would be shown by them; choose others than {seed_ranges(self.study.seeds)}"
            )
        [known] = self.study.experiments
        if [one.name for one in asked.experiments] != [known.name]:
            raise StudyError(
                f"--tuned {self.folders[0]} is of {known.name}, now asked for "
                f"{', '.join(one.name for one in asked.experiments)}: what was chosen for one says nothing of another"
            )
        [now] = asked.experiments
        try:
            together = joined(_at_rate_of(known, now), now)
        except StudyError as error:
            raise StudyError(f"--tuned {self.folders[0]}: what was tuned has changed: {error}") from None
        recipes = [now if isinstance(now, Recipe) else together]  # which knows the source that was tuned
        return asked.model_copy(update={"recipes": recipes, "tuned": tuned})


def tried(folders: Sequence[Path], option: str = "--tuned") -> Tried:
    """Read a tuning, of one folder or of several together.

    Raises:
        StudyError: if there is none.
    """
    study, outcomes = merge(folders)
    return of_study(folders, study, outcomes, option)


def of_study(folders: Sequence[Path], study: Study, outcomes: Sequence[Outcome], option: str = "--tuned") -> Tried:
    """Put together what is known of a tuning; arguments and errors as for `tried`."""
    if study.tuning is None:
        raise StudyError(f"{option} {folders[0]}: that is no tuning; lerac tune makes one")
    metric, choices = study.experiments[0].metric, []
    by_regime: dict[str, dict[int, float | None]] = {text: {} for text in study.regimes}
    for one in outcomes:
        by_regime[one.regime][one.seed] = one.value("validation") if one.ended else None
    for regime, texts in study.tuning.tried.items():
        summaries = summarise({text: by_regime[text] for text in texts}, None)
        whole = not any(one.missing for one in summaries)
        chosen = best(summaries, metric) if whole else None
        edges = edges_of(study.tuning, regime, chosen.regime) if chosen else []
        choices.append(Choice(regime, summaries, chosen, expected_best(summaries, metric), edges))
    return Tried(folders, study, study.tuning, outcomes, choices)


def _at_rate_of(known: Any, now: Any) -> Any:
    """Give what was tuned with the learning rate of what is asked for: each regime has its own anyway."""
    if isinstance(known, Recipe) and isinstance(now, Recipe):
        return known.model_copy(update={"optimizer": known.optimizer.model_copy(update={"lr": now.optimizer.lr})})
    if isinstance(known, OwnExperiment) and isinstance(now, OwnExperiment):
        values = {key: value for key, value in known.values.items() if key != "lr"}
        rate = {"lr": now.values["lr"]} if "lr" in now.values else {}
        return known.model_copy(update={"values": {**values, **rate}, "code": known.code[-1:]})
    return known
