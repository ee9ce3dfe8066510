"""What a regime does to the learning rates and to the convolutions of a training, in optimizer steps."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lerac.curves import CURVES, Curve, staircase
from lerac.layers import Layer, start_ratios
from lerac.regimes.drawing import derive
from lerac.regimes.text import STAIRCASE, Regime, updates_needed

__all__ = [
    "Curriculum",
    "Deal",
    "Order",
    "Smoothing",
    "curriculum_of",
    "curve_of",
    "layer_ratios",
    "length_of",
    "order_of",
    "ratio_of",
    "sigma_of",
    "smoothing_of",
    "unfreeze",
    "warmup_factor",
]

Order = Literal["nearest", "reversed", "shuffled", "registered", "decaying"]

UNFREEZE = "unfreeze"
_THRESHOLD = 0.5  # any number below 1 does: what counts is when 0.5^progress has come down to 0.5^(depth / deepest)

_ORDERS: dict[str, Order] = {"lerac-reversed": "reversed", "lerac-shuffled": "shuffled"}


@dataclass(frozen=True)
class Curriculum:
    """What a regime does to the learning rates at the start of training, with nothing left open.

    Args:
        kind: `warmup` multiplies all rates by one factor, `lerac` gives each layer its own.
        k: length in optimizer steps; None: that of the training, with the factors of the first step.
        curve: a name in `lerac.curves.CURVES`, `staircase`, or `unfreeze`, see there.
        ratio: start over full rate: of all layers for `warmup` (None: a straight line from 0), of the last
            layer for `lerac`; or of every block of a network, by its name. Of `unfreeze` None; with the order
            `decaying` from one layer to the next.
        order: which layer starts highest: the nearest to the input, the farthest, one drawn by the seed, or the one
            that the network registers first; `decaying`: the farthest, and the others as `Deal` says.
        base: of the staircase: factor of one update, above 1.
        updates: of the staircase: how many, equally spaced, the last one at the end; or their progress values.
    """

    kind: Literal["warmup", "lerac"]
    k: int | None
    curve: str
    ratio: float | Mapping[str, float] | None
    order: Order = "nearest"
    base: float | None = None
    updates: int | tuple[float, ...] | None = None


@dataclass(frozen=True)
class Smoothing:
    """What Curriculum by Smoothing does in a run, with nothing left open.

    Args:
        sigma: standard deviation of the Gaussian at the start, above 0, in pixels.
        decay: factor on it, in (0, 1].
        every: optimizer steps from one decay to the next.
    """

    sigma: float
    decay: float
    every: int


def curriculum_of(
    regime: Regime, *, epoch_steps: int, epochs: float | None = None, shown: str | None = None
) -> Curriculum | None:
    """Turn what a regime does to the learning rates into optimizer steps; None if it leaves them alone.

    Args:
        regime: that says k, curve and ratio, or whichever of its options there are; only the ratio of a linear warm-up
            can be open: it starts at 0.
        epoch_steps: optimizer steps of an epoch.
        epochs: of the whole training; None if nobody knows.
        shown: what errors call the regime; None: its text.

    Raises:
        ValueError: if the curriculum is too short or outlasts training, or a staircase has more updates than steps.
    """
    if regime.name in ("conventional", "cbs"):
        return None
    options: dict[str, Any] = dict(regime.options)
    if regime.name == "layer-decay":
        return Curriculum("lerac", None, "exponential", options["factor"], "decaying")
    k = _steps(options["k"], shown or str(regime), epoch_steps, epochs)
    if regime.name == "unfreeze":
        return Curriculum("lerac", k, UNFREEZE, None, order_of(regime))
    ratio, base, updates = options.get("ratio"), None, None
    if options["curve"] == STAIRCASE and ratio is not None:
        base = options.get("base", 10.0)
        updates = options.get("updates") or updates_needed(base, ratio)
        if updates > k:
            raise ValueError(
                f"{shown or regime}: {updates} updates do not fit into a curriculum of {k} steps: use a larger base"
            )
    kind: Literal["warmup", "lerac"] = "warmup" if regime.name == "warmup" else "lerac"
    return Curriculum(kind, k, options["curve"], ratio, order_of(regime), base, updates)


def order_of(regime: Regime) -> Order:
    """Say which layer starts highest."""
    return _ORDERS.get(regime.name, "registered" if regime.options.get("depth") == "registered" else "nearest")


def smoothing_of(regime: Regime, *, epoch_steps: int, shown: str | None = None) -> Smoothing | None:
    """Turn what a regime does to the convolutions into optimizer steps; None if it does nothing.

    Args:
        regime: that says σ, its decay and how often.
        epoch_steps: optimizer steps of an epoch.
        shown: what errors call the regime; None: its text.

    Raises:
        ValueError: if σ would decay more often than once per step.
    """
    if not regime.name.startswith("cbs"):
        return None
    options: dict[str, Any] = dict(regime.options)
    if (every := round(options["every"] * epoch_steps)) < 1:
        raise ValueError(
            f"{shown or regime} with every = {options['every']:g} epochs is shorter than a step: use "
            f"{1 / epoch_steps:g} or more"
        )
    return Smoothing(options["sigma"], options["decay"], every)


def _steps(k: float, shown: str, epoch_steps: int, epochs: float | None) -> int:
    steps = round(k * epoch_steps)
    what = f"the curriculum of {shown} (k = {k:g} epochs, {steps} optimizer steps)"
    if steps < 1:
        raise ValueError(f"{what} is shorter than a step: use k = {1 / epoch_steps:g} or more")
    if epochs is not None and steps > (total := round(epochs * epoch_steps)):
        raise ValueError(f"{what} outlasts training ({epochs:g} epochs, {total} steps): use a smaller k")
    return steps


def curve_of(curriculum: Curriculum) -> Curve:
    """Give the function (progress, ratio) → factor."""
    if curriculum.curve == UNFREEZE:
        return unfreeze
    if curriculum.base is not None and curriculum.updates is not None:
        return staircase(curriculum.base, curriculum.updates)
    return CURVES[curriculum.curve]


def length_of(curriculum: Curriculum) -> float:
    """Give k in optimizer steps, infinite where it is that of the training."""
    return math.inf if curriculum.k is None else curriculum.k


def ratio_of(curriculum: Curriculum) -> float | Mapping[str, float]:
    """Give what the starts of the layers are dealt from."""
    return _THRESHOLD if curriculum.ratio is None else curriculum.ratio


def unfreeze(progress: float, ratio: float) -> float:
    """The update rule of the regime `unfreeze`: 0 until the layer's turn, then 1; first the layer next to the input.

    The layer of depth d of at most D has the factor 0 before step ⌈k · d / D⌉, and 1 from there on, so that the last
    one begins at step k. That is the limit of the staircase of LeRaC's authors, in which all rates climb at one pace,
    min(1, r^(d / D − l / k)), as r = `ratio` of the last layer goes to 0 and the steps to nothing. (Eq. 8 of the paper,
    r^((d / D) · (1 − l / k)), has another limit: all layers but the first are still until k.) It is the order opposite
    to the gradual unfreezing of ULMFiT, which begins at the output.

    With a factor of 0 no parameter moves, nor by weight decay, while the optimizer's own state, such as momentum and
    step counts, goes on as it does at rate 0. Gradients are computed and clipped with the others.

    Args:
        progress: l / k of the step, in [0, 1].
        ratio: 0.5 ** (d / D) of the layer: its turn is when 0.5 ** progress has come down to it.

    Source: Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018, section 3.3
    (gradual unfreezing); Croitoru et al., "Learning Rate Curriculum", IJCV 2024, Eq. 8.

    Examples:
        >>> [[unfreeze(step / 4, 0.5 ** (depth / 2)) for step in range(4)] for depth in (0, 1, 2)]
        [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """
    return float(_THRESHOLD**progress <= ratio)


def sigma_of(smoothing: Smoothing) -> Callable[[int], float]:
    """Give the standard deviation of Curriculum by Smoothing in an optimizer step, counted from 0."""
    return lambda step: smoothing.sigma * smoothing.decay ** (step // smoothing.every)


def warmup_factor(curriculum: Curriculum | None) -> Callable[[int], float]:
    """Give the factor common to all layers at a step: below 1 only during a warm-up."""
    if curriculum is None or curriculum.kind != "warmup":
        return lambda step: 1.0
    k, ratio, curve = length_of(curriculum), curriculum.ratio, curve_of(curriculum)
    if not isinstance(ratio, float):
        return lambda step: min(1.0, step / k)
    return lambda step: curve(step / k, ratio) if step < k else 1.0


def layer_ratios(layers: Sequence[Layer], curriculum: Curriculum | None, seed: int) -> dict[str, float]:
    """Give every layer's r_j, which the curve makes its factors of: 1 at one end, `ratio` at the other; or as it says.

    Raises:
        ValueError: as `Deal`.
    """
    if curriculum is None or curriculum.kind != "lerac":
        return {layer.name: 1.0 for layer in layers}
    return Deal(curriculum.order, seed)(layers, ratio_of(curriculum))


@dataclass(frozen=True)
class Deal:
    """Says which layer gets which start: the controls use exactly the same numbers on other layers.

    Args:
        order: `reversed` starts the farthest highest, `shuffled` deals them out in an order drawn by the seed.
            `decaying`, of the regime `layer-decay`: the layer of depth d of at most D has ratio ** (D − d).
        seed: of the run.

    Source of `decaying`: layer-wise learning rate decay in fine-tuning, as ELECTRA (Clark et al., ICLR 2020, arXiv
    2003.10555, 0.8 and 0.9 per block) and BEiT (Bao et al., ICLR 2022, arXiv 2106.08254) have it; before them ULMFiT.
    """

    order: Order
    seed: int

    def __call__(self, layers: Sequence[Layer], ratio: float | Mapping[str, float]) -> dict[str, float]:
        """Give r_j by the layer's name; arguments and errors as for `lerac.layers.start_ratios`.

        Raises:
            ValueError: also if the rate of a layer would decay to 0.
        """
        if self.order == "decaying" and not isinstance(ratio, Mapping):
            return _decayed(layers, ratio)
        starts = start_ratios(layers, ratio)
        values = list(starts.values())
        if self.order == "reversed" and isinstance(ratio, Mapping):
            values.reverse()
        elif self.order == "reversed":
            mirrored = [replace(layer, depth=max(other.depth for other in layers) - layer.depth) for layer in layers]
            return start_ratios(mirrored, ratio)
        if self.order == "shuffled":
            random.Random(derive(self.seed, "shuffled layers")).shuffle(values)
        return dict(zip(starts, values, strict=True))


def _decayed(layers: Sequence[Layer], factor: float) -> dict[str, float]:
    deepest = max(layer.depth for layer in layers)
    decayed = {layer.name: factor ** (deepest - layer.depth) for layer in layers}
    if gone := [name for name, part in decayed.items() if part == 0]:
        raise ValueError(
            f"factor {factor:g} leaves the layer {gone[0]!r}, {deepest} layers before the last, no rate at all: use a "
            "larger one"
        )
    return decayed
