"""The commands that train and report: `lerac compare`, `lerac train`, `lerac report`.

What takes long to load is imported by the functions that use it, so that help is there at once.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lerac.commands.options import (
    Arms,
    Baseline,
    Claims,
    Code,
    Command,
    Compared,
    DataRoot,
    Device,
    Goal,
    Json,
    Metric,
    Name,
    Paired,
    Power,
    Precision,
    Recipe,
    Results,
    Scale,
    SeedList,
    Sets,
    SourceOption,
    Threads,
    Tracker,
    Tuned,
    Unit,
    Weights,
    Workers,
)
from lerac.commands.own import OwnOptions, are_files, read_numbers, request_any
from lerac.commands.tune import report_tuning
from lerac.regimes.text import DEFAULT_REGIMES
from lerac.study.errors import StudyError
from lerac.study.recipes.regimes import parse_regime

if TYPE_CHECKING:
    from lerac.study.engines.session import Session
    from lerac.study.plan.study import Run, Study

__all__ = ["compare_command", "report_command", "train_command"]

A_MOMENT = 10.0  # seconds that another process may need to write the tables of a study


def compare_command(
    recipes: Compared = [],  # noqa: B006 - typer's way to say none
    regimes: Annotated[
        str | None,
        typer.Option(
            help="What to compare, options in brackets, several values in braces.",
            show_default=f"{DEFAULT_REGIMES}; of your own fewer",
        ),
    ] = None,
    seeds: SeedList = "5",
    overrides: Sets = [],  # noqa: B006
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
    metric: Metric = None,
    goal: Goal = None,
    unit: Unit = None,
    scale: Scale = None,
    name: Name = None,
    threads: Threads = None,
    code: Code = None,
    paired: Paired = None,
    command: Command = None,
    results: Results = None,
    arms: Arms = [],  # noqa: B006
    tuned: Tuned = [],  # noqa: B006
) -> None:
    """Train every regime × seed, and report the differences.

    What is compared is recipes, or a training of your own: functions as FILE.py:FUNCTION, or any --command, see
    docs/your-own-training.md. The same command continues an interrupted study, and a longer list of regimes, seeds or
    recipes extends it.
    """
    own = OwnOptions(metric, goal, unit, scale, name, threads, code, paired, command, results, tuple(arms))
    own.refuse_nothing(recipes)
    from lerac.study.engines import require_engine
    from lerac.study.engines.session import Session
    from lerac.study.plan.request import default_out, parse_seeds, require_data, set_places
    from lerac.study.report.commands import Where
    from lerac.study.report.telling import ask, tell
    from lerac.study.runs.tuning import tried
    from lerac.study.training.launch import refuse_launch

    refuse_launch("lerac compare")
    require_engine(engine)
    set_places(data_root, weights)
    of, tuning = (
        (parse_seeds(seeds), overrides, source, device, precision, tracker, own),
        tried(tuned) if tuned else None,
    )
    texts = ",".join(tuning.regimes(regimes)) if tuning else regimes
    asked = request_any(recipes, texts, *of, here=engine == "local")
    asked = tuning.handed_to(asked) if tuning else asked
    session = Session(out or default_out(asked), asked, engine=engine)
    study = session.study()
    ask(study, baseline, claims, power, early=True)
    if plan:
        _print_plan(session.folder, study, _side_by_side(workers, engine, device), as_json=as_json)
        return
    require_data(asked)
    with session.claimed() as study:
        failures = session.train(study.runs(), workers, paired=paired == "require")
        study = session.settled()
        outcomes = session.write_tables(study)
        where = Where([session.folder], session.folder, engine)
        told = tell(where, study, outcomes, ask(study, baseline, claims, power))
    told.show(as_json=as_json)
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
    from lerac.study.report.telling import ask, tell

    judged = {"metric": metric, "goal": goal, "unit": unit, "scale": scale}
    if are_files(folders):
        where, study, outcomes, question = read_numbers(folders, out, judged, baseline, claims, power)
        tell(where, study, outcomes, question).show(as_json=as_json)
        return
    if given := [name for name, value in judged.items() if value is not None]:
        raise StudyError(f"--{given[0]} is of numbers in CSV files; a study says itself what it measures")
    from lerac.study.files import make_folder
    from lerac.study.report.commands import Where
    from lerac.study.runs.folder import write_tables
    from lerac.study.runs.merging import merge

    study, outcomes = merge(folders)
    where = Where(folders, out or folders[0])
    if study.tuning is not None:
        report_tuning(where, study, outcomes, as_json=as_json)
        return
    question = ask(study, baseline, claims, power)
    make_folder(where.out)
    write_tables(where.out, outcomes)
    tell(where, study, outcomes, question).show(as_json=as_json)


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
