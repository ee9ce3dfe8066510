"""Pictures of layers, curricula and signal-to-noise ratios. Needs matplotlib: `pip install 'lerac[study]'`."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from lerac.arguments import check_curve, check_length, check_lr, check_ratio
from lerac.curves import Curve
from lerac.layers import Layer, named_parameters, start_ratios
from lerac.snr import LayerSNR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import nn

__all__ = ["layers", "load_matplotlib", "rates", "schedule", "snr"]

_POINTS = 400


def schedule(
    layers: Sequence[Layer],
    *,
    k: float,
    ratio: float | Mapping[str, float] = 1e-6,
    curve: str | Curve = "exponential",
    lr: float | Callable[[int], float] = 1.0,
    steps: int | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw the learning rate of every layer against the optimizer step, without training.

    One line per layer on a logarithmic axis, dark next to the input and light at the output. A rate of zero
    is left out.

    Args:
        layers: nearest to the input first, as `lerac.find_layers` gives them.
        k: optimizer steps of the curriculum, 1 or more; `math.inf`: as long as training, and `steps` must be given.
        ratio: as for `lerac.LeRaC`: the last layer's start over the full rate, or each layer's by name.
        curve: a name in `lerac.curves.CURVES` or a callable (progress, ratio) → factor.
        lr: the ordinary rate, 0 or more, or a function from the step (0, 1, …) to it.
        steps: how many steps to draw; None for 1.5 · k.
        axes: where to draw; None for a figure of its own.

    Returns:
        The figure; `figure.savefig("rates.svg")` writes it.

    Raises:
        ImportError: if matplotlib is missing; the message says how to install it.
        ValueError: if an argument is out of range, or `ratio` lacks a layer.
        TypeError: if an argument has the wrong type.

    Examples:
        >>> figure = lerac.plot.schedule(lerac.find_layers(model, images), k=500, lr=0.1)  # doctest: +SKIP
    """
    figure, axes = _canvas(axes)
    k, factor = check_length(k), check_curve(curve)
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be 1 or more, got {steps!r}")
    if steps is None and math.isinf(k):
        raise ValueError("steps must be given where k is infinite: how many are to be drawn?")
    if not layers:
        raise ValueError("layers must have at least one layer, got none")
    starts = start_ratios(layers, check_ratio(ratio))
    total = steps or max(int(k) + 1, round(1.5 * k))
    ends = (total - 1, int(min(k, total - 1)))  # the curriculum in full, however short it is
    at = sorted({round(i * end / _POINTS) for i in range(_POINTS + 1) for end in ends})
    base = [check_lr(lr(step) if callable(lr) else lr) for step in at]
    lines = {}
    for layer in layers:
        start = starts[layer.name]
        lines[layer.name] = [
            b * (factor(step / k, start) if step < k else 1.0) for b, step in zip(base, at, strict=True)
        ]
    _draw(axes, at, lines)
    return figure


def rates(at: Sequence[int], lrs: Mapping[str, Sequence[float]], *, steps: int, axes: Axes | None = None) -> Figure:
    """Draw rates that are known, each from its step until the next, as `schedule` draws them.

    Args:
        at: optimizer steps, rising from 0.
        lrs: name → one rate for each of them, nearest to the input first.
        steps: of the whole training, more than the last of `at`: the last rates hold until then.
        axes: where to draw; None for a figure of its own.

    Returns:
        The figure.

    Raises:
        ImportError: if matplotlib is missing; the message says how to install it.
        ValueError: if a line has too few or too many rates, or `steps` is too small.

    Examples:
        >>> figure = lerac.plot.rates([0, 50], {"stem": [0.1, 0.1], "head": [0.01, 0.1]}, steps=100)  # doctest: +SKIP
    """
    figure, axes = _canvas(axes)
    if not at or steps <= at[-1]:
        raise ValueError(f"steps must be above the last of at, got {steps} and {list(at)[-1:]}")
    for name, line in lrs.items():
        if len(line) != len(at):
            raise ValueError(f"{name} must have one rate for each of the {len(at)} steps, got {len(line)}")
    _draw(axes, [*at, steps], {name: [*line, line[-1]] for name, line in lrs.items()}, drawstyle="steps-post")
    return figure


def _draw(axes: Axes, at: Sequence[int], lines: Mapping[str, Sequence[float]], **style: str) -> None:
    shades = _colour_map()
    for position, (name, line) in enumerate(lines.items()):
        colour = shades(0.9 * position / max(1, len(lines) - 1))
        seen = [rate if rate > 0 else float("nan") for rate in line]
        axes.plot(at, seen, color=colour, linewidth=1.2, label=name, **style)  # type: ignore[arg-type]
    axes.set_yscale("log")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("learning rate")


def layers(layers: Sequence[Layer], model: nn.Module, *, axes: Axes | None = None) -> Figure:
    """Draw the layers of a network: a bar each for the number of its weights, with its depth and name.

    Nearest to the input on top and dark, at the output light; the axis is logarithmic.

    Args:
        layers: of `model`, as `lerac.find_layers` gives them.
        model: whose parameters are counted.
        axes: where to draw; None for a figure of its own.

    Returns:
        The figure.

    Raises:
        ImportError: if matplotlib is missing; the message says how to install it.
        ValueError: if there are no layers, or they name a parameter that the model does not have.

    Examples:
        >>> figure = lerac.plot.layers(lerac.find_layers(model, images), model)  # doctest: +SKIP
    """
    if not layers:
        raise ValueError("layers must have at least one layer, got none")
    figure, axes = _canvas(axes, height=0.9 + 0.24 * len(layers))
    sizes = {name: parameter.numel() for name, parameter in named_parameters(model).items()}
    if unknown := [name for layer in layers for name in layer.parameters if name not in sizes]:
        raise ValueError(f"{type(model).__name__} has no parameter {unknown[0]!r}: pass the layers of this model")
    weights = [sum(sizes[name] for name in layer.parameters) for layer in layers]
    shades, deepest = _colour_map(), max(1, *(layer.depth for layer in layers))
    colours = [shades(0.9 * layer.depth / deepest) for layer in layers]
    bars = axes.barh(range(len(layers)), weights, color=colours, height=0.7)
    axes.bar_label(bars, [f"{count:,}" for count in weights], padding=3, fontsize="small")
    axes.set_yticks(range(len(layers)), [f"{layer.name}   {layer.depth}" for layer in layers])
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.set_xlim(min(weights) / 2, max(weights) * 8)  # room for the numbers
    axes.set_xlabel("weights")
    axes.set_ylabel("layer and depth")
    return figure


def snr(ratios: Mapping[str, Sequence[Sequence[LayerSNR]]], *, axes: Axes | None = None) -> Figure:
    """Draw the mean signal-to-noise ratio of every layer, one line per reference, with its spread over the seeds.

    Bars reach one standard deviation up and down. Blue ground is where signal dominates, red where noise does. An
    infinite mean is written at the edge.

    Args:
        ratios: from the name of a reference to the results of `lerac.layer_snr`, one per seed, all of the same layers.
        axes: where to draw; None for a figure of its own.

    Returns:
        The figure.

    Raises:
        ImportError: if matplotlib is missing; the message says how to install it.
        TypeError: if `ratios` is not of this form.
        ValueError: if there is nothing to draw, or the layers differ.

    Examples:
        >>> figure = lerac.plot.snr({"trained copy": [lerac.layer_snr(model, batches, trained)]})  # doctest: +SKIP
    """
    if not _by_reference(ratios):
        raise TypeError(
            'ratios must go from names to lists of what layer_snr returned, one per seed: {"trained copy": [result]}'
        )
    figure, axes = _canvas(axes)
    results = [result for by_seed in ratios.values() for result in by_seed]
    if not all(ratios.values()) or not results or not results[0]:
        raise ValueError("ratios must have at least one result of layer_snr per reference, with at least one layer")
    names = [layer.name for layer in results[0]]
    for result in results:
        if [layer.name for layer in result] != names:
            raise ValueError(f"results differ in their layers: {names} and {[layer.name for layer in result]}")
    for i, (reference, by_seed) in enumerate(ratios.items()):
        columns = [[layer.snr_db for layer in column] for column in zip(*by_seed, strict=True)]
        means = [_mean(column) for column in columns]
        spread = [stdev(c) if len(c) > 1 and all(map(math.isfinite, c)) else 0.0 for c in columns]
        shown = [mean if math.isfinite(mean) else math.nan for mean in means]
        line = axes.errorbar(range(len(names)), shown, spread, color=f"C{i}", marker="o", markersize=4, capsize=2)
        line.set_label(reference)
        for x, mean in enumerate(means):
            if not math.isfinite(mean):
                edge = 0.02 if mean < 0 else 0.94
                sign = "undefined" if math.isnan(mean) else "−∞" if mean < 0 else "∞"
                axes.text(x, edge, sign, transform=axes.get_xaxis_transform(), color=f"C{i}", ha="center")
    low, high = axes.get_ylim()
    low, high = min(low, -3.0), max(high, 3.0)
    axes.axhspan(0, high, color="#0072B2", alpha=0.06, linewidth=0)
    axes.axhspan(low, 0, color="#D55E00", alpha=0.06, linewidth=0)
    axes.axhline(0, color="#666666", linewidth=1)
    axes.set_ylim(low, high)
    axes.set_xticks(
        range(len(names)), names, rotation=30 if len(names) > 8 else 0, ha="right" if len(names) > 8 else "center"
    )
    axes.set_xlabel("layer")
    axes.set_ylabel("signal-to-noise ratio, dB")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize="small", frameon=False)
    return figure


def _by_reference(ratios: object) -> bool:
    return isinstance(ratios, Mapping) and all(map(_by_seed, ratios.values()))


def _by_seed(results: object) -> bool:
    return isinstance(results, Sequence) and all(
        isinstance(result, Sequence) and all(isinstance(layer, LayerSNR) for layer in result) for result in results
    )


def _mean(values: Sequence[float]) -> float:
    """The mean; NaN of infinities with different signs."""
    return math.nan if {math.inf, -math.inf} <= set(values) else fmean(values)


def load_matplotlib() -> None:
    """Import Matplotlib, whatever backend MPLBACKEND names: our figures need none.

    Notebooks name their own to the processes they start, and where it is not known, Matplotlib refuses to be imported.
    One that is known is taken as if it had been imported by itself.

    Raises:
        ImportError: if matplotlib is missing; the message says how to install it.
    """
    if "matplotlib" in sys.modules:
        return
    named = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    except ImportError:
        raise ImportError("lerac.plot needs matplotlib: pip install 'lerac[study]'") from None
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
    if named:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = named


def _canvas(axes: Axes | None, height: float = 3.6) -> tuple[Figure, Axes]:
    load_matplotlib()
    from matplotlib.figure import Figure

    if axes is None:
        figure = Figure(figsize=(6, height), layout="constrained")
        return figure, figure.add_subplot()
    parent = axes.figure
    return (parent if isinstance(parent, Figure) else parent.figure), axes  # axes may sit in a subfigure


def _colour_map() -> Callable[[float], tuple[float, float, float, float]]:
    from matplotlib import colormaps

    return colormaps["viridis"]
