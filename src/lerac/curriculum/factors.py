"""Which layer every parameter is in, and so at which part of the full rate it starts; the same on every rank."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer

from lerac.arguments import check_layers, some
from lerac.curriculum.first_forward import FirstForward
from lerac.curriculum.notices import notice
from lerac.curriculum.optimizers import lost_parameters
from lerac.curriculum.step_count import LAYERS_KEY, STEP_KEY
from lerac.depth import find_layers
from lerac.layers import Layer, group_of, largest_parts, named_parameters, start_ratios

__all__ = ["Factors", "agreed"]


class Factors:
    """The layers of one curriculum and their r_j: unknown at first, then given, found in a step, or from a checkpoint.

    Args:
        optimizer: whose parameters must each be in a layer.
        model: whose parameters the layers name.
        ratio: as given to `LeRaC`.
        deal: gives every layer's r_j by its name.
    """

    _deal: Callable[..., dict[str, float]] = staticmethod(start_ratios)  # in pickles of 0.1.0 there is none

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        ratio: float | Mapping[str, float],
        deal: Callable[[Sequence[Layer], float | Mapping[str, float]], dict[str, float]] = start_ratios,
    ) -> None:
        self._optimizer = optimizer
        self._model = model
        self._ratio = ratio
        self._deal = deal
        self._first_forward: FirstForward | None = None
        self._given = False  # by the user or with the curriculum's own state: no checkpoint replaces them
        self.layers: tuple[Layer, ...] | None = None
        self.starts: dict[str, float] = {}  # r_j by the parameter's name
        self.text = ""  # both, as the optimizer carries them

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

    def give(self, layers: tuple[Layer, ...]) -> None:
        """Take these layers for good.

        Raises:
            ValueError: if they do not fit the ratio, or a parameter of the optimizer is in none.
        """
        self._settle(layers, self._starts_of(layers))
        self._given = True
        self._warn_of_one_layer()

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

        layers = check_layers(agreed(find, list(named_parameters(self._model))), self._model)
        self._settle(layers, self._starts_of(layers))
        self._warn_of_one_layer()

    def adopt(self, text: str) -> None:
        """Go on with the layers and r_j that a checkpoint of the optimizer brings, bit for bit.

        Raises:
            ValueError: if they are damaged, of another model, or not those that the user has given.
        """
        if text in ("", self.text):
            return
        layers, starts = _read(text, self._model)
        if self._given and self.layers is not None:
            layers, own = self.layers, self.starts
        else:
            try:
                own = self._starts_of(layers)
            except ValueError as error:
                raise ValueError(f"the optimizer's checkpoint brings other layers: {error}. {_ANEW}") from None
        _check_same(starts, own)
        self._settle(layers, {name: starts[name] for name in own})

    @property
    def smallest(self) -> float:
        """The r_j of the layer that starts lowest; until the layers are known, what the ratio says."""
        starts = self.starts or (self._ratio if isinstance(self._ratio, Mapping) else {"": self._ratio})
        return min(starts.values())

    def by_id(self) -> dict[int, float]:
        """Give r_j by the identity of the parameter, for every parameter of the optimizer.

        Raises:
            ValueError: if one of them is in no layer.
        """
        return self._by_id(self.starts)

    def _warn_of_one_layer(self) -> None:
        if isinstance(self._ratio, float) and self._ratio < 1 and min(self.starts.values()) == 1:
            notice(
                f"LeRaC can tell a single layer apart in {type(self._model).__name__}, so every parameter has its full "
                "rate from the start, and nothing is changed: frozen layers do not count. Build LeRaC when more is "
                "trained, or pass layers= of different depths"
            )

    def _starts_of(self, layers: Sequence[Layer]) -> dict[str, float]:
        by_layer = self._deal(layers, self._ratio)
        return {name: by_layer[layer.name] for layer in layers for name in layer.parameters}

    def _settle(self, layers: tuple[Layer, ...], starts: dict[str, float]) -> None:
        self._by_id(starts)
        self.layers, self.starts = layers, starts
        self.text = _written(layers, starts, self._model)
        self.unwatch()

    def _by_id(self, starts: Mapping[str, float]) -> dict[int, float]:
        named = named_parameters(self._model, aliases=True)
        ratios = {id(named[name]): ratio for name, ratio in starts.items() if name in named}
        if lost := lost_parameters(self._optimizer, self._model, ratios):
            raise ValueError(
                f"{len(lost)} parameters of the optimizer are in no layer of the curriculum: {some(lost)}. If they are "
                "not the model's, pass nn.ModuleList([model, loss]) as the model; if the model got them later, pass "
                "layers that have them to a new curriculum; if DeepSpeed has flattened all layers into them since, use "
                "its stage 0, which does not"
            )
        return ratios

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_first_forward": None}


def agreed(find: Callable[[], tuple[Layer, ...]], parameters: Sequence[str]) -> tuple[Layer, ...]:
    """Find layers on every rank, and give those of the first rank whose model has the same parameters.

    With data parallelism that is rank 0: batches of other shapes, or control flow that depends on them, cannot make
    the ranks disagree. With pipeline parallelism each stage keeps its own. Every rank must call this.

    Args:
        find: finds the layers of this rank's model, or raises.
        parameters: names of this rank's parameters.

    Raises:
        RuntimeError: if the deciding rank could not find layers; its reason is given.
        Exception: whatever `find` raises, if this rank decides.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return find()
    layers, error = None, None
    try:
        layers = find()
    except Exception as raised:  # the other ranks are waiting to hear of it
        error = raised
    answers: list[Any] = [None] * dist.get_world_size()
    try:
        dist.all_gather_object(answers, (list(parameters), layers, str(error)))
    except RuntimeError as failed:
        raise RuntimeError(
            "the ranks could not agree on the layers: every rank must build LeRaC and step its optimizer; if only some "
            "do, pass layers=lerac.find_layers(model, *example_inputs)"
        ) from failed
    decides = next(rank for rank, (names, _, _) in enumerate(answers) if names == list(parameters))
    _, found, reason = answers[decides]
    if found is not None:
        return tuple(found)
    if error is not None and decides == dist.get_rank():
        raise error
    raise RuntimeError(f"rank {decides} found no layers: {reason}")


def _written(layers: Sequence[Layer], starts: Mapping[str, float], model: nn.Module) -> str:
    """Write layers down for the optimizer to carry: name, depth, r_j and the largest parts of the model that it has.

    Whole modules stand for their parameters, so that it stays short: it is written into every param group.
    """
    placed = {name for layer in layers for name in layer.parameters}
    rest = [name for name in named_parameters(model) if name not in placed]
    parts = largest_parts([*(layer.parameters for layer in layers), rest])
    rows = [
        [layer.name, layer.depth, starts[layer.parameters[0]], list(dict.fromkeys(own))]
        for layer, own in zip(layers, parts[:-1], strict=True)
    ]
    return json.dumps(rows, separators=(",", ":"))


def _read(text: str, model: nn.Module) -> tuple[tuple[Layer, ...], dict[str, float]]:
    """Read what `_written` wrote, for a model with parameters of the same names."""
    try:
        rows = [(str(name), int(depth), float(start), list(parts)) for name, depth, start, parts in json.loads(text)]
        if not all(depth >= 0 and 0 < start <= 1 for _, depth, start, _ in rows):
            raise ValueError("a depth is negative or a start outside (0, 1]")  # noqa: TRY301
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the layers in the optimizer's checkpoint ({LAYERS_KEY!r} in its param groups) are damaged: {error}"
        ) from None
    groups = {part: i for i, (_, _, _, parts) in enumerate(rows) for part in parts}
    members: list[list[str]] = [[] for _ in rows]
    for name in named_parameters(model):
        if (at := group_of(name, groups)) is not None:
            members[at].append(name)
    if missing := [rows[i][0] for i, names in enumerate(members) if not names]:
        raise ValueError(
            f"the optimizer's checkpoint is of a curriculum with the layers {some(missing)}, of which this "
            f"{type(model).__name__} has no parameter: load it with the same model. {_ANEW}"
        )
    layers = tuple(Layer(row[0], row[1], tuple(names)) for row, names in zip(rows, members, strict=True))
    return layers, {name: row[2] for row, names in zip(rows, members, strict=True) for name in names}


_ANEW = f"To begin a new curriculum from it, delete {STEP_KEY!r} from each of its param groups"


def _check_same(theirs: Mapping[str, float], ours: Mapping[str, float]) -> None:
    """See that a checkpoint starts parameters where this curriculum does, within rounding of another machine."""
    if lost := [name for name in ours if name not in theirs]:
        raise ValueError(
            f"the optimizer's checkpoint is of a curriculum that has no layer for {some(lost)}, and this one has: "
            f"build it with the same layers. {_ANEW}"
        )
    apart = {name: abs(math.log(theirs[name] / ours[name])) for name in ours}
    name = max(apart, key=apart.__getitem__)
    if apart[name] > 1e-9:
        raise ValueError(
            f"the optimizer's checkpoint is of a curriculum in which {name!r} starts at {theirs[name]:.6g} of the full "
            f"rate, and in this one at {ours[name]:.6g}: build it with the same ratio and layers. {_ANEW}"
        )
