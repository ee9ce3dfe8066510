"""Options that several commands share, each with its one meaning."""

from pathlib import Path
from typing import Annotated

import typer

from lerac.study.recipes.files import Source

__all__ = [
    "KINDS",
    "Baseline",
    "Claims",
    "DataRoot",
    "Device",
    "Goal",
    "Json",
    "Metric",
    "ModelName",
    "Power",
    "Precision",
    "Recipe",
    "Recipes",
    "Scale",
    "SeedList",
    "Sets",
    "SourceOption",
    "Tracker",
    "Unit",
    "Weights",
    "Workers",
]

KINDS = "timm:NAME, torchvision:NAME, hf:CONFIG (a config class or a local config file) or module:function"

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help=f"One of ours, {KINDS}.")]
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="MODEL/DATASET, an alias, or a TOML file.")]
Recipes = Annotated[list[str], typer.Argument(metavar="RECIPE…", help="MODEL/DATASET, an alias, or a TOML file.")]
Sets = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a value: training.epochs=10; none removes it.")
]
SourceOption = Annotated[Source | None, typer.Option("--source", help="Whose settings; default: what the recipe has.")]
SeedList = Annotated[str, typer.Option(help="A count (5: 0 to 4), a range (100-109, 7-7) or a list (3,4,7).")]
Workers = Annotated[int | None, typer.Option(min=1, help="Runs side by side; default: as many as cores, or GPUs.")]
Device = Annotated[str, typer.Option(help="Where to train, as torch names it: cpu, cuda, cuda:1, mps.")]
Precision = Annotated[str, typer.Option(help="Of the arithmetic: float32, bf16, or on GPUs fp16.")]
Tracker = Annotated[list[str], typer.Option(help="Log to it, too: tensorboard, wandb … May be repeated.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder with the data sets' folders; default: LERAC_DATA.")]
Weights = Annotated[Path | None, typer.Option(help="Folder with published weights; default: LERAC_WEIGHTS.")]
Baseline = Annotated[
    str | None, typer.Option(metavar="REGIME", help="Compare with this regime; default: conventional.")
]
Claims = Annotated[
    list[str],
    typer.Option(
        "--claim",
        metavar="[METRIC=]VALUE",
        help="Say how many seeds it takes to show a difference of VALUE, in points or years.",
    ),
]
Power = Annotated[float, typer.Option(help="With which probability --claim is to be shown.")]
Metric = Annotated[str | None, typer.Option(help="Of numbers: what they are, or which of several counts.")]
Goal = Annotated[str | None, typer.Option(help="Of numbers: whether more is better (max, the default) or less (min).")]
Unit = Annotated[str | None, typer.Option(help="Of numbers: of what is shown, such as %.")]
Scale = Annotated[float | None, typer.Option(help="Of numbers: from them to what is shown, such as 100.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
