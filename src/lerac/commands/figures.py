"""The command line `lerac figure …`: draws figures of the paper again, from runs made here."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from lerac.commands.options import Device, Json, Recipe, SeedList, Sets, SourceOption, Workers
from lerac.study.errors import StudyError
from lerac.study.files import check_folder
from lerac.study.folder import Result, collect, extend_study, write_study, write_tables
from lerac.study.lock import claim
from lerac.study.plan import Study
from lerac.study.regimes import DEFAULT_REGIMES, parse_regime
from lerac.study.requests import parse_seeds, request_study
from lerac.study.terminal import print_summaries, summary_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure_app"]

figure_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Draw a figure of the paper again, as SVG and PNG, from what runs here.",
)

Out = Annotated[Path, typer.Option(help="Folder of the pictures.")]
Runs = Annotated[
    Path | None,
    typer.Option("--study", help="Folder of the runs, which continues or extends; default: runs/figures/RECIPE."),
]


@figure_app.command("1")
def schedule_command(
    recipe: Recipe = "digits",
    regime: Annotated[str, typer.Option(help="One with a curriculum.")] = "lerac(curve=exponential)",
    overrides: Sets = [],  # noqa: B006 - typer's way to say none
    source: SourceOption = None,
    out: Out = Path("figures"),
    as_json: Json = False,
) -> None:
    """Learning rate of each layer over the training (equation 8). Trains nothing."""
    check_folder(out, "--out")
    try:
        one = str(parse_regime(regime))
    except StudyError as error:
        raise StudyError(f"--regime takes one regime, got {regime}: {error}") from None
    asked = request_study([recipe], one, [0], overrides, source, "cpu")
    from lerac.study.paper_figures.schedule import draw_schedule

    figure, shown = draw_schedule(asked.runs()[0])
    files = _write(figure, out, "figure-1")
    if not as_json:
        print(f"{shown['regime']}: {len(shown['starts'])} layers, equal from step {shown['k']} of {shown['steps']} on")
    _tell(1, files, shown, as_json=as_json)


@figure_app.command("2")
def convolutions_command(
    draws: Annotated[int, typer.Option(min=1, help="Random filters and noise to average over.")] = 100,
    out: Out = Path("figures"),
    as_json: Json = False,
) -> None:
    """Signal-to-noise ratio of an image under repeated random convolutions. Trains nothing."""
    check_folder(out, "--out")
    from lerac.study.paper_figures.convolutions import draw_convolutions

    figure, shown = draw_convolutions(draws)
    files = _write(figure, out, "figure-2")
    if not as_json:
        for name, measured in shown["constructions"].items():
            print(f"{name}: {_decibels(measured['snr_db'])} dB; fell in {measured['fell']} of {measured['of']} steps")
    _tell(2, files, shown, as_json=as_json)


@figure_app.command("3")
def regimes_command(
    recipe: Recipe = "digits",
    regimes: Annotated[str, typer.Option(help="What to compare, options in brackets.")] = DEFAULT_REGIMES,
    seeds: SeedList = "10",
    overrides: Sets = [],  # noqa: B006
    source: SourceOption = None,
    out: Out = Path("figures"),
    study: Runs = None,
    workers: Workers = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Validation accuracy of the regimes against epochs and seconds. Trains what is missing."""
    asked = request_study([recipe], regimes, parse_seeds(seeds), overrides, source, device)
    _over_time(3, asked, out, study, workers, as_json=as_json)


@figure_app.command("4")
def snr_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="One of ours that has a recipe for the data.")
    ] = "lenet",
    data: Annotated[str, typer.Option(help="The data set.")] = "digits",
    seeds: SeedList = "10",
    images: Annotated[int, typer.Option(min=1, help="How many of the test split.")] = 100,
    overrides: Sets = [],  # noqa: B006
    out: Out = Path("figures"),
    as_json: Json = False,
) -> None:
    """Signal-to-noise ratio of each layer's features, as `lerac snr` measures it. Trains each run anew."""
    check_folder(out, "--out")
    numbers = parse_seeds(seeds)
    from lerac.study import snr, snr_report

    recipe = snr.snr_recipe(model, data, overrides, images)
    say = Console(stderr=True).print
    measured = snr.measure_references(recipe, numbers, images=images, sizes=[0.1, 1.0], say=say)
    files = _write(snr_report.ratios_figure(measured), out, "figure-4")
    if not as_json:
        snr_report.print_ratios(Console(), recipe, measured)
    _tell(4, files, snr_report.snr_json(recipe, numbers, images, measured), as_json=as_json)


@figure_app.command("5")
def update_rules_command(
    recipe: Recipe = "digits",
    regimes: Annotated[str | None, typer.Option(help="Default: conventional and LeRaC by each update rule.")] = None,
    seeds: SeedList = "10",
    overrides: Sets = [],  # noqa: B006
    source: SourceOption = None,
    out: Out = Path("figures"),
    study: Runs = None,
    workers: Workers = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Validation accuracy under LeRaC's update rules against epochs and seconds. Trains what is missing."""
    from lerac.study.paper_figures.over_time import UPDATE_RULES

    asked = request_study([recipe], regimes or UPDATE_RULES, parse_seeds(seeds), overrides, source, device)
    _over_time(5, asked, out, study, workers, as_json=as_json)


def _over_time(
    number: int, asked: Study, out: Path, folder: Path | None, workers: int | None, *, as_json: bool
) -> None:
    check_folder(out, "--out")
    results = _trained(folder or Path("runs/figures") / asked.recipes[0].slug, asked, workers)
    from lerac.study.paper_figures.over_time import draw_over_time, outcomes

    seeds = len(asked.seeds)
    title = f"{asked.recipes[0].name}, {seeds} {'seed' if seeds == 1 else 'seeds'}"
    files = _write(draw_over_time(results, title), out, f"figure-{number}")
    measured = outcomes(results)
    if not as_json:
        for what, summaries in measured.items():
            in_seconds = what == "time"
            print_summaries(Console(), what, summaries, factor=1 if in_seconds else 100, unit="" if in_seconds else "%")
    shown = {what: [summary_json(summary) for summary in summaries] for what, summaries in measured.items()}
    _tell(number, files, {"recipe": asked.recipes[0].name, **shown}, as_json=as_json)


def _trained(folder: Path, asked: Study, workers: int | None) -> list[Result]:
    """Train what is missing of a study, in a folder that may hold more of it."""
    from lerac.study.progress import train_shown

    extend_study(folder, asked)  # so that a folder with another study is refused before anything is written there
    with claim(folder):
        study = extend_study(folder, asked)
        write_study(folder, study)
        failures = train_shown(folder, asked.runs(), workers)
        write_tables(folder, collect(folder, study.runs()))
    if failures:
        raise typer.Exit(1)
    return collect(folder, asked.runs())


def _write(figure: "Figure", folder: Path, name: str) -> list[Path]:
    from lerac.study.figures import write_figure

    return write_figure(figure, folder / name)


def _tell(number: int, files: list[Path], shown: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"figure": number, "files": [str(file) for file in files], **shown}, indent=2))
        return
    for file in files:
        print(f"figure {number}: {file}")


def _decibels(by_depth: list[dict[str, float | None] | None]) -> str:
    return ", ".join("∞" if one is None else f"{one['mean']:.1f}" for one in by_depth)
