"""Signal-to-noise ratios on a terminal, as JSON and CSV."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lerac.study.files import write_text
from lerac.study.recipes.recipe import Recipe
from lerac.study.runs.folder import csv_text
from lerac.study.snr import COLUMNS, ENOUGH_DB, FINAL, Measured, Sooner, summary_rows
from lerac.study.statistics import CONFIDENCE, Difference

__all__ = ["print_ratios", "print_sooner", "snr_json", "write_csv"]


def print_ratios(console: Console, recipe: Recipe, measured: Sequence[Measured]) -> None:
    """Print one row per layer and one column per reference."""
    rows = summary_rows(measured)
    cells: dict[tuple[int, str], dict[str, str]] = {}
    for row in rows:
        cells.setdefault((row["depth"], row["layer"]), {})[row["reference"]] = _mean_and_sd(row)
    title = f"{recipe.name}: signal-to-noise ratio in dB, mean ± sd of {rows[0]['n']} seeds"
    for references in _in_threes(list(dict.fromkeys(row["reference"] for row in rows))):
        table = _table(title, "depth", "layer", *references)
        for (depth, layer), by_reference in cells.items():
            table.add_row(str(depth), layer, *(by_reference[reference] for reference in references))
        console.print(table)


def print_sooner(console: Console, recipe: Recipe, compared: Sequence[Sooner]) -> None:
    """Print how every regime differs from conventional training, layer by layer."""
    for reference in dict.fromkeys(s.reference for s in compared):
        reached = f"epoch of {ENOUGH_DB:g} dB" if reference == FINAL else ""
        title = f"{recipe.name}, {reference}: difference to conventional [{CONFIDENCE:.0%}]"
        table = _table(title.replace("[", r"\["), "regime", "layer", "dB, curriculum", *filter(None, [reached]))
        for s in (s for s in compared if s.reference == reference):
            table.add_row(s.regime, s.layer, _interval(s.early), *([_interval(s.reached)] if reached else []))
        console.print(table)


def snr_json(
    recipe: Recipe, seeds: Sequence[int], images: int, measured: Sequence[Measured], compared: Sequence[Sooner] = ()
) -> dict[str, Any]:
    """Give everything as plain types; a ratio that is not finite is a string such as "inf"."""
    return {
        "recipe": recipe.name,
        "seeds": list(seeds),
        "images": images,
        "summary": [{k: _plain(v) for k, v in row.items()} for row in summary_rows(measured)],
        "ratios": [
            {"reference": m.reference, "regime": m.regime, "seed": m.seed, "epoch": m.epoch, "layer": m.layer.name,
             "depth": m.layer.depth, "snr_db": _plain(m.layer.snr_db), "count": m.layer.count}
            for m in measured
        ],
        "differences": [
            {"reference": s.reference, "regime": s.regime, "layer": s.layer, "early_db": _difference(s.early),
             "reached_epochs": _difference(s.reached)}
            for s in compared
        ],
    }  # fmt: skip


def write_csv(path: Path, measured: Sequence[Measured]) -> None:
    """Write means and standard deviations over the seeds, three digits after the point."""
    rows = ([f"{v:.3f}" if isinstance(v, float) else v for v in row.values()] for row in summary_rows(measured))
    write_text(path, csv_text(COLUMNS, rows))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        words = column in ("layer", "regime")
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    return table


def _in_threes(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[i : i + 3] for i in range(0, len(names), 3)]


def _mean_and_sd(row: Mapping[str, Any]) -> str:
    return f"{row['mean_db']:.2f}" + (f" ± {row['sd_db']:.2f}" if row["sd_db"] is not None else "")


def _interval(difference: Difference | None) -> str:
    if difference is None:
        return "–"
    interval = "" if difference.low is None else rf" \[{difference.low:+.2f}, {difference.high:+.2f}]"
    return f"{difference.mean:+.2f}{interval}"


def _difference(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {key: _plain(getattr(difference, key)) for key in ("n", "mean", "low", "high")}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
