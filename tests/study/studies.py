"""Studies small enough to train in a fraction of a second."""

from pathlib import Path

import torch
from torch import Tensor

from lerac.study.plan.study import Run, Study
from lerac.study.recipes.recipe import load_recipe
from lerac.study.runs.folder import write_study, write_tables
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import train_run
from lerac.study.training.training import Training

SMALL = (
    "data.train=90",
    "data.validation=40",
    "data.test=60",
    "training.batch_size=32",
    "warmup.k=1",
    "lerac.k=1",
    "cbs.every=1",
)


def make_study(*regimes: str, seeds=(0,), epochs: int = 2, overrides=(), recipe: str = "digits", **options) -> Study:
    loaded = load_recipe(recipe, [*SMALL, f"training.epochs={epochs}", *overrides])
    return Study(recipes=[loaded], regimes=list(regimes) or ["conventional"], seeds=list(seeds), **options)


def make_run(regime: str = "conventional", **options) -> Run:
    [run] = make_study(regime, **options).runs()
    return run


def untimed(history: list[dict]) -> list[dict]:
    """A history without what no two runs have in common."""
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in history]


def trained(run: Run, epochs: int | None = None) -> Training:
    """Train to the end, or for some epochs."""
    training = Training(run)
    while not training.over and len(training.history) != epochs:
        training.run_epoch()
    return training


def weights(training: Training) -> dict[str, Tensor]:
    return training.state_dict()["network"]


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def train_here(folder: Path, study: Study, runs: list[Run] | None = None) -> Path:
    """Train in this process, and write what `lerac compare` writes before the report."""
    write_study(folder, study)
    for run in study.runs() if runs is None else runs:
        train_run(folder, run)
    write_tables(folder, collect(folder, study.runs()))
    return folder
