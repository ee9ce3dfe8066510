"""`lerac tune`: every regime tried with as many configurations, on validation data only.

What takes long to load is imported by the functions that use it, so that help is there at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lerac.commands.options import (
    Arms,
    Code,
    Command,
    Compared,
    DataRoot,
    Device,
    Goal,
    Json,
    Metric,
    Name,
    Precision,
    Results,
    Scale,
    Sets,
    SourceOption,
    Threads,
    Tracker,
    Unit,
    Weights,
    Workers,
)
from lerac.commands.own import OwnOptions, is_own, request_any
from lerac.regimes.text import DEFAULT_REGIMES
from lerac.study.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lerac.study.plan.study import Study
    from lerac.study.report.commands import Where
    from lerac.study.statistics.outcomes import Outcome

__all__ = ["report_tuning", "tune_command"]


def tune_command(
    recipes: Compared = [],  # noqa: B006 - typer's way to say none
    regimes: Annotated[
        str | None,
        typer.Option(
            help="What to tune, each once; an option in brackets is fixed.",
            show_default=f"{DEFAULT_REGIMES}; of your own fewer",
        ),
    ] = None,
    configs: Annotated[int, typer.Option(min=1, help="Configurations of each regime.")] = 12,
    seeds: Annotated[
        str, typer.Option(help="A range (2000-2005) or a list; they cannot be compared with afterwards.")
    ] = "2000-2005",
    lr: Annotated[
        str | None,
        typer.Option(metavar="A..B", help="Learning rates, or a list, or a file; default: √10 around that of WHAT."),
    ] = None,
    k: Annotated[str | None, typer.Option("--k", metavar="A..B", help="Epochs, or % of training: 1%..15%.")] = None,
    ratio: Annotated[str | None, typer.Option(metavar="A..B", help="Of the last layer: 1e-6..1e-1.")] = None,
    sigma: Annotated[str | None, typer.Option(metavar="A..B", help="Of CBS, in pixels: 0.25..1.")] = None,
    every: Annotated[str | None, typer.Option(metavar="A..B", help="Of CBS, epochs or %: 1%..10%.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of a function or command, which only itself knows them; for axes in %.")
    ] = None,
    epoch_steps: Annotated[
        int | None, typer.Option(min=1, help="Optimizer steps of its epoch, likewise; keeps k at a step or above.")
    ] = None,
    overrides: Sets = [],  # noqa: B006
    source: SourceOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the tuning; default: runs/WHAT-tuned.")] = None,
    workers: Workers = None,
    engine: Annotated[str, typer.Option(help="Who runs the workers: local or ray.")] = "local",
    device: Device = "cpu",
    precision: Precision = "float32",
    tracker: Tracker = [],  # noqa: B006
    data_root: DataRoot = None,
    weights: Weights = None,
    plan: Annotated[bool, typer.Option("--plan", help="List budget, axes and runs, train nothing.")] = False,
    as_json: Json = False,
    metric: Metric = None,
    goal: Goal = None,
    unit: Unit = None,
    scale: Scale = None,
    name: Name = None,
    threads: Threads = None,
    code: Code = None,
    command: Command = None,
    results: Results = None,
    arms: Arms = [],  # noqa: B006
) -> None:
    """Try every regime with the same number of configurations, and choose by validation data.

    Test data is not looked at. `lerac compare WHAT --tuned DIR` compares what was chosen, by other seeds. The same
    command continues an interrupted tuning; see docs/tuning.md.
    """
    own = OwnOptions(metric, goal, unit, scale, name, threads, code, None, command, results)
    own.refuse_nothing(recipes)
    if arms:
        raise StudyError("--arm: arms cannot be tuned, as nobody knows what their words mean; see lerac.attach")
    from lerac.study.engines import require_engine
    from lerac.study.engines.session import Session
    from lerac.study.own.request import DEFAULT_REGIMES as FEWER
    from lerac.study.plan.request import parse_seeds, require_data, set_places
    from lerac.study.plan.space import BASE, tuning_study
    from lerac.study.report.commands import Where
    from lerac.study.training.launch import refuse_launch

    refuse_launch("lerac tune")
    require_engine(engine)
    set_places(data_root, weights)
    of = (parse_seeds(seeds), overrides, source, device, precision, tracker, own)
    asked = request_any(recipes, BASE, *of, here=engine == "local")
    usual = FEWER if is_own(recipes, own) else DEFAULT_REGIMES
    words = {"lr": lr, "k": k, "ratio": ratio, "sigma": sigma, "every": every}
    asked = tuning_study(asked, regimes or usual, configs, words, epochs, epoch_steps)
    session = Session(out or Path("runs") / f"{asked.experiments[0].slug}-tuned", asked, engine=engine)
    study = session.study()
    if plan:
        _print_plan(session.folder, study, workers, as_json=as_json)
        return
    require_data(asked)
    with session.claimed() as study:
        _say_budget(study)
        failures = session.train(study.runs(), workers)
        study = session.settled()
        outcomes = session.write_tables(study)
        report_tuning(Where([session.folder], session.folder, engine), study, outcomes, as_json=as_json)
    if failures:
        raise typer.Exit(1)


def report_tuning(where: "Where", study: "Study", outcomes: "Sequence[Outcome]", *, as_json: bool) -> None:
    """Write tables and page of a tuning, and print what it has chosen."""
    from lerac.study.files import make_folder
    from lerac.study.report.tuning import tell_tuning
    from lerac.study.runs.folder import write_tables
    from lerac.study.runs.tuning import of_study

    make_folder(where.out)
    write_tables(where.out, outcomes)
    tell_tuning(where, of_study(where.folders, study, outcomes)).show(as_json=as_json)


def _say_budget(study: "Study") -> None:
    from rich.console import Console

    from lerac.study.terminal.tuning import print_budget

    print_budget(Console(stderr=True), study)


def _print_plan(folder: Path, study: "Study", workers: int | None, *, as_json: bool) -> None:
    from rich.console import Console

    from lerac.study.runs.estimate import Pace
    from lerac.study.runs.outcomes import collect
    from lerac.study.terminal.tuning import print_tuning_plan

    outcomes = collect(folder, study.runs())
    print_tuning_plan(Console(), study, outcomes, Pace.of(outcomes), workers, as_json=as_json)
