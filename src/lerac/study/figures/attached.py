"""Pictures of what `lerac.attach` has noted of a training: learning rates as they were."""

from bisect import bisect_right
from collections.abc import Callable

import matplotlib
from matplotlib.figure import Figure

from lerac import plot
from lerac.regimes.effects import curriculum_of, curve_of, length_of, warmup_factor
from lerac.regimes.text import parse_regime
from lerac.study.figures.style import STYLE
from lerac.study.own.record import Attached

__all__ = ["attached_figure"]

POINTS = 200


def attached_figure(regime: str, noted: Attached, size: tuple[float, float]) -> Figure | None:
    """Draw the learning rate of every layer of one optimizer, from where it began, or was continued, to its end.

    Args:
        regime: canonical text, with nothing left open.
        noted: of the optimizer.
        size: in inches.

    Returns:
        The figure; None where no rate could be read.
    """
    known = sorted(noted.lr)
    if not known or noted.steps <= known[0][0]:
        return None
    begin, last = known[0][0], noted.steps - 1
    within = min(max(noted.k or 0, begin), last)  # the curriculum in full, however short it is
    ends = ((begin, last), (begin, within))
    at = sorted({first + round(i * (end - first) / POINTS) for i in range(POINTS + 1) for first, end in ends})
    shared = [known[bisect_right(known, (step, float("inf"))) - 1][1] for step in at]
    factor = _factor(regime, noted.epoch_steps)
    starts = {name: start for name, _, start in noted.layers} or {"all layers": 1.0}
    lines = {
        name: [rate * factor(step, start) for rate, step in zip(shared, at, strict=True)]
        for name, start in starts.items()
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        plot.rates(at, lines, steps=noted.steps, axes=figure.add_subplot())
    return figure


def _factor(regime: str, epoch_steps: int) -> Callable[[int, float], float]:
    """Give the factor of a layer on the optimizer's rate, by step and the layer's start."""
    curriculum = curriculum_of(parse_regime(regime), epoch_steps=epoch_steps)
    if curriculum is None or curriculum.kind == "warmup":
        together = warmup_factor(curriculum)
        return lambda step, start: together(step)
    k, curve = length_of(curriculum), curve_of(curriculum)
    return lambda step, start: curve(step / k, start) if step < k else 1.0
