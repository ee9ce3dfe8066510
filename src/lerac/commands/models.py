"""The commands about one network: `lerac layers`, `lerac schedule`, `lerac snr`.

What takes long to load is imported by the functions that use it, so that help is there at once.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from lerac.commands.options import DataRoot, Json, ModelName, Recipe, SeedList, Sets, SourceOption, Weights
from lerac.study.errors import StudyError, printable

__all__ = ["layers_command", "schedule_command", "snr_command"]

SNR_REGIMES = "conventional,warmup,warmup(curve=exponential),lerac"


def layers_command(
    name: ModelName,
    as_json: Json = False,
) -> None:
    """Show the layers of a network, nearest to the input first, as LeRaC finds them. Nothing is downloaded."""
    from lerac.commands.named_models import named_model
    from lerac.depth import find_layers
    from lerac.layers import named_parameters

    found = named_model(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            layers = find_layers(found.model, *found.args, **found.kwargs)
        except (TypeError, ValueError) as error:
            raise StudyError(str(error)) from error
    for warning in caught:
        print(f"lerac: {printable(str(warning.message))}", file=sys.stderr)
    if as_json:
        print(json.dumps({"model": name, "layers": [layer.as_dict() for layer in layers]}, indent=2))
        return
    from rich.console import Console

    from lerac.study.terminal.layers import print_layers

    sizes = {parameter: tensor.numel() for parameter, tensor in named_parameters(found.model).items()}
    print_layers(Console(), name, layers, sizes)


def schedule_command(
    recipe: Recipe,
    source: SourceOption = None,
    steps_per_epoch: Annotated[
        int | None, typer.Option(min=1, max=10**7, help="Default: what data and batch size give.")
    ] = None,
    regime: Annotated[
        str | None, typer.Option(metavar="REGIME", help="Default: LeRaC, as the recipe has it.", show_default=False)
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it: .svg, .pdf, .png.")] = None,
    as_json: Json = False,
) -> None:
    """Show the learning rate of every layer over the whole training, without training."""
    from lerac.study.plan.listing import schedule_of
    from lerac.study.recipes.recipe import load_recipe
    from lerac.study.recipes.regimes import parse_regime
    from lerac.study.terminal.schedule import print_schedule

    loaded = load_recipe(recipe, source=source)
    schedule = schedule_of(loaded, steps_per_epoch, None if regime is None else parse_regime(regime))
    if plot is not None:
        from lerac.study.figures.rates import listing_figure
        from lerac.study.figures.style import check_plot_file, write_figure

        check_plot_file(plot)
        write_figure(listing_figure(schedule), plot)
    if as_json:
        print(json.dumps(schedule.as_dict()))
        return
    from rich.console import Console

    print_schedule(Console(), loaded, schedule)


def snr_command(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="One of ours that has a recipe for the data, or a recipe's TOML file."),
    ],
    data: Annotated[str, typer.Option(help="The data set.")] = "digits",
    seeds: SeedList = "10",
    images: Annotated[int, typer.Option(min=1, help="How many of the test split.")] = 100,
    weight_noise: Annotated[
        str | None, typer.Option(help="Sizes relative to the weights. Default: 0.1,1; during training 0.1.")
    ] = None,
    during: Annotated[bool, typer.Option("--during-training", help="After every epoch of several regimes.")] = False,
    regimes: Annotated[str | None, typer.Option(help=f"With --during-training. Default: {SNR_REGIMES}")] = None,
    overrides: Sets = [],  # noqa: B006
    data_root: DataRoot = None,
    weights: Weights = None,
    plot: Annotated[list[Path], typer.Option(help="Draw a figure: .svg, .png, .pdf …; may be repeated.")] = [],  # noqa: B006
    csv: Annotated[Path | None, typer.Option(help="Write means and standard deviations.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the signal-to-noise ratio of every layer's features: against a trained copy, and under weight noise.

    What is signal and what is noise, and why, is explained in docs/snr.md. Trains each run anew; keeps nothing.
    """
    from lerac.commands.snr import SNRRequest, answer
    from lerac.study.plan.request import parse_seeds, set_places

    if regimes and not during:
        raise StudyError("--regimes is for --during-training; without it, training is conventional")
    set_places(data_root, weights)
    request = SNRRequest(
        model, data, parse_seeds(seeds), images, weight_noise, (regimes or SNR_REGIMES) if during else None, overrides
    )
    answer(request, plots=plot, csv=csv, as_json=as_json)
