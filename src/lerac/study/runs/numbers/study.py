"""Numbers that were read from files, put together as a study: its experiments, regimes, seeds and outcomes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lerac.study.errors import StudyError
from lerac.study.metrics import LARGEST, LONGEST, Metric, digits_of, is_short
from lerac.study.plan.study import Study
from lerac.study.runs.numbers.experiment import NumbersExperiment
from lerac.study.runs.numbers.reading import Entry, Measured
from lerac.study.statistics.outcomes import Outcome
from lerac.study.statistics.pairing.student import ROUNDING
from lerac.study.statistics.verdicts import seed_ranges, seeds_text
from lerac.study.statistics.whole_study import choose_baseline

__all__ = ["Judged", "study_of"]

UNNAMED = "value"
MOST_SEEDS = 1000  # of a regime: all pairs of runs are compared, and resampled

Run = tuple[str, str, int]  # experiment, regime, seed


@dataclass(frozen=True)
class Judged:
    """How numbers are to be read; None where it is not said.

    Args:
        metric: name of what they are, or which of several counts.
        goal: `max` or `min`.
        unit: of what is shown.
        scale: from the numbers to what is shown.
    """

    metric: str | None = None
    goal: str | None = None
    unit: str | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        if self.goal not in (None, "max", "min"):
            raise StudyError(f"--goal {self.goal}: max or min was expected")
        if self.scale is not None and not 1 / LARGEST < self.scale < LARGEST:
            raise StudyError(f"--scale {self.scale:g}: a number above 0 was expected, such as 100")
        for option, text in (("--metric", self.metric), ("--unit", self.unit)):
            if text is not None and not is_short(text):
                raise StudyError(f"{option} {text!r}: a short text was expected")


def study_of(measured: Measured, judged: Judged, baseline: str | None) -> tuple[Study, list[Outcome], str]:
    """Put numbers together as a study; it has no folder and is never trained.

    Args:
        measured: what the files say.
        judged: how it is to be read.
        baseline: name of a regime; None: `conventional`.

    Returns:
        The study, an outcome of every run, and the baseline.

    Raises:
        StudyError: naming file and line where one is at fault: a number given twice, a single seed, a run without the
            metric; or if metric or baseline must be said.
    """
    name = _metric(measured.entries, judged.metric)
    default = Path(next(iter(measured.files))).stem[:LONGEST]
    entries = [
        replace(one, experiment=one.experiment or default, metric=one.metric or name) for one in measured.entries
    ]
    others = tuple(dict.fromkeys(one.metric for one in entries if one.metric and one.metric != name))
    runs = _runs(entries, name)
    regimes = list(dict.fromkeys(one.regime for one in entries))
    if (chosen := choose_baseline(regimes, baseline)) is None:
        raise StudyError(f"no regime is called conventional; say by --baseline which of these is: {', '.join(regimes)}")
    values = [one.value for one in entries if one.metric == name and one.state == "done"]
    scale = 1.0 if judged.scale is None else judged.scale
    metric = Metric(name, "min" if judged.goal == "min" else "max", judged.unit or "", scale, others=others)
    metric = replace(metric, digits=digits_of([metric.scale * value for value in values]))
    outcomes = [
        Outcome(experiment, regime, seed, metric, own[0].state, _by_split(own))
        for (experiment, regime, seed), own in runs.items()
    ]
    said = _said(metric, judged, values)
    experiments = [
        NumbersExperiment(
            name=experiment,
            metric=metric,
            warnings=[*said, *_uncommon([key for key in runs if key[0] == experiment], chosen)],
            files=measured.files,
            place=place,
        )
        for place, experiment in enumerate(dict.fromkeys(one.experiment for one in outcomes))
    ]
    study = Study(recipes=experiments, regimes=regimes, seeds=sorted({one.seed for one in outcomes}))
    return study, outcomes, chosen


def _metric(entries: Sequence[Entry], asked: str | None) -> str:
    named = list(dict.fromkeys(one.metric for one in entries if one.metric))
    if asked is None:
        if len(named) > 1:
            raise StudyError(f"say by --metric which of these counts: {', '.join(named)}")
        return named[0] if named else UNNAMED
    if named and asked not in named and all(one.metric for one in entries):
        raise StudyError(f"--metric {asked}: the numbers are of {', '.join(named)}")
    return asked


def _runs(entries: Sequence[Entry], name: str) -> dict[Run, list[Entry]]:
    """Give every run's entries, after looking at what they have in common."""
    runs: dict[Run, list[Entry]] = {}
    for one in entries:
        own = runs.setdefault((str(one.experiment), one.regime, one.seed), [])
        if before := [other for other in own if (other.split, other.metric) == (one.split, one.metric)]:
            raise StudyError(f"{one.where}: {one.regime} seed {one.seed} is already at {before[0].where}")
        if own and own[0].state != one.state:
            raise StudyError(f"{one.where}: {one.regime} seed {one.seed} is {own[0].state} at {own[0].where}")
        own.append(one)
    seeds: dict[tuple[str, str], list[Entry]] = {}
    for (experiment, regime, _), own in runs.items():
        if not any((one.split, one.metric) == ("test", name) for one in own):
            raise StudyError(f"{own[0].where}: {regime} seed {own[0].seed} has no test {name}")
        seeds.setdefault((experiment, regime), []).append(own[0])
    for own in seeds.values():
        if len(own) == 1:
            raise StudyError(
                f"{own[0].where}: {own[0].regime} has a single seed, which does not show how far seeds differ; two "
                "or more were expected"
            )
        if len(own) > MOST_SEEDS:
            raise StudyError(f"{own[MOST_SEEDS].where}: {own[0].regime} has more than {MOST_SEEDS} seeds")
    return runs


def _by_split(entries: Sequence[Entry]) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = {}
    for one in entries:
        values.setdefault(one.split, {})[str(one.metric)] = one.value
    return values


def _said(metric: Metric, judged: Judged, values: Sequence[float]) -> list[str]:
    """Say what was taken for granted."""
    said = ["Runs are paired by their seed, as the file says: nobody has checked what else the runs of a seed share."]
    if judged.goal is None:
        said.append(f"More {metric.name} is taken to be better (--goal max), since nobody has said; else: --goal min.")
    if metric.unit == "%" and judged.scale is None and values and all(0 <= value <= 1 for value in values):
        said.append("All values are between 0 and 1, and shown as they are; if they are shares: --scale 100.")
    if 0 < (apart := max(values, default=0) - min(values, default=0)) < 1000 * ROUNDING:
        said.append(
            f"All values are within {apart:.1g} of each other, and differences below {ROUNDING:g} count as none: give "
            "them in a smaller unit."
        )
    return said


def _uncommon(runs: Sequence[Run], baseline: str) -> list[str]:
    """Say of which seeds differences are, where regimes do not have the baseline's."""
    seeds: dict[str, set[int]] = {}
    for _, regime, seed in runs:
        seeds.setdefault(regime, set()).add(seed)
    base = seeds.get(baseline, set())
    return [
        f"{regime} has seeds {seed_ranges(own)}, {baseline} {seed_ranges(base)}: the difference is of the "
        f"{seeds_text(len(own & base))} that both have."
        for regime, own in seeds.items()
        if base and own != base
    ]
