"""The command line `lerac figure …`: draws figures of the paper again, from runs made here.

What takes long to load is imported by the functions that use it, so that help is there at once.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lerac.commands.options import DataRoot, Device, Json, Recipe, SeedList, Sets, SourceOption, Weights, Workers
from lerac.regimes.text import DEFAULT_REGIMES
from lerac.study.errors import StudyError
from lerac.study.files import check_folder
from lerac.study.recipes.regimes import parse_regime

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lerac.commands.over_time import OverTime

__all__ = ["figure_app"]

figure_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Draw a figure of the paper again, as SVG and PNG, from what runs here.",
)

Out = Annotated[Path, typer.Option(help="Folder of the pictures.")]
Runs = Annotated[
    Path | None,
    typer.Option(
        "--study",
        help="Folder of the runs, which continues or extends (with --all: of such folders, one per recipe); "
        "default: runs/figures/RECIPE.",
    ),
]
OneRecipe = Annotated[
    str | None, typer.Argument(metavar="RECIPE", help="MODEL/DATASET, an alias, or a TOML file; default: digits.")
]
Every = Annotated[
    bool, typer.Option("--all", help="Every recipe whose data is found, a picture each; the others are named.")
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
    from lerac.study.plan.request import request_study

    asked = request_study([recipe], one, [0], overrides, source, "cpu")
    from lerac.study.figures.rates import draw_schedule

    figure, shown = draw_schedule(asked.recipe_runs()[0])
    files = _write(figure, out, "figure-1")
    if not as_json:
        k, steps = shown["k"], shown["steps"]
        equal = f"never equal in {steps} steps" if k is None else f"equal from step {k} of {steps} on"
        print(f"{shown['regime']}: {len(shown['starts'])} layers, {equal}")
    _tell(1, files, shown, as_json=as_json)


@figure_app.command("2")
def convolutions_command(
    draws: Annotated[int, typer.Option(min=1, help="Random filters and noise to average over.")] = 100,
    out: Out = Path("figures"),
    as_json: Json = False,
) -> None:
    """Signal-to-noise ratio of an image under repeated random convolutions. Trains nothing."""
    check_folder(out, "--out")
    from lerac.study.figures.convolutions import draw_convolutions

    figure, shown = draw_convolutions(draws)
    files = _write(figure, out, "figure-2")
    if not as_json:
        for name, measured in shown["constructions"].items():
            print(f"{name}: {_decibels(measured['snr_db'])} dB; fell in {measured['fell']} of {measured['of']} steps")
    _tell(2, files, shown, as_json=as_json)


@figure_app.command("3")
def regimes_command(
    recipe: OneRecipe = None,
    every: Every = False,
    regimes: Annotated[str, typer.Option(help="What to compare, options in brackets.")] = DEFAULT_REGIMES,
    seeds: SeedList = "10",
    overrides: Sets = [],  # noqa: B006
    source: SourceOption = None,
    out: Out = Path("figures"),
    study: Runs = None,
    workers: Workers = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Validation metric of the regimes against epochs and seconds. Trains what is missing."""
    from lerac.commands.over_time import OverTime
    from lerac.study.plan.request import parse_seeds, set_places

    set_places(data_root, weights)
    wanted = OverTime(3, regimes, parse_seeds(seeds), overrides, source, out, study, workers, device)
    _draw(wanted, recipe, every=every, as_json=as_json)


@figure_app.command("4")
def snr_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="One of ours that has a recipe for the data.")
    ] = "lenet",
    data: Annotated[str, typer.Option(help="The data set.")] = "digits",
    seeds: SeedList = "10",
    images: Annotated[int, typer.Option(min=1, help="How many of the test split.")] = 100,
    overrides: Sets = [],  # noqa: B006
    data_root: DataRoot = None,
    weights: Weights = None,
    out: Out = Path("figures"),
    as_json: Json = False,
) -> None:
    """Signal-to-noise ratio of each layer's features, as `lerac snr` measures it. Trains each run anew."""
    from rich.console import Console

    from lerac.study import snr
    from lerac.study.figures.snr import ratios_figure
    from lerac.study.plan.request import parse_seeds, set_places
    from lerac.study.terminal.snr import print_ratios, snr_json

    check_folder(out, "--out")
    set_places(data_root, weights)
    numbers = parse_seeds(seeds)
    recipe = snr.snr_recipe(model, data, overrides, images)
    say = Console(stderr=True).print
    measured = snr.measure_references(recipe, numbers, images=images, sizes=[0.1, 1.0], say=say)
    files = _write(ratios_figure(measured), out, "figure-4")
    if not as_json:
        print_ratios(Console(), recipe, measured)
    _tell(4, files, snr_json(recipe, numbers, images, measured), as_json=as_json)


@figure_app.command("5")
def update_rules_command(
    recipe: OneRecipe = None,
    every: Every = False,
    regimes: Annotated[str | None, typer.Option(help="Default: conventional and LeRaC by each update rule.")] = None,
    seeds: SeedList = "10",
    overrides: Sets = [],  # noqa: B006
    source: SourceOption = None,
    out: Out = Path("figures"),
    study: Runs = None,
    workers: Workers = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Validation metric under LeRaC's update rules against epochs and seconds. Trains what is missing."""
    from lerac.commands.over_time import OverTime
    from lerac.study.figures.over_time import UPDATE_RULES
    from lerac.study.plan.request import parse_seeds, set_places

    set_places(data_root, weights)
    rules = regimes or UPDATE_RULES
    wanted = OverTime(5, rules, parse_seeds(seeds), overrides, source, out, study, workers, device)
    _draw(wanted, recipe, every=every, as_json=as_json)


def _draw(wanted: "OverTime", recipe: str | None, *, every: bool, as_json: bool) -> None:
    if not every:
        wanted.draw(recipe or "digits", as_json=as_json)
    elif recipe is None:
        wanted.draw_all(as_json=as_json)
    else:
        raise StudyError(f"--all draws every recipe; leave {recipe} out, or --all")


def _write(figure: "Figure", folder: Path, name: str) -> list[Path]:
    from lerac.study.figures.style import write_figures

    return write_figures(figure, folder / name)


def _tell(number: int, files: list[Path], shown: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"figure": number, "files": [str(file) for file in files], **shown}, indent=2))
        return
    for file in files:
        print(f"figure {number}: {file}")


def _decibels(by_depth: list[dict[str, float | None] | None]) -> str:
    return ", ".join("∞" if one is None else f"{one['mean']:.1f}" for one in by_depth)
