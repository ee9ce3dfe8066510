"""The commands that train and report: `lerac compare`, `lerac train`, `lerac report`."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lerac.commands.options import (
    Baseline,
    Claims,
    DataRoot,
    Device,
    Json,
    Power,
    Precision,
    Recipe,
    Recipes,
    SeedList,
    Sets,
    SourceOption,
    Tracker,
    Weights,
    Workers,
)
from lerac.study.engines import require_engine
from lerac.study.engines.machine import side_by_side
from lerac.study.lock import claim
from lerac.study.plan.experiment import PlannedRun
from lerac.study.plan.request import (
    default_out,
    parse_seeds,
    request_study,
    require_data,
    set_places,
)
from lerac.study.plan.study import Run, Study
from lerac.study.recipes.regimes import DEFAULT_REGIMES, parse_regime
from lerac.study.runs.comparison import compare
from lerac.study.runs.estimate import Pace
from lerac.study.runs.folder import extend_study, write_study, write_tables
from lerac.study.runs.merging import merge
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder
from lerac.study.statistics.outcomes import Outcome
from lerac.study.statistics.question import Question, request_question
from lerac.study.statistics.seeds_needed import POWER
from lerac.study.statistics.whole_study import analyse
from lerac.study.terminal.study import print_plan, print_study, study_json
from lerac.study.training.launch import is_main, launched_processes, refuse_launch

__all__ = ["compare_command", "report_command", "train_command"]

A_MOMENT = 10.0  # seconds that another process may need to write the tables of a study


def compare_command(
    recipes: Recipes,
    regimes: Annotated[str, typer.Option(help="What to compare, options in brackets.")] = DEFAULT_REGIMES,
    seeds: SeedList = "5",
    overrides: Sets = [],  # noqa: B006 - typer's way to say none
    source: SourceOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the study; default: runs/RECIPE.")] = None,
    workers: Workers = None,
    engine: Annotated[str, typer.Option(help="Who runs the workers: local or ray.")] = "local",
    device: Device = "cpu",
    precision: Precision = "float32",
    tracker: Tracker = [],  # noqa: B006
    data_root: DataRoot = None,
    weights: Weights = None,
    baseline: Baseline = None,
    claims: Claims = [],  # noqa: B006
    power: Power = POWER,
    plan: Annotated[bool, typer.Option("--plan", help="Print the runs, train nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Changes nothing: a study always continues.")] = False,
    as_json: Json = False,
) -> None:
    """Train every regime × seed, and report the differences.

    The same command continues an interrupted study, and a longer list of regimes, seeds or recipes extends it.
    """
    refuse_launch("lerac compare")
    require_engine(engine)
    set_places(data_root, weights)
    _track(tracker)
    asked = request_study(
        recipes, regimes, parse_seeds(seeds), overrides, source, device, precision, here=engine == "local"
    )
    folder = out or default_out(asked)
    study = extend_study(folder, asked)
    question = _question(study, baseline, claims, power)
    if plan:
        outcomes = collect(folder, study.runs())
        print_plan(Console(), outcomes, Pace.of(outcomes), _side_by_side(workers, engine, device), as_json=as_json)
        return
    require_data(asked)
    with claim(folder):
        study = extend_study(folder, asked)  # again: it may have been extended meanwhile
        write_study(folder, study)
        failures = _train(folder, study.runs(), workers, engine)
        outcomes = collect(folder, study.runs())
        write_tables(folder, outcomes)
        _tell(folder, study, outcomes, question, [folder], as_json=as_json)
    if failures:
        raise typer.Exit(1)


def train_command(
    recipe: Recipe,
    regime: Annotated[str, typer.Option(help="One regime, options in brackets.")],
    seed: Annotated[int, typer.Option(min=0, help="Decides split, noise, weights and order.")],
    out: Annotated[Path, typer.Option(help="Folder of the study, which this run joins.")],
    overrides: Sets = [],  # noqa: B006
    source: SourceOption = None,
    device: Device = "cpu",
    precision: Precision = "float32",
    tracker: Tracker = [],  # noqa: B006
    data_root: DataRoot = None,
    weights: Weights = None,
) -> None:
    """Train one run, in the same folder layout as `compare`.

    Started by `accelerate launch` or torchrun, several processes train it together, each its part of every batch.
    """
    processes = launched_processes()
    set_places(data_root, weights)
    _track(tracker)
    asked = request_study(
        [recipe], str(parse_regime(regime)), [seed], overrides, source, device, precision, processes=processes
    )
    require_data(asked)
    extend_study(out, asked)
    [run] = asked.recipe_runs()
    if not is_main():
        _train_together(out, run)
        return
    with claim(out, patience=A_MOMENT):
        write_study(out, extend_study(out, asked))
    # Other runs may be trained in the same study meanwhile.
    failures = _train(out, [run], workers=1) if processes == 1 else _train_together(out, run)
    with claim(out, patience=A_MOMENT):
        write_tables(out, collect(out, extend_study(out, asked).runs()))
    if failures:
        raise typer.Exit(1)
    Console().print(json.dumps(RunFolder(out, run).status(), indent=2), markup=False, highlight=False)


def report_command(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Folders of studies; several are merged.")],
    out: Annotated[Path | None, typer.Option(help="Where report.html goes; default: the first folder.")] = None,
    baseline: Baseline = None,
    claims: Claims = [],  # noqa: B006
    power: Power = POWER,
    as_json: Json = False,
) -> None:
    """Make the report again, of one folder or of several together."""
    study, outcomes = merge(folders)
    question = _question(study, baseline, claims, power)
    write_tables(out or folders[0], outcomes)
    _tell(out or folders[0], study, outcomes, question, folders, as_json=as_json)


def _question(study: Study, baseline: str | None, claims: list[str], power: float) -> Question:
    asked = None if baseline is None else str(parse_regime(baseline))
    return request_question(study.regimes, study.metrics, asked, claims, power)


def _train(folder: Path, runs: Sequence[PlannedRun], workers: int | None, engine: str = "local") -> int:
    from lerac.study.engines.progress import train_shown  # here, because it takes longer to load than `--help` should

    return train_shown(folder, runs, workers, engine)


def _side_by_side(workers: int | None, engine: str, device: str) -> int | None:
    """Count the runs that would be trained at a time; None if nobody knows before the cluster is asked."""
    return workers or (side_by_side(device) if engine == "local" else None)


def _train_together(folder: Path, run: Run) -> int:
    from lerac.study.engines.together import train_together

    return train_together(folder, run)


def _track(names: list[str]) -> None:
    if not names and not os.environ.get("LERAC_TRACKERS"):
        return
    from lerac.study.training.trackers import set_trackers  # here, because it takes long to load

    set_trackers(names)


def _tell(
    out: Path, study: Study, outcomes: list[Outcome], question: Question, folders: list[Path], *, as_json: bool
) -> None:
    """Compute the statistics, once for all; write page and tables; print."""
    from lerac.study.report.page import write_report
    from lerac.study.report.tables import write_summary

    analysis = analyse(
        outcomes, baseline=question.baseline, claims=question.claims, power=question.power, folders=folders
    )
    comparisons, page = compare(study, outcomes, analysis), out / "report.html"
    write_report(page, study, comparisons, analysis)
    write_summary(out, comparisons)
    if as_json:
        print(json.dumps({"report": str(page), **study_json(comparisons, analysis)}, indent=2))
        return
    console = Console()
    print_study(console, comparisons, analysis)
    console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
