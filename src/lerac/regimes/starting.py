"""The `LeRaC` that a regime needs: a warm-up is one with a single layer, and the controls deal its starts otherwise."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lerac.curriculum.lerac import LeRaC
from lerac.layers import Layer, named_parameters, registration_layers
from lerac.regimes.effects import Curriculum, Deal, curve_of, length_of, ratio_of

__all__ = ["start_curriculum"]

_WHOLE = "all layers"


class _Dealt(LeRaC):
    """A LeRaC whose starts are dealt out otherwise."""

    def __init__(self, deal: Deal, *args: Any, **options: Any) -> None:
        self._deal = deal
        super().__init__(*args, **options)


def _from_zero(progress: float, ratio: float) -> float:
    """A straight line from 0, whatever the ratio."""
    return progress


def start_curriculum(
    optimizer: Optimizer, model: nn.Module, what: Curriculum, seed: int, layers: Sequence[Layer] | None
) -> LeRaC:
    """Give an optimizer the LeRaC that a regime needs.

    Raises:
        TypeError: as `LeRaC`.
        ValueError: as `LeRaC`, or if layers are given for `depth=registered`.
    """
    k, curve = length_of(what), curve_of(what)
    if what.kind == "warmup":
        whole = [Layer(_WHOLE, 0, tuple(named_parameters(model)))]
        if not isinstance(what.ratio, float):
            return LeRaC(optimizer, model, k=k, ratio={_WHOLE: 1.0}, curve=_from_zero, layers=whole)
        return LeRaC(optimizer, model, k=k, ratio={_WHOLE: what.ratio}, curve=curve, layers=whole)
    ratio = ratio_of(what)
    if what.order == "registered":
        if layers is not None:
            raise ValueError("depth=registered orders the layers as the model registers them: leave layers out")
        layers = registration_layers(model)
    if what.order in ("nearest", "registered"):
        return LeRaC(optimizer, model, k=k, ratio=ratio, curve=curve, layers=layers)
    deal = Deal(what.order, seed)
    return _Dealt(deal, optimizer, model, k=k, ratio=ratio, curve=curve, layers=layers)
