"""Draws figures 1, 2, 3 and 5 of the paper (`lerac snr` draws 4) and writes docs/figures.md with what they show.

Run it again after a change of a recipe, in an empty folder or in one whose runs it shall continue; on an idle
machine, because it reports seconds:

    python docs/images/paper_figures.py [SEEDS]
"""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

from lerac.cli import run

IMAGES = Path(__file__).parent


def figure(number: int, *options: str) -> dict[str, Any]:
    """Draw a figure by its command; give what it shows."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = run(["figure", str(number), *options, "--out", str(IMAGES), "--json"])
    if code:
        raise SystemExit(code)
    shown: dict[str, Any] = json.loads(printed.getvalue())
    return shown


def table(shown: dict[str, Any]) -> str:
    """Give mean ± sd of conventional training and the paired differences to it, a row per regime."""
    measures = [key for key, rows in shown.items() if isinstance(rows, list) and key != "files"]
    lines = [f"| regime | {' | '.join(measures)} | n |", "|---" * (len(measures) + 2) + "|"]
    for at, row in enumerate(shown[measures[0]]):
        cells = [_cell(shown[what][at], 1 if what == "time" else 100) for what in measures]
        lines.append(f"| {row['regime']} | {' | '.join(cells)} | {row['n']} |")
    return "\n".join(lines)


def convolutions(shown: dict[str, Any]) -> str:
    """Give mean SNR and interval, a row per construction."""
    depths = range(len(next(iter(shown["constructions"].values()))["snr_db"]))
    lines = [f"| | {' | '.join(map(str, depths))} | SNR fell in |", "|---" * (len(depths) + 2) + "|"]
    for name, made in shown["constructions"].items():
        cells = ["∞" if one is None else _decibels(one) for one in made["snr_db"]]
        lines.append(f"| {name} | {' | '.join(cells)} | {made['fell']} of {made['of']} steps |")
    return "\n".join(lines)


def main() -> None:
    """Write the pictures beside this file and the page above it."""
    seeds = sys.argv[1] if len(sys.argv) > 1 else "10"
    first, second = figure(1), figure(2)
    third, fifth = figure(3, "--seeds", seeds), figure(5, "--seeds", seeds)
    page = (IMAGES / "figures.md.in").read_text(encoding="utf-8")
    for word, text in (
        ("@K@", str(first["k"])),
        ("@STEPS@", str(first["steps"])),
        ("@LAYERS@", str(len(first["starts"]))),
        ("@CONVOLUTIONS@", convolutions(second)),
        ("@DRAWS@", str(second["draws"])),
        ("@REGIMES@", table(third)),
        ("@RULES@", table(fifth)),
        ("@SEEDS@", seeds),
    ):
        page = page.replace(word, text)
    (IMAGES.parent / "figures.md").write_text(page, encoding="utf-8")


def _cell(row: dict[str, Any], factor: float) -> str:
    difference = row["difference"]
    if difference is None:
        return f"{factor * row['mean']:.2f} ± {factor * (row['sd'] or 0):.2f}" if row["mean"] is not None else "–"
    mean, low, high = (difference[key] for key in ("mean", "low", "high"))
    if low is None:
        return f"{factor * mean:+.2f}"
    text = f"{factor * mean:+.2f} [{factor * low:+.2f}, {factor * high:+.2f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def _decibels(one: dict[str, float]) -> str:
    return f"{one['mean']:.1f} [{one['low']:.1f}, {one['high']:.1f}]"


if __name__ == "__main__":
    main()
