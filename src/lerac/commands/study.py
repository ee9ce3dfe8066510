"""The commands that train and report: `lerac compare`, `lerac train`, `lerac report`.

What takes long to load is imported by the functions that use it, so that help is there at once.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lerac.commands.numbers import are_files, read_numbers
from lerac.commands.options import (
    Baseline,
    Claims,
    DataRoot,
    Device,
    Goal,
    Json,
    Metric,
    Power,
    Precision,
    Recipe,
    Recipes,
    Scale,
    SeedList,
    Sets,
    SourceOption,
    Tracker,
    Unit,
    Weights,
    Workers,
)
from lerac.regimes.text import DEFAULT_REGIMES
from lerac.study.errors import StudyError
from lerac.study.recipes.regimes import parse_regime

if TYPE_CHECKING:
    from lerac.study.engines.session import Session
    from lerac.study.plan.study import Run, Study
    from lerac.study.report.commands import Where
    from lerac.study.statistics.outcomes import Outcome
    from lerac.study.statistics.question import Question

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
    power: Power = 0.8,
    plan: Annotated[bool, typer.Option("--plan", help="Print the runs, train nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Changes nothing: a study always continues.")] = False,
    as_json: Json = False,
) -> None:
    """Train every regime × seed, and report the differences.

    The same command continues an interrupted study, and a longer list of regimes, seeds or recipes extends it.
    """
    from lerac.study.engines import require_engine
    from lerac.study.engines.session import Session
    from lerac.study.plan.request import default_out, parse_seeds, request_study, require_data, set_places
    from lerac.study.report.commands import Where
    from lerac.study.training.launch import refuse_launch

    refuse_launch("lerac compare")
    require_engine(engine)
    set_places(data_root, weights)
    _track(tracker)
    asked = request_study(
        recipes, regimes, parse_seeds(seeds), overrides, source, device, precision, here=engine == "local"
    )
    session = Session(out or default_out(asked), asked, engine=engine)
    study = session.study()
    question = _question(study, baseline, claims, power)
    if plan:
        _print_plan(session.folder, study, _side_by_side(workers, engine, device), as_json=as_json)
        return
    require_data(asked)
    with session.claimed() as study:
        failures = session.train(study.runs(), workers)
        outcomes = session.write_tables(study)
        where = Where([session.folder], session.folder, engine)
        _tell(where, study, outcomes, question, as_json=as_json)
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
    from lerac.study.engines.session import Session
    from lerac.study.plan.request import request_study, require_data, set_places
    from lerac.study.runs.run import RunFolder
    from lerac.study.training.launch import is_main, launched_processes

    processes = launched_processes()
    set_places(data_root, weights)
    _track(tracker)
    asked = request_study(
        [recipe], str(parse_regime(regime)), [seed], overrides, source, device, precision, processes=processes
    )
    require_data(asked)
    session, [run] = Session(out, asked), asked.recipe_runs()
    session.study()
    if not is_main():
        _train_together(session, run)
        return
    with session.claimed(patience=A_MOMENT):
        pass
    # Other runs may be trained in the same study meanwhile.
    failures = session.train([run], workers=1) if processes == 1 else _train_together(session, run)
    with session.claimed(patience=A_MOMENT) as study:
        session.write_tables(study)
    if failures:
        raise typer.Exit(1)
    print(json.dumps(RunFolder(out, run).status(), indent=2))


def report_command(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR…", help="Folders of studies, or CSV files of numbers from elsewhere; several are merged."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Where report.html goes; default: the first folder.")] = None,
    baseline: Baseline = None,
    claims: Claims = [],  # noqa: B006
    power: Power = 0.8,
    as_json: Json = False,
    metric: Metric = None,
    goal: Goal = None,
    unit: Unit = None,
    scale: Scale = None,
) -> None:
    """Make the report again, of one folder or of several together; or one of numbers from elsewhere.

    Such numbers are a CSV file with the columns regime, seed and value; see docs/statistics.md for others.
    """
    judged = {"metric": metric, "goal": goal, "unit": unit, "scale": scale}
    if are_files(folders):
        where, study, outcomes, question = read_numbers(folders, out, judged, baseline, claims, power)
        _tell(where, study, outcomes, question, as_json=as_json)
        return
    if given := [name for name, value in judged.items() if value is not None]:
        raise StudyError(f"--{given[0]} is of numbers in CSV files; a study says itself what it measures")
    from lerac.study.files import make_folder
    from lerac.study.report.commands import Where
    from lerac.study.runs.folder import write_tables
    from lerac.study.runs.merging import merge

    study, outcomes = merge(folders)
    question = _question(study, baseline, claims, power)
    where = Where(folders, out or folders[0])
    make_folder(where.out)
    write_tables(where.out, outcomes)
    _tell(where, study, outcomes, question, as_json=as_json)


def _question(study: "Study", baseline: str | None, claims: list[str], power: float) -> "Question":
    from lerac.study.statistics.question import request_question

    asked = None if baseline is None else str(parse_regime(baseline))
    return request_question(study.regimes, study.metrics, asked, claims, power)


def _print_plan(folder: Path, study: "Study", side_by_side: int | None, *, as_json: bool) -> None:
    from rich.console import Console

    from lerac.study.runs.estimate import Pace
    from lerac.study.runs.outcomes import collect
    from lerac.study.terminal.study import print_plan

    outcomes = collect(folder, study.runs())
    print_plan(Console(), outcomes, Pace.of(outcomes), side_by_side, as_json=as_json)


def _side_by_side(workers: int | None, engine: str, device: str) -> int | None:
    """Count the runs that would be trained at a time; None if nobody knows before the cluster is asked."""
    from lerac.study.engines.machine import side_by_side

    return workers or (side_by_side(device) if engine == "local" else None)


def _train_together(session: "Session", run: "Run") -> int:
    from lerac.study.engines.together import train_together

    return train_together(session.folder, run)


def _track(names: list[str]) -> None:
    if not names and not os.environ.get("LERAC_TRACKERS"):
        return
    from lerac.study.training.trackers import set_trackers

    set_trackers(names)


def _tell(where: "Where", study: "Study", outcomes: "list[Outcome]", question: "Question", *, as_json: bool) -> None:
    """Compute the statistics, once for all; write page and tables; print."""
    from rich.console import Console

    from lerac.study.report.page import write_report
    from lerac.study.report.tables import write_summary
    from lerac.study.runs.comparison import compare
    from lerac.study.statistics.whole_study import analyse
    from lerac.study.terminal.study import print_study, study_json

    analysis = analyse(
        outcomes, baseline=question.baseline, claims=question.claims, power=question.power, folders=where.folders
    )
    comparisons, page = compare(study, outcomes, analysis), where.out / "report.html"
    write_report(page, study, comparisons, analysis, where)
    write_summary(where.out, comparisons)
    if as_json:
        print(json.dumps({"report": str(page), **study_json(comparisons, analysis)}, indent=2))
        return
    console = Console()
    print_study(console, comparisons, analysis)
    console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
