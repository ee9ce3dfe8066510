"""Pictures of a curriculum. Needs matplotlib: `pip install 'lerac[study]'`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from lerac.arguments import check_curve, check_k, check_ratio
from lerac.curves import Curve
from lerac.layers import Layer, start_ratios

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["rates", "schedule"]

_POINTS = 400


def schedule(
    layers: Sequence[Layer],
    *,
    k: int,
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
        k: optimizer steps of the curriculum, 1 or more.
        ratio: as for `lerac.LeRaC`: the last layer's start over the full rate, or each layer's by name.
        curve: a name in `lerac.curves.CURVES` or a callable (progress, ratio) → factor.
        lr: the ordinary rate, or a function from the step (0, 1, …) to it.
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
    k, factor = check_k(k), check_curve(curve)
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be 1 or more, got {steps!r}")
    if not layers:
        raise ValueError("layers must have at least one layer, got none")
    starts = start_ratios(layers, check_ratio(ratio))
    total = steps or max(k + 1, round(1.5 * k))
    at = sorted({round(i * (total - 1) / _POINTS) for i in range(_POINTS + 1)} | {min(k, total - 1)})
    base = [lr(step) if callable(lr) else lr for step in at]
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


def _canvas(axes: Axes | None) -> tuple[Figure, Axes]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("lerac.plot needs matplotlib: pip install 'lerac[study]'") from None
    if axes is None:
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        return figure, figure.add_subplot()
    parent = axes.figure
    return (parent if isinstance(parent, Figure) else parent.figure), axes  # axes may sit in a subfigure


def _colour_map() -> Callable[[float], tuple[float, float, float, float]]:
    from matplotlib import colormaps

    return colormaps["viridis"]
