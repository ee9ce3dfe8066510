"""Options that several commands share, each with its one meaning."""

from pathlib import Path
from typing import Annotated

import typer

from lerac.study.recipes.files import Source

__all__ = [
    "KINDS",
    "Arms",
    "Baseline",
    "Claims",
    "Code",
    "Command",
    "Compared",
    "DataRoot",
    "Device",
    "Goal",
    "Json",
    "Metric",
    "ModelName",
    "Name",
    "Paired",
    "Power",
    "Precision",
    "Recipe",
    "Results",
    "Scale",
    "SeedList",
    "Sets",
    "SourceOption",
    "Threads",
    "Tracker",
    "Tuned",
    "Unit",
    "Weights",
    "Workers",
]

KINDS = (
    "timm:NAME, torchvision:NAME, hf:CONFIG (a config class or a local config file), module:function or "
    "FILE.py:function"
)

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help=f"One of ours, {KINDS}.")]
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="MODEL/DATASET, an alias, or a TOML file.")]
Compared = Annotated[
    list[str],
    typer.Argument(
        metavar="RECIPE…",
        help="MODEL/DATASET, an alias, or a TOML file; or functions of yours: FILE.py:FUNCTION. None with --command.",
        show_default=False,
    ),
]
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
Metric = Annotated[
    str | None, typer.Option(help="Of your own, and of numbers: what they are, or which of several decides.")
]
Goal = Annotated[str | None, typer.Option(help="Of both: whether more is better (max, the default) or less (min).")]
Unit = Annotated[str | None, typer.Option(help="Of both: of what is shown, such as %.")]
Scale = Annotated[float | None, typer.Option(help="Of both: from what is measured to what is shown, such as 100.")]
Name = Annotated[str | None, typer.Option(help="Of your own: what tables call it; default: FILE:FUNCTION.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Of your own: threads of each run on the CPU; default: 1.")]
Code = Annotated[str | None, typer.Option(metavar="accept", help="Of your own: go on although the file has changed.")]
Paired = Annotated[
    str | None, typer.Option(metavar="require", help="Of your own: runs that are not paired are an error.")
]
Command = Annotated[
    str | None,
    typer.Option(
        metavar="WORDS",
        help="Train by a command of yours, without a shell: 'python train.py --seed {seed} --out {folder}'. "
        "Also filled in: {regime}, {lr}, and {key} of --set.",
    ),
]
Results = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Of --command: a JSON object of numbers, or a CSV whose last row counts: '{folder}/result.json'.",
    ),
]
Arms = Annotated[
    list[str],
    typer.Option(
        "--arm",
        metavar="NAME=WORDS",
        help="Of --command, instead of --regimes, for a script without lerac.attach: words that are added, or put "
        "where {arm} stands: lerac='--k 500'. Repeat it for each.",
    ),
]
Tuned = Annotated[
    list[Path],
    typer.Option(
        metavar="DIR",
        help="Compare what lerac tune has chosen there; --regimes names some of it. Repeat it for parts.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
