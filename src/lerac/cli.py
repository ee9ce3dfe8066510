"""The command line `lerac …`: reads options, calls `lerac.study`, prints what came out."""

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from lerac.depth import find_layers
from lerac.figure_commands import figure_app
from lerac.layer_table import print_layers
from lerac.layers import named_parameters
from lerac.named_models import KINDS, ModelNameError, named_model
from lerac.study.errors import StudyError
from lerac.study.files import check_folder
from lerac.study.folder import claim, collect, extend_study, write_study, write_tables
from lerac.study.plan import Run, Study
from lerac.study.recipe import Source, load_recipe, recipe_text
from lerac.study.regimes import DEFAULT_REGIMES, parse_regime
from lerac.study.requests import (
    default_out,
    default_workers,
    known_recipes,
    parse_seeds,
    request_study,
    require_available,
    require_data,
    set_places,
)
from lerac.study.terminal import comparison_json, print_comparison, print_plan

if TYPE_CHECKING:
    from lerac.study.report import Comparison

__all__ = ["app", "run"]

SNR_REGIMES = "conventional,warmup,warmup(curve=exponential),lerac"
A_MOMENT = 10.0  # seconds that another process may need to write the tables of a study
INTERRUPTED = 130  # what shells give a process that Ctrl-C ended

app = typer.Typer(
    name="lerac",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    help="Learning Rate Curriculum (LeRaC): compare it with conventional training, on your terms.",
)
recipes_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None, help="List the recipes, or show one.")
app.add_typer(recipes_app, name="recipes")
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check data sets, or make samples of them.")
app.add_typer(data_app, name="data")
app.add_typer(figure_app, name="figure")

Recipes = Annotated[list[str], typer.Argument(metavar="RECIPE…", help="MODEL/DATASET, an alias, or a TOML file.")]
Sets = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a value: training.epochs=10.")]
Device = Annotated[str, typer.Option(help="Where to train, as torch names it: cpu, cuda, cuda:1, mps.")]
Precision = Annotated[str, typer.Option(help="Of the arithmetic.")]
DataName = Annotated[str, typer.Argument(metavar="NAME", help="Of the data set: cifar10, food101, voc …")]
Root = Annotated[Path | None, typer.Option(help="Folder with the data sets' folders; default: LERAC_DATA.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder with the data sets' folders; default: LERAC_DATA.")]
Weights = Annotated[Path | None, typer.Option(help="Folder with published weights; default: LERAC_WEIGHTS.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("compare")
def compare_command(
    recipes: Recipes,
    regimes: Annotated[str, typer.Option(help="What to compare, options in brackets.")] = DEFAULT_REGIMES,
    seeds: Annotated[str, typer.Option(help="A count (5: 0 to 4), a range (100-109, 7-7) or a list (3,4,7).")] = "5",
    overrides: Sets = [],  # noqa: B006 - typer's way to say none
    source: Annotated[Source | None, typer.Option(help="Whose settings; default: what the recipe has.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the study; default: runs/RECIPE.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs side by side; default: all cores.")] = None,
    engine: Annotated[str, typer.Option(help="Who runs the workers: local or ray.")] = "local",
    device: Device = "cpu",
    precision: Precision = "float32",
    data_root: DataRoot = None,
    weights: Weights = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the runs, train nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Changes nothing: a study always continues.")] = False,
    as_json: Json = False,
) -> None:
    """Train every regime × seed, and report the differences.

    The same command continues an interrupted study, and a longer list of regimes, seeds or recipes extends it.
    """
    require_available(engine, precision)
    set_places(data_root, weights)
    asked = request_study(recipes, regimes, parse_seeds(seeds), overrides, source, device)
    folder = out or default_out(asked)
    if plan:
        print_plan(Console(), collect(folder, extend_study(folder, asked).runs()), as_json=as_json)
        return
    require_data(asked)
    extend_study(folder, asked)  # so that a folder with another study is refused before anything is written there
    with claim(folder):
        study = extend_study(folder, asked)
        write_study(folder, study)
        runs = study.runs()
        failures = _train(folder, runs, workers or default_workers())
        _finish(folder, study, as_json=as_json)
    if failures:
        raise typer.Exit(1)


@app.command("train")
def train_command(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="MODEL/DATASET, an alias, or a TOML file.")],
    regime: Annotated[str, typer.Option(help="One regime, options in brackets.")],
    seed: Annotated[int, typer.Option(min=0, help="Decides split, noise, weights and order.")],
    out: Annotated[Path, typer.Option(help="Folder of the study, which this run joins.")],
    overrides: Sets = [],  # noqa: B006
    source: Annotated[Source | None, typer.Option(help="Whose settings; default: what the recipe has.")] = None,
    device: Device = "cpu",
    precision: Precision = "float32",
    data_root: DataRoot = None,
    weights: Weights = None,
) -> None:
    """Train one run, in the same folder layout as `compare`."""
    require_available("local", precision)
    set_places(data_root, weights)
    asked = request_study([recipe], str(parse_regime(regime)), [seed], overrides, source, device)
    require_data(asked)
    extend_study(out, asked)
    [run] = asked.runs()
    with claim(out, patience=A_MOMENT):
        write_study(out, extend_study(out, asked))
    with claim(out / run.folder):  # other runs may be trained in the same study meanwhile
        failures = _train(out, [run], workers=1)
    with claim(out, patience=A_MOMENT):
        write_tables(out, collect(out, extend_study(out, asked).runs()))
    if failures:
        raise typer.Exit(1)
    [result] = collect(out, [run])
    Console().print(json.dumps(result.status, indent=2), markup=False, highlight=False)


@app.command("report")
def report_command(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Folders of studies; several are merged.")],
    out: Annotated[Path | None, typer.Option(help="Where report.html goes; default: the first folder.")] = None,
    as_json: Json = False,
) -> None:
    """Make the report again, of one folder or of several together."""
    from lerac.study.report import compare, merge

    study, results = merge(folders)
    write_tables(out or folders[0], results)
    _tell(out or folders[0], study, compare(study, results), results, as_json=as_json)


@app.command("layers")
def layers_command(
    name: Annotated[str, typer.Argument(metavar="MODEL", help=f"One of ours, {KINDS}.")],
    as_json: Json = False,
) -> None:
    """Show the layers of a network, nearest to the input first, as LeRaC finds them. Nothing is downloaded."""
    found = named_model(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            layers = find_layers(found.model, *found.args, **found.kwargs)
        except (TypeError, ValueError) as error:
            raise ModelNameError(str(error)) from error
    for warning in caught:
        print(f"lerac: {warning.message}", file=sys.stderr)
    if as_json:
        print(json.dumps({"model": name, "layers": [layer.as_dict() for layer in layers]}, indent=2))
        return
    sizes = {parameter: tensor.numel() for parameter, tensor in named_parameters(found.model).items()}
    print_layers(Console(), name, layers, sizes)


@app.command("schedule")
def schedule_command(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="MODEL/DATASET, an alias, or a TOML file.")],
    source: Annotated[Source | None, typer.Option(help="Whose settings; default: what the recipe has first.")] = None,
    steps_per_epoch: Annotated[int | None, typer.Option(min=1, help="Default: what data and batch size give.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it: .svg, .pdf, .png.")] = None,
    as_json: Json = False,
) -> None:
    """Show the learning rate of every layer over the whole training with LeRaC, without training."""
    from lerac.study.schedule import schedule_of
    from lerac.study.schedule_table import plot_schedule, print_schedule

    loaded = load_recipe(recipe, source=source)
    schedule = schedule_of(loaded, steps_per_epoch)
    if plot is not None:
        plot_schedule(schedule, plot)
    if as_json:
        print(json.dumps(schedule.as_dict()))
        return
    print_schedule(Console(), loaded, schedule)


@app.command("snr")
def snr_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="One of ours that has a recipe for the data.")],
    data: Annotated[str, typer.Option(help="The data set.")] = "digits",
    seeds: Annotated[str, typer.Option(help="As for compare; a run each.")] = "10",
    images: Annotated[int, typer.Option(min=1, help="How many of the test split.")] = 100,
    weight_noise: Annotated[
        str | None, typer.Option(help="Sizes relative to the weights. Default: 0.1,1; during training 0.1.")
    ] = None,
    during: Annotated[bool, typer.Option("--during-training", help="After every epoch of several regimes.")] = False,
    regimes: Annotated[str | None, typer.Option(help=f"With --during-training. Default: {SNR_REGIMES}")] = None,
    overrides: Sets = [],  # noqa: B006
    plot: Annotated[list[Path], typer.Option(help="Draw a figure: .svg, .png, .pdf …; may be repeated.")] = [],  # noqa: B006
    csv: Annotated[Path | None, typer.Option(help="Write means and standard deviations.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the signal-to-noise ratio of every layer's features: against a trained copy, and under weight noise.

    What is signal and what is noise, and why, is explained in docs/snr.md. Trains each run anew; keeps nothing.
    """
    from lerac.study.snr_command import SNRRequest, answer

    if regimes and not during:
        raise StudyError("--regimes is for --during-training; without it, training is conventional")
    request = SNRRequest(
        model, data, parse_seeds(seeds), images, weight_noise, (regimes or SNR_REGIMES) if during else None, overrides
    )
    answer(request, plots=plot, csv=csv, as_json=as_json)


@recipes_app.callback()
def recipes_command(context: typer.Context, as_json: Json = False) -> None:
    """List the recipes, or show one."""
    if context.invoked_subcommand:
        if as_json:
            raise StudyError("recipes --json prints the list; recipes show prints TOML and takes no --json")
        return
    known = known_recipes()
    if as_json:
        print(json.dumps(known, indent=2))
        return
    for recipe in known:
        print(f"{recipe['name']}  ({', '.join(map(str, recipe['sources']))})")  # type: ignore[call-overload]


@recipes_app.command("show")
def show_command(name: Annotated[str, typer.Argument(metavar="NAME", help="MODEL/DATASET or an alias.")]) -> None:
    """Print the TOML of a recipe."""
    print(recipe_text(name), end="")


@data_app.command("check")
def data_check_command(name: DataName, root: Root = None, as_json: Json = False) -> None:
    """Read every file of a data set: counts, labels, images. The first faulty file is named."""
    from lerac.study.data_terminal import check_data, print_checked

    print_checked(check_data(name, root), as_json=as_json)


@data_app.command("sample")
def data_sample_command(
    name: DataName,
    root: Annotated[Path, typer.Option(help="Folder that gets the data set's folder.")],
    as_json: Json = False,
) -> None:
    """Write a tiny generated data set in the official layout, always the same; never over anything."""
    from lerac.study.data_terminal import print_checked, write_sample

    check_folder(root, "--root")
    print_checked(write_sample(name, root), as_json=as_json)


@data_app.command("split")
def data_split_command(
    name: DataName,
    train: Annotated[int, typer.Option(min=1, help="Number of training examples.")],
    validation: Annotated[int, typer.Option(min=1, help="Number of examples that choose the epoch.")],
    test: Annotated[int, typer.Option(min=1, help="Number of test examples.")],
    root: Root = None,
    sample: Annotated[bool, typer.Option("--sample", help="Cut a generated sample.")] = False,
    as_json: Json = False,
) -> None:
    """Print which examples are in which part; it is the same for every seed."""
    from lerac.study.data_terminal import print_split, split_data

    sizes = {"train": train, "validation": validation, "test": test}
    print_split(name, split_data(name, root, sizes, sample=sample), as_json=as_json)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; give the exit code. Bad input is one line on stderr and code 2, never a traceback."""
    try:
        code = app(arguments, standalone_mode=False)  # None, or the code of a typer.Exit
    except _USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
            print(error.format_message(), file=sys.stderr)  # type: ignore[attr-defined]
            return 2
        return _refuse(error.format_message())  # type: ignore[attr-defined]
    except (StudyError, ModelNameError) as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename or 'file'}: {error.strerror or error}")
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        print("lerac: interrupted; the same command continues where it stopped", file=sys.stderr)
    return code or 0


# The root of "no such option", "missing argument" and their like, wherever typer keeps it.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


def _refuse(message: str) -> int:
    print(f"lerac: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _train(folder: Path, runs: list[Run], workers: int) -> int:
    from lerac.study.progress import train_shown  # here, because it takes longer to load than `--help` should

    return train_shown(folder, runs, workers)


def _finish(folder: Path, study: Study, *, as_json: bool) -> None:
    from lerac.study.report import compare

    results = collect(folder, study.runs())
    write_tables(folder, results)
    _tell(folder, study, compare(study, results), results, as_json=as_json)


def _tell(folder: Path, study: Study, comparisons: "list[Comparison]", results: list[Any], *, as_json: bool) -> None:
    from lerac.study.report import write_report, write_summary

    page = folder / "report.html"
    write_report(page, study, results)
    write_summary(folder, comparisons)
    if as_json:
        print(json.dumps({"report": str(page), "recipes": [comparison_json(c) for c in comparisons]}, indent=2))
        return
    console = Console()
    for comparison in comparisons:
        print_comparison(console, comparison)
        console.print()
    console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
