"""Signal-to-noise ratios on a terminal, as JSON and CSV, and as a figure."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from lerac import plot
from lerac.snr import LayerSNR
from lerac.study.errors import StudyError
from lerac.study.figures.style import STYLE, colours
from lerac.study.files import check_file, write_bytes, write_text
from lerac.study.recipes.recipe import Recipe
from lerac.study.snr import ENOUGH_DB, FINAL, Measured, Sooner
from lerac.study.statistics import CONFIDENCE, Difference

__all__ = [
    "check_plot_file",
    "print_ratios",
    "print_sooner",
    "ratios_figure",
    "snr_json",
    "training_figure",
    "write_csv",
    "write_figure",
]

COLUMNS = ("reference", "regime", "epoch", "layer", "depth", "n", "mean_db", "sd_db")


def summary_rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the seeds, one row for each reference, regime, epoch and layer.

    The mean is infinite if one ratio is; the standard deviation is None then, and for a single seed.
    """
    groups: dict[tuple[Any, ...], list[float]] = {}
    for m in measured:
        key = (m.reference, m.regime, m.epoch, m.layer.name, m.layer.depth)
        groups.setdefault(key, []).append(m.layer.snr_db)
    rows = []
    for key, ratios in groups.items():
        sd = stdev(ratios) if len(ratios) > 1 and all(map(math.isfinite, ratios)) else None
        rows.append(dict(zip(COLUMNS, (*key, len(ratios), fmean(ratios), sd), strict=True)))
    return rows


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
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in summary_rows(measured):
        writer.writerow({k: f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()})
    write_text(path, text.getvalue())


def ratios_figure(measured: Sequence[Measured]) -> Figure:
    """Draw the mean ratio of every layer, one line per reference."""
    lines: dict[str, dict[int, list[LayerSNR]]] = {}
    for m in measured:
        lines.setdefault(m.reference, {}).setdefault(m.seed, []).append(m.layer)
    with matplotlib.rc_context(STYLE):
        return plot.snr({reference: list(by_seed.values()) for reference, by_seed in lines.items()})


def training_figure(measured: Sequence[Measured]) -> Figure:
    """Draw the ratio of every layer against the epoch: a row per reference, a column per layer, a line per regime."""
    rows = summary_rows(measured)
    references, layers, regimes = ([*dict.fromkeys(r[key] for r in rows)] for key in ("reference", "layer", "regime"))
    colour = colours(regimes)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.3 * len(layers) + 0.6, 2.5 * len(references) + 0.6), layout="constrained")
        panels = figure.subplots(len(references), len(layers), squeeze=False, sharex=True, sharey="row")
        for line, reference in zip(panels, references, strict=True):
            for axes, layer in zip(line, layers, strict=True):
                for regime in regimes:
                    wanted = {"reference": reference, "layer": layer, "regime": regime}
                    _draw(axes, [row for row in rows if wanted.items() <= row.items()], regime, colour[regime])
                axes.axhline(0, color="#666666", linewidth=1)
                axes.set_title(layer, fontsize=10, loc="left")
                axes.set_xlabel("epoch")
            line[0].set_ylabel(f"{reference}: SNR, dB")
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def check_plot_file(path: Path) -> None:
    """See that a figure can be written there, before anything is computed.

    Raises:
        StudyError: as `check_file`, or if the format is unknown.
    """
    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in formats:
        raise StudyError(f"--plot {path}: the name must end in one of .{', .'.join(sorted(formats))}")
    check_file(path, "--plot")


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure in the format of its name; the same figure gives the same file."""
    kind = path.suffix.removeprefix(".").lower()
    undated = {"Date": None} if kind in ("svg", "svgz") else None
    with matplotlib.rc_context(STYLE):
        write_bytes(path, lambda file: figure.savefig(file, format=kind, metadata=undated, dpi=150))


def _draw(axes: Any, rows: Sequence[Mapping[str, Any]], regime: str, colour: str) -> None:
    finite = [row for row in rows if math.isfinite(row["mean_db"])]  # against itself the last epoch has no noise
    epochs, means = [row["epoch"] for row in finite], [row["mean_db"] for row in finite]
    axes.plot(epochs, means, color=colour, linewidth=1.6, label=regime)
    low, high = ([row["mean_db"] + sign * (row["sd_db"] or 0) for row in finite] for sign in (-1, 1))
    axes.fill_between(epochs, low, high, color=colour, alpha=0.12, linewidth=0)


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
    values = {"n": difference.n, "mean": difference.mean, "low": difference.low, "high": difference.high}
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
