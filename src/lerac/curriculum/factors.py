"""Which layer every parameter is in, and so at which part of the full rate it starts."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lerac.arguments import check_layers, some
from lerac.curriculum.first_forward import FirstForward
from lerac.curriculum.optimizers import lost_parameters
from lerac.curriculum.ranks import agreed
from lerac.curriculum.state import State
from lerac.depth import find_layers
from lerac.layers import Layer, named_parameters, start_ratios

__all__ = ["Factors", "from_first_version"]


class Factors:
    """The layers of one curriculum and their r_j: unknown at first, then given, or found in the first step.

    Args:
        optimizer: whose parameters must each be in a layer.
        model: whose parameters the layers name.
        ratio: as given to `LeRaC`.
    """

    def __init__(self, optimizer: Optimizer, model: nn.Module, ratio: float | Mapping[str, float]) -> None:
        self._optimizer = optimizer
        self._model = model
        self._ratio = ratio
        self._first_forward: FirstForward | None = None
        self.layers: tuple[Layer, ...] | None = None
        self.starts: dict[str, float] = {}  # r_j by the parameter's name

    def watch(self) -> None:
        """Look out for a forward pass to find the layers from, if they are unknown."""
        if self.layers is not None or self._first_forward is not None:
            return
        if "_forward_pre_hooks" in vars(self._model):  # else a copy, half made, of a model with a curriculum of its own
            self._first_forward = FirstForward(self._model)

    def unwatch(self) -> None:
        """Leave nothing on the model."""
        if self._first_forward is not None:
            self._first_forward.done()
            self._first_forward = None

    def find(self) -> None:
        """Find the layers from what was called; in a distributed run those of the deciding rank.

        Raises:
            RuntimeError: if there was none, or it does not say how several modules follow each other.
        """

        def find() -> tuple[Layer, ...]:
            loop = self._first_forward.seen() if self._first_forward else None
            if loop is None:
                name = type(self._model).__name__
                raise RuntimeError(
                    f"LeRaC has seen no forward pass of {name} in training mode since it was built, so it does not "
                    "know the layers. Call model(x), not model.forward(x), after model.train(); if another module is "
                    "what your loop calls, build LeRaC with that one as the model; and if that cannot be, pass "
                    "layers=lerac.find_layers(model, *example_inputs)"
                )
            return find_layers(self._model, loop)

        self.settle(check_layers(agreed(find, list(named_parameters(self._model))), self._model))

    def settle(self, layers: tuple[Layer, ...]) -> None:
        """Know the layers from here on, if they fit the ratio and every parameter of the optimizer has one."""
        by_layer = start_ratios(layers, self._ratio)
        starts = {name: by_layer[layer.name] for layer in layers for name in layer.parameters}
        self._by_id(starts)
        self.layers, self.starts = layers, starts
        self.unwatch()

    def by_id(self) -> dict[int, float]:
        """Give r_j by the identity of the parameter, for every parameter of the optimizer.

        Raises:
            ValueError: if one of them is in no layer.
        """
        return self._by_id(self.starts)

    def _by_id(self, starts: Mapping[str, float]) -> dict[int, float]:
        named = named_parameters(self._model, aliases=True)
        ratios = {id(named[name]): ratio for name, ratio in starts.items() if name in named}
        if lost := lost_parameters(self._optimizer, self._model, ratios):
            raise ValueError(
                f"{len(lost)} parameters of the optimizer are in no layer of the curriculum: {some(lost)}. If they are "
                "not the model's, pass nn.ModuleList([model, loss]) as the model; if the model got them later, pass "
                "layers that have them to a new curriculum"
            )
        return ratios

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_first_forward": None}


def from_first_version(state: dict[str, Any]) -> dict[str, Any]:
    """Bring what lerac 0.1.0 pickled to the form of today."""
    steps, k = state["_steps"], state["_k"]
    waits = state.get("_fresh", False) and steps > 0
    factors = Factors(state["_optimizer"], state["_model"], state["_ratio"])
    factors.layers, factors.starts = state["_layers"], state["_factors"]
    kept = {name: state[name] for name in ("_optimizer", "_model", "_k", "_ratio", "_curve", "_steps")}
    return kept | {
        "_factors": factors,
        "_precision_checked": state["_precision_checked"],
        "_state": State.REMOVED if state["_removed"] else State.RESTORED if waits else State.at(steps, k),
    }
