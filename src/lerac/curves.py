"""How a rate grows: pure functions of (progress, ratio), the paper's update rules.

`progress` is the share of the curriculum that is over, l / k in [0, 1]. `ratio` is the layer's
start r_j = η_j(0) / η in (0, 1]. The result is the factor m_j(l) on the layer's ordinary learning rate:
`ratio` at progress 0, 1 at progress 1, never outside [ratio, 1], never falling.

Source: Croitoru et al., "Learning Rate Curriculum", IJCV 2024, Eq. (8), and the authors' code.
"""

import math
import operator
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, SupportsIndex

Curve = Callable[[float, float], float]

__all__ = ["CURVES", "Curve", "Staircase", "cosine", "exponential", "linear", "logarithmic", "staircase"]


def exponential(progress: float, ratio: float) -> float:
    """Eq. (8) of the paper: a geometric ramp, `ratio ** (1 - progress)`.

    The paper writes η_j(l) = η_j(0) · c^((l/k) · (log_c η_j(k) − log_c η_j(0))). The base c cancels: this is
    η_j(0)^(1 − l/k) · η^(l/k) for every c, and divided by η it is r_j^(1 − l/k). Every layer arrives at
    the full rate at the same step k, each at its own pace.

    Args:
        progress: share of the curriculum that is over, in [0, 1].
        ratio: start of the layer relative to the full rate, in (0, 1].

    Raises:
        ValueError: if an argument is outside its range or NaN.

    Examples:
        >>> [exponential(p, 1e-6) for p in (0, 0.5, 1)]
        [1e-06, 0.001, 1.0]
    """
    _check(progress, ratio)
    return float(ratio ** (1 - progress))


def linear(progress: float, ratio: float) -> float:
    """A straight line from `ratio` to 1; the paper reports smaller gains with it than with `exponential`.

    Arguments and errors as for `exponential`.

    Examples:
        >>> [linear(p, 0.25) for p in (0, 0.5, 1)]
        [0.25, 0.625, 1.0]
    """
    _check(progress, ratio)
    return _between(ratio, progress)


def logarithmic(progress: float, ratio: float) -> float:
    """Fast at first, slow at the end: the share log10(1 + 9 · progress) of the way from `ratio` to 1.

    The paper compares a logarithmic rule but its formula is not known to us; this form, with the paper's
    base c = 10, is ours. Arguments and errors as for `exponential`.

    Examples:
        >>> [round(logarithmic(p, 0.25), 6) for p in (0, 0.5, 1)]
        [0.25, 0.805272, 1.0]
    """
    _check(progress, ratio)
    return _between(ratio, math.log(1 + 9 * progress) / math.log(10))


def cosine(progress: float, ratio: float) -> float:
    """Slow at both ends: the share (1 − cos(π · progress)) / 2 of the way from `ratio` to 1.

    Ours, for comparison; the paper does not have it. Arguments and errors as for `exponential`.

    Examples:
        >>> [round(cosine(p, 0.25), 6) for p in (0, 0.5, 1)]
        [0.25, 0.625, 1.0]
    """
    _check(progress, ratio)
    return _between(ratio, math.sin(math.pi / 2 * progress) ** 2)  # the same share, without cancellation


@dataclass(frozen=True)
class Staircase:
    """The curve that `staircase` builds; compare, print and pickle it like any value."""

    base: float
    updates: tuple[float, ...]

    def __call__(self, progress: float, ratio: float) -> float:
        """Give min(1, ratio · base^u) after u updates, and 1 at progress 1; errors as for `exponential`."""
        _check(progress, ratio)
        if progress == 1:
            return 1.0
        try:
            growth = self.base ** bisect_right(self.updates, progress)
        except OverflowError:
            growth = math.inf
        return min(1.0, float(ratio * growth))


def staircase(base: float = 10.0, updates: int | Sequence[float] = 6) -> Staircase:
    """Build the rule of the authors' code: at every update each rate is multiplied by `base` until it is full.

    All layers climb at the same pace, so those next to the input arrive first, and here the base matters. A
    layer that has not arrived by progress 1 jumps to the full rate there. The authors use base 10 and, with N
    steps per epoch, updates after floor(N/4), floor(N/2), … steps or at the end of each epoch.

    Args:
        base: factor of one update, above 1.
        updates: how many updates, equally spaced with the last at progress 1; or their progress values, in
            (0, 1] and rising. Six updates of base 10 span the default ratio of `LeRaC`, 1e-6.

    Raises:
        ValueError: if `base` or an update is outside its range, or there is no update.
        TypeError: if `updates` is neither a count nor a sequence.

    Examples:
        >>> [staircase(updates=6)(p, 1e-6) for p in (0, 0.5, 1)]
        [1e-06, 0.001, 1.0]
        >>> [staircase(updates=6)(p, 1e-2) for p in (0, 0.5, 1)]
        [0.01, 1.0, 1.0]
    """
    given: Any = updates
    if not 1 < base < math.inf:
        raise ValueError(f"base must be a finite number above 1, got {base!r}")
    if isinstance(given, Iterable) and not isinstance(given, str):
        points = tuple(float(u) for u in given)
        if not points or not all(0 < u <= 1 for u in points) or any(a >= b for a, b in pairwise(points)):
            raise ValueError(
                "updates must be a count or a rising sequence of progress values in (0, 1] "
                f"(steps divided by k), got {list(points)}"
            )
    else:
        count = _count(given)
        points = tuple(u / count for u in range(1, count + 1))
    return Staircase(float(base), points)


CURVES: dict[str, Curve] = {
    "exponential": exponential,
    "linear": linear,
    "logarithmic": logarithmic,
    "cosine": cosine,
}
"""The curves that have a name; `LeRaC(curve=…)` and the command line take these names."""


def _check(progress: float, ratio: float) -> None:
    if not 0 <= progress <= 1:
        raise ValueError(f"progress must be in [0, 1] (steps taken divided by k), got {progress!r}")
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must be in (0, 1] (start divided by full learning rate), got {ratio!r}")


def _count(updates: object) -> int:
    if isinstance(updates, bool) or not isinstance(updates, SupportsIndex):
        raise TypeError(f"updates must be a count or a rising sequence of progress values in (0, 1], got {updates!r}")
    count = operator.index(updates)
    if count < 1:
        raise ValueError(f"updates must be at least 1, got {count}")
    return count


def _between(ratio: float, share: float) -> float:
    """Give ratio + (1 − ratio) · share, rounded once: monotone in both, exact at the ends."""
    product = ratio * share
    # The rounding error of the product, from halves short enough to multiply exactly (Dekker 1971).
    (r, r_low), (s, s_low) = _halves(ratio), _halves(share)
    error = ((r * s - product) + r * s_low + r_low * s) + r_low * s_low
    return math.fsum((ratio, share, -product, -error))


def _halves(x: float) -> tuple[float, float]:
    scaled = 134217729.0 * x  # 2**27 + 1
    high = scaled - (scaled - x)
    return high, x - high
