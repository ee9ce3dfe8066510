"""The optimizer of a run, and what decides its learning rates."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

import lerac
from lerac.study.data.splits import Inputs
from lerac.study.plan.rates import Rates, curriculum_layers, rates_of
from lerac.study.plan.study import Run

__all__ = ["OPTIMIZERS", "SharedRate", "layer_rates", "start_curriculum", "start_optimizer", "start_rates"]

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


def start_rates(run: Run, network: nn.Module, example: Inputs) -> Rates:
    """Give the rates of a run for its network; layers are found, from a few inputs, only if it has rates for them."""
    by_layer = run.curriculum is not None and run.curriculum.kind == "lerac"
    return rates_of(run, curriculum_layers(network, example, run.curriculum) if by_layer else ())


def start_curriculum(rates: Rates, network: nn.Module, optimizer: torch.optim.Optimizer) -> lerac.LeRaC | None:
    """Give the optimizer of a network the LeRaC that these rates need, if any."""
    if not rates.layers:
        return None
    return lerac.LeRaC(optimizer, network, k=rates.k, ratio=rates.starts, curve=rates.curve, layers=rates.layers)


@dataclass
class Plateau:
    """A factor on the learning rate that is divided when a loss no longer falls, by the rule of torch's scheduler.

    As there, a loss is better if it is below the best by more than a ten-thousandth of it.

    Args:
        divide_by: above 1.
        patience: how many epochs in a row may be without a better loss; one more, and the factor is divided.
        factor: what the learning rate is multiplied by.
        best: loss so far.
        bad_epochs: since the last better loss or division.
    """

    divide_by: float
    patience: int
    factor: float = 1.0
    best: float = math.inf
    bad_epochs: int = 0

    def step(self, loss: float) -> bool:
        """Hear the loss of an epoch; say whether the factor has changed."""
        better = loss < self.best * (1 - 1e-4)
        self.best, self.bad_epochs = (loss, 0) if better else (self.best, self.bad_epochs + 1)
        if divides := self.bad_epochs > self.patience:
            self.factor, self.bad_epochs = self.factor * (1 / self.divide_by), 0
        return divides

    def state_dict(self) -> dict[str, Any]:
        """Give what it has heard so far, as plain types."""
        return {"factor": self.factor, "best": self.best, "bad_epochs": self.bad_epochs}


class SharedRate:
    """Sets the optimizer's learning rate to what `Rates` says, step by step; a LeRaC multiplies it, layer by layer.

    Args:
        run: which.
        rates: its rates.
        optimizer: whose rate.
    """

    def __init__(self, run: Run, rates: Rates, optimizer: torch.optim.Optimizer) -> None:
        schedule = run.settings["schedule"]
        plateau = schedule["name"] == "plateau"
        self._plateau = Plateau(schedule["divide_by"], schedule["patience"]) if plateau else None
        self._rates, self._optimizer = rates, optimizer
        self.steps = 0  # that the optimizer has taken
        self._write()

    @property
    def rate(self) -> float:
        """What the next step uses."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        """Follow a step that the optimizer has taken."""
        self.steps += 1
        self._write()

    def hear(self, loss: float) -> None:
        """Hear the validation loss of an epoch; the rate of the next step has been set before it, and may change."""
        if self._plateau is not None and self._plateau.step(loss):
            self._write()

    def state_dict(self) -> dict[str, Any]:
        """Give the state as plain types."""
        return {
            "scheduler": {"last_epoch": self.steps},
            "plateau": self._plateau.state_dict() if self._plateau else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.steps = state["scheduler"]["last_epoch"]
        if self._plateau is not None:
            self._plateau = replace(self._plateau, **state["plateau"])
        self._write()

    def _write(self) -> None:
        rate = self._rates.shared(self.steps, self._plateau.factor if self._plateau else 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = rate


def layer_rates(shared: SharedRate, curriculum: lerac.LeRaC | None) -> dict[str, float]:
    """Give the rates that the next step will use: the optimizer's as `all`, and with LeRaC that of each layer."""
    rates = {"all": shared.rate}
    if curriculum is not None:
        lrs = curriculum.lrs()
        rates |= {layer.name: lrs[layer.parameters[0]] for layer in curriculum.layers or ()}
    return rates
