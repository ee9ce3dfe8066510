"""What a regime does to the learning rates and to the convolutions of a training, in optimizer steps."""

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
    "order_of",
    "sigma_of",
    "smoothing_of",
    "warmup_factor",
]

Order = Literal["nearest", "reversed", "shuffled", "registered"]

_ORDERS: dict[str, Order] = {"lerac-reversed": "reversed", "lerac-shuffled": "shuffled"}


@dataclass(frozen=True)
class Curriculum:
    """What a regime does to the learning rates at the start of training, with nothing left open.

    Args:
        kind: `warmup` multiplies all rates by one factor, `lerac` gives each layer its own.
        k: length in optimizer steps.
        curve: a name in `lerac.curves.CURVES`, or `staircase`.
        ratio: start over full rate: of all layers for `warmup` (None: a straight line from 0), of the last
            layer for `lerac`; or of every block of a network, by its name.
        order: which layer starts highest: the nearest to the input, the farthest, one drawn by the seed, or the one
            that the network registers first.
        base: of the staircase: factor of one update, above 1.
        updates: of the staircase: how many, equally spaced, the last one at the end; or their progress values.
    """

    kind: Literal["warmup", "lerac"]
    k: int
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
        regime: that says k, curve and ratio; only that of a linear warm-up can be open: it starts at 0.
        epoch_steps: optimizer steps of an epoch.
        epochs: of the whole training; None if nobody knows.
        shown: what errors call the regime; None: its text.

    Raises:
        ValueError: if the curriculum is too short or outlasts training, or a staircase has more updates than steps.
    """
    if regime.name in ("conventional", "cbs"):
        return None
    options: dict[str, Any] = dict(regime.options)
    k = _steps(options["k"], shown or str(regime), epoch_steps, epochs)
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
    if curriculum.base is not None and curriculum.updates is not None:
        return staircase(curriculum.base, curriculum.updates)
    return CURVES[curriculum.curve]


def sigma_of(smoothing: Smoothing) -> Callable[[int], float]:
    """Give the standard deviation of Curriculum by Smoothing in an optimizer step, counted from 0."""
    return lambda step: smoothing.sigma * smoothing.decay ** (step // smoothing.every)


def warmup_factor(curriculum: Curriculum | None) -> Callable[[int], float]:
    """Give the factor common to all layers at a step: below 1 only during a warm-up."""
    if curriculum is None or curriculum.kind != "warmup":
        return lambda step: 1.0
    k, ratio, curve = curriculum.k, curriculum.ratio, curve_of(curriculum)
    if not isinstance(ratio, float):
        return lambda step: min(1.0, step / k)
    return lambda step: curve(step / k, ratio) if step < k else 1.0


def layer_ratios(layers: Sequence[Layer], curriculum: Curriculum | None, seed: int) -> dict[str, float]:
    """Give every layer's start over its full rate under LeRaC: 1 at one end, `ratio` at the other; or as it says."""
    if curriculum is None or curriculum.kind != "lerac" or curriculum.ratio is None:
        return {layer.name: 1.0 for layer in layers}
    return Deal(curriculum.order, seed)(layers, curriculum.ratio)


@dataclass(frozen=True)
class Deal:
    """Says which layer gets which start: the controls use exactly the same numbers on other layers.

    Args:
        order: `reversed` starts the farthest highest, `shuffled` deals them out in an order drawn by the seed.
        seed: of the run.
    """

    order: Order
    seed: int

    def __call__(self, layers: Sequence[Layer], ratio: float | Mapping[str, float]) -> dict[str, float]:
        """Give r_j by the layer's name; arguments and errors as for `lerac.layers.start_ratios`."""
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
