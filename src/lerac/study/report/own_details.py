"""What the page shows of a training of somebody's own: code and settings, what it reported, what `attach` has seen."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from lerac.regimes.effects import smoothing_of
from lerac.regimes.text import parse_regime
from lerac.study.figures.attached import attached_figure
from lerac.study.figures.comparison import SIZE
from lerac.study.figures.rates import sigma_figure
from lerac.study.metrics import Metric
from lerac.study.own.record import Record
from lerac.study.plan.command import CommandExperiment
from lerac.study.plan.own import FunctionExperiment, OwnExperiment
from lerac.study.plan.study import Study
from lerac.study.recipes.sections import flat
from lerac.study.report.details import Curve, Details, details_of
from lerac.study.report.own_commands import written
from lerac.study.statistics.outcomes import Outcome

__all__: list[str] = []

COUNTED = ("epoch", "steps", "seconds")  # of a history, and no curves
Row = tuple[str, Any, str]


@details_of.register
def _of_function(experiment: FunctionExperiment, study: Study, outcomes: Sequence[Outcome]) -> Details:
    file, code = experiment.file, experiment.code[-1]
    where = f"of {file}" if file else "of a notebook"
    hashed = "files that it imports are not hashed, so changes there go unseen" if file else "nothing else is hashed"
    what = file or "source of the function"
    rows = [("function", experiment.function, where), ("folder", experiment.folder, "where it is trained")]
    return _details(
        experiment,
        outcomes,
        origin=f"the function {experiment.function} {where}",
        code=f"Code: {what}, SHA-256 {code[:10]}…; {hashed}.",
        rows=rows,
    )


@details_of.register
def _of_command(experiment: CommandExperiment, study: Study, outcomes: Sequence[Outcome]) -> Details:
    command = written(experiment.words)
    rows = [
        ("command", command, "--command"),
        ("results", experiment.results, "--results"),
        *((f"arm {name}", written(words) or "no words", "--arm") for name, words in experiment.arms.items()),
        ("folder", experiment.folder, "where it is started"),
    ]
    return _details(
        experiment,
        outcomes,
        origin=f"the command {command}",
        code=f"Code: the words of the command and its --results, SHA-256 {experiment.code[-1][:10]}…; files that it "
        "reads, its script among them, are not hashed, so changes there go unseen.",
        rows=rows,
    )


def _details(
    experiment: OwnExperiment, outcomes: Sequence[Outcome], *, origin: str, code: str, rows: Sequence[Row]
) -> Details:
    noted = {
        regime: found for regime in dict.fromkeys(x.regime for x in outcomes) if (found := _seen(outcomes, regime))
    }
    return Details(
        origin=origin,
        code=code,
        judged=f"{experiment.metric.title}: {'less' if experiment.goal == 'min' else 'more'} is better",
        curves=_curves(experiment.metric, outcomes),
        rates=_rates(noted),
        seen=_whose(noted),
        sigma=_sigma(noted),
        settings=[*rows, *_hashes(experiment, outcomes), *_judged(experiment), *_handed(experiment)],
    )


def _curves(metric: Metric, outcomes: Sequence[Outcome]) -> list[Curve]:
    """Give everything that was reported, under its own name, in the order in which it was."""
    names = dict.fromkeys(key for one in outcomes for entry in one.history for key in entry if key not in COUNTED)
    return [
        Curve(name, f"{name}, {metric.unit}" if metric.unit else name, metric.scale)
        if name == metric.name
        else Curve(name, name)
        for name in names
    ]


def _seen(outcomes: Sequence[Outcome], regime: str) -> tuple[int, Record] | None:
    """Give seed and record of the first run of a regime; one that was continued has not been seen from its begin."""
    ended = [(one.seed, one.beside.get("record")) for one in outcomes if one.regime == regime and one.ended]
    known = [(seed, record) for seed, record in ended if record is not None and record.regime == regime]
    whole = [pair for pair in known if not any(one.resumed for one in pair[1].attached)]
    return next(iter(sorted(whole or known, key=lambda pair: pair[0])), None)


def _rates(noted: Mapping[str, tuple[int, Record]]) -> dict[str, Figure]:
    figures = {}
    for regime, (_, record) in noted.items():
        for number, one in enumerate(record.attached, start=1):
            which = f"{regime}, optimizer {number}" if len(record.attached) > 1 else regime
            if (figure := attached_figure(regime, one, SIZE)) is not None:
                figures[which] = figure
    return figures


def _whose(noted: Mapping[str, tuple[int, Record]]) -> str:
    if not noted:
        return ""
    seeds = sorted({seed for seed, _ in noted.values()})
    runs = f"the runs of seed {seeds[0]}" if len(seeds) == 1 else "the first run of each regime that was not continued"
    return f"As attach has seen them in {runs}; where param groups differ, those of the first group."


def _sigma(noted: Mapping[str, tuple[int, Record]]) -> tuple[Figure, Sequence[str]] | None:
    found = {
        regime: smoothing
        for regime, (_, record) in noted.items()
        if (smoothing := smoothing_of(parse_regime(regime), epoch_steps=record.attached[0].epoch_steps))
    }
    steps = max((noted[regime][1].attached[0].steps for regime in found), default=0)
    return (sigma_figure(found, steps), list(found)) if steps else None


def _hashes(experiment: OwnExperiment, outcomes: Sequence[Outcome]) -> Iterator[Row]:
    used = Counter(one.beside.get("code") for one in outcomes)
    for number, code in enumerate(experiment.code):
        runs = f"{used[code]} {'run' if used[code] == 1 else 'runs'} by it"
        yield (
            "SHA-256" if number == 0 else f"SHA-256, version {number + 1}",
            code,
            (f"{runs}, accepted by --code accept" if number else runs),
        )


def _judged(experiment: OwnExperiment) -> Iterator[Row]:
    yield "metric", experiment.measure, "" if experiment.measure else "not known before a run has ended"
    yield "goal", experiment.goal, "max unless --goal says otherwise"
    if experiment.unit:
        yield "unit", experiment.unit, "--unit"
    if experiment.scale != 1:
        yield "scale", f"{experiment.scale:g}", "--scale: what is shown, over what was measured"


def _handed(experiment: OwnExperiment) -> Iterator[Row]:
    for key, value in flat(experiment.values):
        yield f"settings.{key}", value, "--set"
