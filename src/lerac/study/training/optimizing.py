"""The optimizer of a run, and what decides its learning rates."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

import lerac
from lerac.study.data.splits import Inputs
from lerac.study.plan.rates import base_schedule, curriculum_layers, curve_of, layer_ratios, warmup_factor
from lerac.study.plan.study import Run, steps_per_epoch
from lerac.study.training.plateau import Plateau

__all__ = ["OPTIMIZERS", "SharedRate", "layer_rates", "start_curriculum", "start_optimizer"]

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
}


def start_optimizer(run: Run, network: nn.Module) -> torch.optim.Optimizer:
    """Give the optimizer of a run for its network."""
    settings = run.settings["optimizer"]
    options = {key: value for key, value in settings.items() if key != "name" and value is not None}
    return OPTIMIZERS[settings["name"]](network.parameters(), **options)


def start_curriculum(
    run: Run, network: nn.Module, optimizer: torch.optim.Optimizer, example: Inputs
) -> lerac.LeRaC | None:
    """Give the optimizer the LeRaC of a run, if it has one.

    Args:
        run: which.
        network: its network.
        optimizer: of the network.
        example: a few inputs, from which the layers are found.
    """
    curriculum = run.curriculum
    if curriculum is None or curriculum.kind != "lerac":
        return None
    layers = curriculum_layers(network, example, curriculum)
    ratios = layer_ratios(layers, curriculum, run.seed)
    return lerac.LeRaC(optimizer, network, k=curriculum.k, ratio=ratios, curve=curve_of(curriculum), layers=layers)


class SharedRate:
    """Sets the optimizer's learning rate: the full one times base schedule, plateau and warm-up.

    Args:
        run: which.
        optimizer: whose rate; a LeRaC multiplies it further, layer by layer.
    """

    def __init__(self, run: Run, optimizer: torch.optim.Optimizer) -> None:
        schedule = run.settings["schedule"]
        plateau = schedule["name"] == "plateau"
        self._plateau = Plateau(schedule["divide_by"], schedule["patience"]) if plateau else None
        self._scheduler = LambdaLR(optimizer, self._factor(run))

    @property
    def steps(self) -> int:
        """Optimizer steps taken."""
        return self._scheduler.last_epoch

    @property
    def rate(self) -> float:
        """What the next step uses."""
        return float(self._scheduler.optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        """Follow a step that the optimizer has taken."""
        self._scheduler.step()

    def hear(self, loss: float) -> None:
        """Hear the validation loss of an epoch; the rate of the next step has been set before it, and may change."""
        if self._plateau is None or not self._plateau.step(loss):
            return
        rates = self._scheduler
        for group, full, factor in zip(rates.optimizer.param_groups, rates.base_lrs, rates.lr_lambdas, strict=True):
            group["lr"] = full * factor(rates.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Give the state as plain types."""
        return {
            "scheduler": self._scheduler.state_dict(),
            "plateau": self._plateau.state_dict() if self._plateau else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._scheduler.load_state_dict(state["scheduler"])
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])

    def _factor(self, run: Run) -> Callable[[int], float]:
        """Give the factor on the full rate at a step, from 0."""
        settings, plateau, warmup = run.settings, self._plateau, warmup_factor(run.curriculum)
        lr, epochs = settings["optimizer"]["lr"], settings["training"]["epochs"]
        base = base_schedule(settings["schedule"], lr=lr, epochs=epochs, per_epoch=steps_per_epoch(settings))
        if plateau is None:
            return lambda step: base(step) * warmup(step)
        return lambda step: plateau.factor * warmup(step)


def layer_rates(shared: SharedRate, curriculum: lerac.LeRaC | None) -> dict[str, float]:
    """Give the rates that the next step will use: the optimizer's as `all`, and with LeRaC that of each layer."""
    rates = {"all": shared.rate}
    if curriculum is not None:
        lrs = curriculum.lrs()
        rates |= {layer.name: lrs[layer.parameters[0]] for layer in curriculum.layers or ()}
    return rates
