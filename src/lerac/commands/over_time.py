"""Figures 3 and 5 for one recipe, or for every recipe whose data is on the disk."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from lerac.study.data import DATASETS
from lerac.study.data.settings import DataSettings
from lerac.study.errors import StudyError
from lerac.study.files import check_folder
from lerac.study.lock import claim
from lerac.study.metrics import Metric
from lerac.study.plan.request import request_study, require_data
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import Source, recipe_names
from lerac.study.runs.folder import extend_study, write_study, write_tables
from lerac.study.runs.outcomes import collect
from lerac.study.statistics.outcomes import Outcome
from lerac.study.terminal.study import print_summaries, summary_json

__all__ = ["OverTime"]

RUNS = Path("runs/figures")


@dataclass(frozen=True)
class OverTime:
    """What is asked for, whatever the recipe.

    Args:
        number: of the figure.
        regimes: to compare.
        seeds: of each.
        overrides: `key=value` of the recipes.
        source: whose settings; None for what a recipe has first.
        out: folder of the pictures.
        runs: folder of the runs; None for the usual one.
        workers: runs side by side; None for all cores.
        device: where to train.
    """

    number: int
    regimes: str
    seeds: Sequence[int]
    overrides: Sequence[str]
    source: Source | None
    out: Path
    runs: Path | None
    workers: int | None
    device: str

    def draw(self, recipe: str, *, as_json: bool) -> None:
        """Draw one recipe, and print what the figure shows.

        Raises:
            StudyError: if it cannot be trained.
            typer.Exit: with code 1 if a run failed.
        """
        check_folder(self.out, "--out")
        asked = self._request(recipe)
        require_data(asked)
        folder = self.runs or RUNS / asked.recipes[0].slug
        shown = self._drawn(asked, folder, f"figure-{self.number}", quiet=as_json)
        if shown is None:
            raise typer.Exit(1)
        if as_json:
            print(json.dumps({"figure": self.number, **shown}, indent=2))

    def draw_all(self, *, as_json: bool) -> None:
        """Draw every recipe of ours whose data is found, a picture each, and say which are left out and why.

        Raises:
            StudyError: if none is found.
            typer.Exit: with code 1 if a run failed; the other recipes are drawn nevertheless.
        """
        check_folder(self.out, "--out")
        found, left_out = self._found()
        for name, reason in left_out.items():
            print(f"lerac: left out: {name}: {reason}", file=sys.stderr)
        if not found:
            raise StudyError("--all: no recipe can be drawn; why is said above")
        shown = {name: self._one_of_all(asked, quiet=as_json) for name, asked in found.items()}
        failed = [name for name, drawn in shown.items() if drawn is None]
        if as_json:
            drawn = [one for one in shown.values() if one is not None]
            print(
                json.dumps({"figure": self.number, "recipes": drawn, "left_out": left_out, "failed": failed}, indent=2)
            )
        if failed:
            raise typer.Exit(1)

    def _request(self, recipe: str) -> Study:
        return request_study([recipe], self.regimes, self.seeds, self.overrides, self.source, self.device)

    def _one_of_all(self, asked: Study, *, quiet: bool) -> dict[str, Any] | None:
        [recipe] = asked.recipes
        try:
            return self._drawn(
                asked, (self.runs or RUNS) / recipe.slug, f"figure-{self.number}-{recipe.slug}", quiet=quiet
            )
        except StudyError as error:  # of its folder
            print(f"lerac: {recipe.name}: {error}", file=sys.stderr)
            return None

    def _found(self) -> tuple[dict[str, Study], dict[str, str]]:
        """Give what can be trained, and of the other recipes why not, before anything is trained."""
        found: dict[str, Study] = {}
        left_out: dict[str, str] = {}
        loads: dict[str, str | None] = {}  # of settings of data: why they cannot be loaded
        for name in recipe_names():
            try:
                asked = self._request(name)
            except StudyError as error:
                left_out[name] = str(error)
                continue
            dataset, data = asked.recipes[0].dataset, asked.recipes[0].data
            key = f"{dataset} {data!r}"
            if key not in loads:
                loads[key] = _why_not(dataset, data)
            if (reason := loads[key]) is None:
                found[name] = asked
            else:
                left_out[name] = reason
        return found, left_out

    def _drawn(self, asked: Study, folder: Path, stem: str, *, quiet: bool) -> dict[str, Any] | None:
        """Train what is missing, draw, print unless quiet, and give what is shown; None if a run failed."""
        outcomes = _trained(folder, asked, self.workers)
        if outcomes is None:
            return None
        from lerac.study.figures.over_time import draw_over_time, measured_over_time
        from lerac.study.figures.style import write_figures

        name, seeds, metric = asked.recipes[0].name, len(asked.seeds), outcomes[0].metric
        title = f"{name}, {seeds} {'seed' if seeds == 1 else 'seeds'}"
        files = write_figures(draw_over_time(outcomes, title), self.out / stem)
        measured = measured_over_time(outcomes)
        if not quiet:
            for what, summaries in measured.items():
                print_summaries(Console(), what, summaries, Metric("time", "min") if what == "time" else metric)
            for file in files:
                print(f"figure {self.number}: {file}")
        shown = {what: [summary_json(summary) for summary in summaries] for what, summaries in measured.items()}
        return {"files": [str(file) for file in files], "recipe": name, **shown}


def _why_not(dataset: str, data: DataSettings) -> str | None:
    """Say why data cannot be loaded, or give None if it can."""
    try:
        DATASETS[dataset].load(data, 0)
    except StudyError as error:
        return str(error)
    return None


def _trained(folder: Path, asked: Study, workers: int | None) -> list[Outcome] | None:
    """Train what is missing of a study, in a folder that may hold more of it; None if a run failed."""
    from lerac.study.engines.progress import train_shown

    # First, so that a folder with another study is refused before anything is written there.
    extend_study(folder, asked, option="--study")
    with claim(folder, option="--study"):
        study = extend_study(folder, asked, option="--study")
        write_study(folder, study)
        failures = train_shown(folder, asked.runs(), workers)
        write_tables(folder, collect(folder, study.runs()))
    return None if failures else collect(folder, asked.runs())
