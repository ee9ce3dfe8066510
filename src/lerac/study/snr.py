"""Signal-to-noise ratios of a recipe's network, before and during training: what `lerac snr` measures.

The definitions and their reasons are in docs/snr.md.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import torch
from torch import nn

from lerac.regimes.drawing import derive
from lerac.snr import LayerSNR, layer_snr, with_weight_noise
from lerac.study.data.splits import Inputs, Splits
from lerac.study.errors import StudyError
from lerac.study.plan.study import Run, Study
from lerac.study.recipes.recipe import Recipe, load_recipe
from lerac.study.statistics import BASELINE, Difference, paired_difference
from lerac.study.training.training import Training, build

__all__ = [
    "COLUMNS",
    "ENOUGH_DB",
    "FINAL",
    "TRAINED",
    "Measured",
    "Sooner",
    "compare_regimes",
    "measure_references",
    "measure_training",
    "snr_recipe",
    "summary_rows",
    "weight_noise",
]

TRAINED = "trained copy"
FINAL = "final"
ENOUGH_DB = 10.0  # a layer whose noise has a tenth of the power of its signal is there
COLUMNS = ("reference", "regime", "epoch", "layer", "depth", "n", "mean_db", "sd_db")
Say = Callable[[str], object]


@dataclass(frozen=True)
class Measured:
    """One ratio.

    Args:
        reference: what was the signal, or how the noise was made.
        regime: of the training; canonical text.
        seed: of the run.
        epoch: epochs trained before the measurement.
        layer: position, name, depth and ratio.
    """

    reference: str
    regime: str
    seed: int
    epoch: int
    layer: LayerSNR


@dataclass(frozen=True)
class Sooner:
    """How a regime's ratios differ from conventional training's, in one layer.

    Args:
        reference: as in `Measured`.
        regime: canonical text.
        layer: name.
        reached: difference in the first epoch from which on the ratio is `ENOUGH_DB` or more; None where it is not
            reached in every run.
        early: difference of the mean ratio over the epochs of the curriculum, in dB.
    """

    reference: str
    regime: str
    layer: str
    reached: Difference | None
    early: Difference | None


def snr_recipe(model: str, data: str, overrides: Sequence[str], images: int) -> Recipe:
    """Give the recipe that trains this model on this data set.

    Raises:
        StudyError: if there is none, a value is wrong, or its test split has fewer images than asked for.
    """
    recipe = load_recipe(model if model.endswith(".toml") else f"{model}/{data}", overrides)
    if images > recipe.data.test:
        raise StudyError(f"--images {images}: the test split of {recipe.name} has {recipe.data.test}")
    return recipe


def weight_noise(size: float, network: str = "") -> str:
    """Name the reference that is the network itself without weight noise."""
    return f"{network} + weight noise {size:g}".removeprefix(" + ")


def measure_references(
    recipe: Recipe, seeds: Sequence[int], *, images: int, sizes: Sequence[float], say: Say
) -> list[Measured]:
    """Measure the untrained network against its trained copy, and both under weight noise, for every seed.

    Args:
        recipe: of model, data and training.
        seeds: one run each.
        images: how many of the test split.
        sizes: of the weight noise.
        say: told what is done next.

    Raises:
        StudyError: if a run diverges.
    """
    found: list[Measured] = []
    for run in _runs(recipe, [BASELINE], seeds):
        say(f"training {run}")
        *_, last = _epochs(run)
        data, untrained = build(run)
        pairs = {TRAINED: (untrained, last)}
        for name, network in (("untrained", untrained), ("trained", last)):
            pairs |= _noisy(run, network, sizes, name)
        found += _measured(run, 0, pairs, _images(data, run.seed, images))
    return found


def measure_training(
    recipe: Recipe, regimes: Sequence[str], seeds: Sequence[int], *, images: int, sizes: Sequence[float], say: Say
) -> list[Measured]:
    """Measure the network after every epoch against itself at the end of the same run, and under weight noise.

    Arguments and errors are those of `measure_references`; `regimes` are canonical texts, with a run per seed each.
    """
    found: list[Measured] = []
    for run in _runs(recipe, regimes, seeds):
        say(f"training {run}")
        networks = list(_epochs(run))
        data, _ = build(run)
        batch = _images(data, run.seed, images)
        for epoch, network in enumerate(networks):
            pairs = {FINAL: (network, networks[-1])} | _noisy(run, network, sizes)
            found += _measured(run, epoch, pairs, batch)
    return found


Pairs = dict[str, tuple[nn.Module, nn.Module]]  # reference → a network, and the one that is its signal


def _noisy(run: Run, network: nn.Module, sizes: Sequence[float], name: str = "") -> Pairs:
    noise = derive(run.seed, "weight noise")
    return {weight_noise(s, name): (with_weight_noise(network, s, seed=noise), network) for s in sizes}


def _measured(run: Run, epoch: int, pairs: Pairs, batch: Inputs) -> Iterator[Measured]:
    for reference, (model, clean) in pairs.items():
        for layer in layer_snr(model, [batch], clean):
            yield Measured(reference, run.regime, run.seed, epoch, layer)


def compare_regimes(measured: Sequence[Measured], curriculum: int) -> list[Sooner]:
    """Compare every regime with conventional training, layer by layer and seed by seed.

    Args:
        measured: by `measure_training`.
        curriculum: its length in epochs; `early` is the mean over the epochs 1 to this.
    """
    series: dict[tuple[str, str, str], dict[int, list[float]]] = {}
    for m in measured:
        series.setdefault((m.reference, m.regime, m.layer.name), {}).setdefault(m.seed, []).append(m.layer.snr_db)
    found = []
    for (reference, regime, layer), by_seed in series.items():
        base = series.get((reference, BASELINE, layer))
        if regime == BASELINE or base is None:
            continue
        ours, theirs = ({s: _reached(v) for s, v in runs.items()} for runs in (by_seed, base))
        never = None in (*ours.values(), *theirs.values())
        early = [{s: fmean(v[1 : curriculum + 1]) for s, v in runs.items()} for runs in (by_seed, base)]
        reached = None if never else paired_difference(ours, theirs)  # type: ignore[arg-type]
        found.append(Sooner(reference, regime, layer, reached, paired_difference(*early)))
    return found


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


def _runs(recipe: Recipe, regimes: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    return Study(recipes=[recipe], regimes=list(regimes), seeds=list(seeds)).recipe_runs()


def _epochs(run: Run) -> Iterator[nn.Module]:
    """The network before training and after every epoch."""
    _check_images(run)
    training = Training(run)
    network = build(run)[1]
    yield copy.deepcopy(network)
    while not training.over:
        training.run_epoch()
        if training.diverged_at is not None:
            raise StudyError(f"{run}: the loss is not finite at step {training.diverged_at}; use a lower optimizer.lr")
        network.load_state_dict(training.state_dict()["network"])
        yield copy.deepcopy(network)


def _check_images(run: Run) -> None:
    """See that the network takes the images, in one line instead of a traceback from the middle of training."""
    data, network = build(run)
    try:
        with torch.no_grad():
            network.eval()(data.train.example(1))
    except (ValueError, RuntimeError) as error:
        raise StudyError(f"{run.recipe}: the network does not take these images: {error}") from error


def _images(data: Splits, seed: int, count: int) -> Inputs:
    generator = torch.Generator().manual_seed(derive(seed, "snr images"))
    return data.test.__getitems__(torch.randperm(len(data.test), generator=generator)[:count].tolist())[0]


def _reached(series: Sequence[float]) -> int | None:
    """The first epoch from which on the ratio is enough."""
    below = [epoch for epoch, ratio in enumerate(series) if not ratio >= ENOUGH_DB]
    first = max(below, default=-1) + 1
    return first if first < len(series) else None
