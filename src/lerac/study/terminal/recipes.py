"""The recipes at a glance: which cells of the paper's tables each one reproduces, and what is unknown."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from lerac.study.data import DATASETS
from lerac.study.data.tasks import metric_of
from lerac.study.recipes.recipe import Recipe, load_recipe, recipe_names, recipe_sources

__all__ = ["known_recipes", "print_recipes"]

GROUPS: dict[str, tuple[str, ...]] = {
    "Images": ("cifar10", "cifar100", "tiny-imagenet", "imagenet200", "food101"),
    "Text": ("boolq", "rte", "qnli"),
    "Sound": ("cremad", "esc50"),
    "Age": ("utkface",),
    "Objects": ("voc",),
    "Clothes": ("fashion-mnist",),
    "Signals": ("mnist1d",),
    "The demo": ("digits",),
}
"""Kind of data → data sets, both in the order of the paper's tables."""

ROWS = (
    "resnet18",
    "wrn52-2",
    "wide-resnet50",
    "cvt13",
    "cvt13-pretrained",
    "bert-large",
    "lstm",
    "septr",
    "densenet121",
)
"""The networks in the order of the paper's Table 1; others stand below them."""

MARKS = {"known": "●", "unknown": "○", "none": "·", None: "?"}
LETTERS = {"paper": "P", "official": "A", "ours": "O", "user": "U"}

LEGEND = (
    "● a cell of the paper whose numbers are known to us: shown is LeRaC's mean ± standard deviation of 5 runs, from "
    "the first version of the paper",
    "○ a cell that later versions of the paper may have; the number is unknown to us",
    "· not in the paper",
    "An empty place: no recipe, and we know of no such cell. Which table of the paper a cell is in, we do not know. "
    "The paper's Wide-ResNet-50 is wrn52-2 or, on imagenet200, wide-resnet50, as in the authors' code.",
    "Second lines: parameters of the network, of the row's largest; and whose settings there are: P the paper's (Table "
    "1), A the authors' code's (--source official), O ours",
)


def known_recipes() -> list[dict[str, Any]]:
    """List our recipes, as `lerac recipes --json` prints them.

    Returns:
        For each its `name`, `model`, `dataset` and `sources`, the default first; the `metric` it is judged by;
        `parameters` of the network, None where they depend on the data; the `cell` of the paper's tables: `known`,
        `unknown` or `none`; what is `published` by regime, mean and standard deviation in %; what is `unknown`, in
        words; what is `reported` by others, None where we know of nothing; and `chosen`, the values that the paper
        leaves open and we chose, by their keys.
    """
    return [_entry(recipe) for recipe in map(load_recipe, recipe_names())]


def _entry(recipe: Recipe) -> dict[str, Any]:
    chosen = [key for key, source in recipe.sources.items() if source.startswith("ours:")]
    return {
        "name": recipe.name,
        "model": recipe.model,
        "dataset": recipe.dataset,
        "sources": recipe_sources(recipe.name),
        "metric": metric_of(recipe.dataset).name,
        "parameters": recipe.parameters,
        "cell": recipe.cell,
        "published": recipe.published,
        "unknown": recipe.unknown,
        "reported": recipe.reported.model_dump() if recipe.reported else None,
        "chosen": chosen,
    }


def print_recipes(console: Console, known: Sequence[dict[str, Any]]) -> None:
    """Print a table for each kind of data, a legend, and what is covered and what is not.

    Args:
        console: where to; 80 columns are enough.
        known: as `known_recipes` gives it.
    """
    for title, datasets in GROUPS.items():
        rows = [recipe for recipe in known if recipe["dataset"] in datasets]
        if rows:
            metric = metric_of(datasets[0])
            console.print(f"{title}: {metric.heading}", style="bold", highlight=False)
            console.print(_table(datasets, rows))
            console.print()
    for line in LEGEND:
        console.print(line, markup=False, highlight=False)
    console.print()
    for line in [*_coverage(known), *_unknown(known)]:
        console.print(f"- {line}", markup=False, highlight=False)
    console.print(
        "A recipe is called MODEL/DATASET, as small-cnn/digits; `lerac recipes show small-cnn/digits` prints it, with "
        "all numbers of the paper, and where each value comes from.",
        highlight=False,
    )


def _table(datasets: Sequence[str], rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True, min_width=16)
    for dataset in datasets:
        table.add_column(dataset, no_wrap=True)
    models = {recipe["model"] for recipe in rows}
    for model in (*(model for model in ROWS if model in models), *sorted(models - {*ROWS})):
        own = {recipe["dataset"]: recipe for recipe in rows if recipe["model"] == model}
        sizes = [recipe["parameters"] for recipe in own.values() if recipe["parameters"]]
        size = f"[dim]{_size(max(sizes))}[/dim]" if sizes else "[dim]size by vocabulary[/dim]"
        table.add_row(f"{model}\n{size}", *(_cell(own.get(dataset)) for dataset in datasets))
    return table


def _cell(recipe: dict[str, Any] | None) -> str:
    if recipe is None:
        return ""
    letters = " ".join(LETTERS[source] for source in recipe["sources"])
    number = ""
    if "lerac" in recipe["published"]:
        mean, spread = recipe["published"]["lerac"]
        number = f" {mean:.2f}±{spread:.2f}"
    return f"{MARKS[recipe['cell']]}{number}\n  [dim]{letters}[/dim]"


def _size(parameters: int) -> str:
    if parameters >= 1_000_000:
        return f"{parameters / 1e6:.1f} million"
    return f"{parameters:,}"


def _coverage(known: Sequence[dict[str, Any]]) -> list[str]:
    of = {cell: [recipe for recipe in known if recipe["cell"] == cell] for cell in MARKS}
    numbers = sum(len(recipe["published"]) for recipe in of["known"])
    return [
        f"{len(known)} recipes. {len(of['known'])} are cells with known numbers: {numbers} means with their standard "
        f"deviations, by regime. Of {len(of['unknown'])} the numbers are unknown to us, {len(of['none'])} are ours."
    ]


def _unknown(known: Sequence[dict[str, Any]]) -> list[str]:
    """What is unknown, each sentence once with the recipes that it is about; and data sets without a recipe."""
    about: dict[str, list[str]] = {}
    for recipe in known:
        for sentence in recipe["unknown"]:
            about.setdefault(sentence, []).append(recipe["name"])
    lines = [f"{', '.join(names)}: {sentence}" for sentence, names in about.items()]
    if lacking := [dataset for dataset in DATASETS if dataset not in {recipe["dataset"] for recipe in known}]:
        lines.append(f"No recipe yet for {', '.join(lacking)}.")
    return lines
