"""What `lerac snr` does, from the words of the command line to what it prints and writes."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lerac.study.errors import StudyError
from lerac.study.figures.snr import ratios_figure, training_figure
from lerac.study.figures.style import check_plot_file, write_figure
from lerac.study.files import check_file
from lerac.study.recipes.regimes import split_regimes
from lerac.study.snr import compare_regimes, measure_references, measure_training, snr_recipe
from lerac.study.statistics import BASELINE
from lerac.study.terminal import snr as report

__all__ = ["SNRRequest", "answer"]


@dataclass(frozen=True)
class SNRRequest:
    """What was asked for.

    Args:
        model: that a recipe names.
        data: likewise.
        seeds: a run each.
        images: how many of the test split.
        weight_noise: sizes, separated by commas; None for the default.
        regimes: to look at during training; None to look at the start and the end of conventional training.
        overrides: `key=value` of the recipe.
    """

    model: str
    data: str
    seeds: Sequence[int]
    images: int
    weight_noise: str | None
    regimes: str | None
    overrides: Sequence[str] = ()


def answer(request: SNRRequest, *, plots: Sequence[Path], csv: Path | None, as_json: bool) -> None:
    """Measure, print, and write what was asked for.

    Raises:
        StudyError: if the request cannot be done; before anything is trained, unless a run diverges.
    """
    recipe = snr_recipe(request.model, request.data, request.overrides, request.images)
    sizes = _sizes(request.weight_noise or ("0.1,1" if request.regimes is None else "0.1"))
    regimes = None if request.regimes is None else [str(regime) for regime in split_regimes(request.regimes)]
    if regimes is not None and BASELINE not in regimes and not (plots or csv or as_json):
        raise StudyError(
            f"--regimes {request.regimes}: the table compares with {BASELINE}, add it (or --plot, --csv, --json)"
        )
    for path in plots:
        check_plot_file(path)
    if csv:
        check_file(csv, "--csv")
    if regimes is None:
        measured = measure_references(recipe, request.seeds, images=request.images, sizes=sizes, say=_say)
        compared = []
    else:
        measured = measure_training(recipe, regimes, request.seeds, images=request.images, sizes=sizes, say=_say)
        compared = compare_regimes(measured, curriculum=round(recipe.lerac.k))
    for path in plots:
        figure = ratios_figure(measured) if regimes is None else training_figure(measured)
        write_figure(figure, path)
    if csv:
        report.write_csv(csv, measured)
    if as_json:
        print(json.dumps(report.snr_json(recipe, request.seeds, request.images, measured, compared), indent=2))
    elif regimes is None:
        report.print_ratios(Console(), recipe, measured)
    else:
        report.print_sooner(Console(), recipe, compared)


def _sizes(text: str) -> list[float]:
    try:
        sizes = [float(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or not all(math.isfinite(size) and size > 0 for size in sizes) or len(set(sizes)) < len(sizes):
        raise StudyError(f"--weight-noise takes different numbers above 0, separated by commas, got {text!r}")
    return sizes


def _say(what: str) -> None:
    print(f"lerac: {what}", file=sys.stderr)
