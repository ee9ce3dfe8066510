"""The learning rates and σ of a run at every optimizer step: all that training writes, and all that is shown of it."""

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import torch
from torch import nn

from lerac.curves import CURVES, Curve
from lerac.depth import find_layers
from lerac.layers import Layer, registration_layers
from lerac.regimes.effects import Curriculum, Smoothing, curve_of, layer_ratios, length_of, sigma_of, warmup_factor
from lerac.study.data import DATASETS
from lerac.study.data.settings import DataSettings
from lerac.study.errors import StudyError
from lerac.study.models import MODELS
from lerac.study.models.theirs import Theirs, is_theirs
from lerac.study.plan.curriculum import steps_per_epoch
from lerac.study.plan.study import Run
from lerac.study.recipes.official import block_of

__all__ = [
    "Rates",
    "Seen",
    "base_changes",
    "base_schedule",
    "build_network",
    "curriculum_layers",
    "rates_of",
    "skeleton",
]


@dataclass(frozen=True)
class Rates:
    """What a run does at every optimizer step, counted from 0. Training writes nothing else.

    Args:
        lr: the full rate.
        steps: of the whole training.
        base: step → factor of all layers together on the full rate: base schedule and warm-up. The factor that a
            metric decides, of `plateau`, comes on top of it.
        layers: that have rates of their own, nearest to the input first.
        k: steps until the layers have one rate; 1 if they always do, infinite if they never do.
        starts: layer → r_j in (0, 1], of which the curve makes its factors.
        curve: (progress, r_j) → factor.
        smoothing: Curriculum by Smoothing, if there is any.
    """

    lr: float
    steps: int
    base: Callable[[int], float]
    layers: Sequence[Layer]
    k: float
    starts: Mapping[str, float]
    curve: Curve
    smoothing: Smoothing | None

    def shared(self, step: int, held: float = 1.0) -> float:
        """Give the optimizer's rate; `held` is the factor that a metric has decided."""
        return self.lr * (held * self.base(step))

    def factor(self, layer: str, step: int) -> float:
        """Give the factor of a layer on the optimizer's rate."""
        return self.curve(step / self.k, self.starts[layer]) if step < self.k else 1.0

    def sigma(self, step: int) -> float:
        """Give the standard deviation of Curriculum by Smoothing in pixels; 0 without it."""
        return sigma_of(self.smoothing)(step) if self.smoothing else 0.0


def rates_of(run: Run, layers: Sequence[Layer] | None = None) -> Rates:
    """Give the rates of a run.

    Args:
        run: which.
        layers: of its network; None to find them in one without weights, which needs data only if it is none of ours.

    Raises:
        StudyError: as `curriculum_layers`, or if the number of training examples is not known, or a rate decays to 0.
    """
    settings, curriculum = run.settings, run.curriculum
    lr, epochs, per_epoch = settings["optimizer"]["lr"], settings["training"]["epochs"], steps_per_epoch(settings)
    base = base_schedule(settings["schedule"], lr=lr, epochs=epochs, per_epoch=per_epoch)
    warmup = warmup_factor(curriculum)
    if layers is None:
        layers = curriculum_layers(*skeleton(settings, run.where), curriculum)
    own = curriculum if curriculum and curriculum.kind == "lerac" else None
    try:
        starts = layer_ratios(layers, curriculum, run.seed)
    except ValueError as error:
        raise StudyError(f"{run.recipe}: {run.regime}: {error}") from None
    return Rates(
        lr=lr,
        steps=epochs * per_epoch,
        base=lambda step: base(step) * warmup(step),
        layers=layers,
        k=length_of(own) if own else 1,
        starts=starts,
        curve=curve_of(own) if own else CURVES["exponential"],
        smoothing=run.smoothing,
    )


@dataclass(frozen=True)
class Seen:
    """What a network must know of its data: sizes, 0 where there are none, and the inputs of a few examples."""

    channels: int
    vocabulary: int
    classes: int
    inputs: Any


def build_network(settings: Mapping[str, Any], where: str, seen: Seen) -> nn.Module:
    """Build the network of a run; random weights are drawn from torch's global generator.

    Args:
        settings: of the run.
        where: folder that paths are relative to.
        seen: of its data.

    Raises:
        StudyError: if it cannot be built, its files have changed since the recipe was loaded, or it gives no logits.
    """
    model, options, weights = settings["model"], settings["network"], settings.get("weights")
    if not is_theirs(model):
        return MODELS[model](seen.channels or seen.vocabulary, seen.classes, **options)
    theirs = Theirs(model, where)
    if changed := [key for key, code in theirs.code(weights).items() if settings["code"].get(key) != code]:
        raise StudyError(f"the file of {changed[0]} ({model}) has changed since the study began; let it be meanwhile")
    sizes = {"channels": seen.channels} if seen.channels else {"vocabulary": seen.vocabulary}
    network: nn.Module = theirs.build({**sizes, "classes": seen.classes}, options, weights)
    theirs.see(network, seen.inputs, seen.classes)
    return network


def skeleton(settings: Mapping[str, Any], where: str = "") -> tuple[nn.Module, Any]:
    """Give a network, of ours without its weights, for names and order of its layers, and example inputs.

    Raises:
        StudyError: of a network that is none of ours, as `build_network`, or if its data cannot be loaded.
    """
    model, options = settings["model"], settings["network"]
    if not is_theirs(model):
        return MODELS[model].skeleton(**options), MODELS[model].example_batch(**options)
    seen = _seen(settings["dataset"], json.dumps(settings["data"]))
    with torch.random.fork_rng(devices=[]):
        return build_network(settings, where, seen), seen.inputs


@lru_cache(maxsize=4)
def _seen(dataset: str, data: str) -> Seen:
    splits = DATASETS[dataset].load(DataSettings(**json.loads(data)), 0)
    return Seen(splits.channels, splits.vocabulary, splits.classes, splits.train.example())


def curriculum_layers(network: nn.Module, inputs: Any, curriculum: Curriculum | None) -> Sequence[Layer]:
    """Give the layers that a curriculum has factors for: by measured depth, as registered, or as a recipe names them.

    Args:
        network: whose.
        inputs: an example batch.
        curriculum: None: the layers by measured depth.

    Raises:
        StudyError: if a parameter is in no block, or a block has no parameter.
    """
    if curriculum is not None and curriculum.order == "registered":
        return registration_layers(network)
    layers = find_layers(network, inputs)
    if curriculum is None or not isinstance(curriculum.ratio, Mapping):
        return layers
    return _grouped(block_of(chain.from_iterable(x.parameters for x in layers), curriculum.ratio))


def _grouped(layer_of: Mapping[str, str]) -> list[Layer]:
    members: dict[str, list[str]] = {}
    for parameter, layer in layer_of.items():
        members.setdefault(layer, []).append(parameter)
    return [Layer(name, depth, tuple(inside)) for depth, (name, inside) in enumerate(members.items())]


def base_schedule(schedule: Mapping[str, Any], *, lr: float, epochs: int, per_epoch: int) -> Callable[[int], float]:
    """Give the factor on the learning rate at a step, from 0.

    Args:
        schedule: section [schedule] of a recipe. The factor of `plateau` is held at 1: a metric drives it.
        lr: the full rate, which a `floor` is compared with.
        epochs: of the whole training.
        per_epoch: optimizer steps of one epoch.
    """
    name = schedule["name"]
    if name == "cosine":
        total = epochs * per_epoch
        return lambda step: 0.5 * (1 + math.cos(math.pi * step / total))
    if name == "step":
        rates = [lr]
        for _ in schedule["epochs"]:
            rates.append(rates[-1] / schedule["divide_by"] if rates[-1] > schedule["floor"] else rates[-1])
        return lambda step: rates[bisect_right(schedule["epochs"], step // per_epoch + 1)] / lr
    if name == "epoch-cosine":
        low = schedule["floor"] / lr

        def late(step: int) -> float:
            waited = max(0, step // per_epoch - schedule["after"])  # epoch e starts at step (e - 1) * per_epoch
            return float(low + 0.5 * (1 - low) * (1 + math.cos(math.pi * waited / epochs)))

        return late
    return lambda step: 1.0


def base_changes(schedule: Mapping[str, Any], *, epochs: int, per_epoch: int) -> Iterable[int]:
    """Give the steps at which `base_schedule` may change, rising; arguments as there."""
    match schedule["name"]:
        case "cosine":
            return range(epochs * per_epoch)
        case "step":
            return [(epoch - 1) * per_epoch for epoch in schedule["epochs"] if epoch <= epochs]
        case "epoch-cosine":
            return range((schedule["after"] + 1) * per_epoch, epochs * per_epoch, per_epoch)
    return ()
