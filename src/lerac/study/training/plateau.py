"""The base schedule `plateau`, driven by a loss."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

__all__ = ["Plateau"]


class Plateau:
    """Holds a factor on the learning rate that is divided when a loss no longer falls, by torch's rule.

    As there, a loss is better if it is below the best by more than a ten-thousandth of it.

    Args:
        divide_by: above 1.
        patience: how many epochs in a row may be without a better loss; one more, and the factor is divided.
    """

    def __init__(self, divide_by: float, patience: int) -> None:
        # An optimizer of its own: the real one's rates are set from all factors together.
        self._holder = torch.optim.SGD([torch.zeros((), requires_grad=True)], lr=1.0)
        self._rule = ReduceLROnPlateau(self._holder, factor=1 / divide_by, patience=patience, eps=0.0)

    @property
    def factor(self) -> float:
        """What the learning rate is multiplied by; 1 at the start."""
        return float(self._holder.param_groups[0]["lr"])

    def step(self, loss: float) -> bool:
        """Hear the loss of an epoch; say whether the factor has changed."""
        before = self.factor
        self._rule.step(loss)
        return self.factor != before

    def state_dict(self) -> dict[str, Any]:
        """Give factor, best loss and epochs without a better one, as plain types."""
        return {"factor": self.factor, "best": self._rule.best, "bad_epochs": self._rule.num_bad_epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._holder.param_groups[0]["lr"] = state["factor"]
        self._rule.best, self._rule.num_bad_epochs = state["best"], state["bad_epochs"]
