"""Where a curriculum is in its life, its state in plain types, and whether a state is that of this curriculum."""

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from lerac.arguments import check_saved
from lerac.curves import CURVES, Curve
from lerac.layers import Layer

__all__ = ["State", "check_state", "curve_name", "state_of", "table_of"]

VERSION = 1


class State(Enum):
    """Where a curriculum is in its life: one attribute of its `Course`, which `_go_to` alone changes.

    | state    | steps | when                                                           | in a step | step hooks |
    |----------|-------|----------------------------------------------------------------|-----------|------------|
    | FRESH    | 0     | no step is counted, and no state of a later step loaded        | acts      | yes        |
    | RESTORED | > 0   | its own state is loaded, the optimizer's is still to come      | refuses   | yes        |
    | ACTING   | 1…k−1 | the optimizer has taken these steps, or has loaded their count | acts      | yes        |
    | FINISHED | ≥ k   | likewise                                                       | is absent | no         |
    | REMOVED  | any   | `remove()` was called; there is no way back                    | is absent | no         |

    | in                      | what happens                                    | leads to                            |
    |-------------------------|-------------------------------------------------|-------------------------------------|
    | FRESH, ACTING           | the optimizer takes a step that counts          | ACTING; FINISHED from step k on     |
    | FRESH, ACTING, FINISHED | the optimizer loads a state that has a count    | FRESH, ACTING or FINISHED, by count |
    | RESTORED                | the optimizer loads a state of the same count   | ACTING or FINISHED                  |
    | FRESH                   | its own state of a later step is loaded         | RESTORED                            |
    | all                     | `remove()`                                      | REMOVED                             |

    A state of the optimizer without a count changes nothing; nor does, in RESTORED, one of count 0, which is what the
    optimizer has anyway, loaded again as Accelerate does. Whatever else there is, is an error that changes nothing.
    While there are step hooks and no layers, it looks out for a forward pass to find them from.
    """

    FRESH = "fresh"
    RESTORED = "restored"
    ACTING = "acting"
    FINISHED = "finished"
    REMOVED = "removed"

    @classmethod
    def at(cls, steps: int, k: float) -> "State":
        """Give that of a curriculum which agrees with its optimizer on the number of steps."""
        return cls.FINISHED if steps >= k else cls.ACTING if steps else cls.FRESH


def state_of(
    steps: int, k: float, ratio: float | Mapping[str, float], curve: Curve, layers: Sequence[Layer] | None
) -> dict[str, Any]:
    """Give the state as a dict of plain types; an infinite k is None, as JSON knows no infinity."""
    return {
        "version": VERSION,
        "steps": steps,
        "k": None if math.isinf(k) else k,
        "ratio": dict(ratio) if isinstance(ratio, Mapping) else ratio,
        "curve": curve_name(curve),
        "layers": None if layers is None else [layer.as_dict() for layer in layers],
    }


def curve_name(curve: Curve) -> str | None:
    """Give the name of a curve that has one."""
    return next((name for name, known in CURVES.items() if known is curve), None)


def check_state(state: Any, own: Mapping[str, Any]) -> tuple[int, list[Layer] | None]:
    """Give step count and layers of a state, if it belongs to a curriculum whose own state is `own`.

    Raises:
        TypeError: if it is not a dict.
        ValueError: if it is damaged, or of a curriculum with other arguments; both values are named.
    """
    steps = check_saved(
        state, own, a="a curriculum's state", the="the curriculum's state", steps="the curriculum's steps"
    )
    for key in ("k", "ratio", "curve"):
        if state[key] != own[key]:
            raise ValueError(
                f"the checkpoint's curriculum has {key} {state[key]!r}, this one {own[key]!r}: build it with the same "
                "arguments"
            )
    layers = _read_layers(state["layers"])
    if layers is not None and own["layers"] is not None:
        _check_same(layers, [Layer(**layer) for layer in own["layers"]])
    return steps, layers


def _read_layers(entries: Any) -> list[Layer] | None:
    try:
        return None if entries is None else [Layer(**entry) for entry in entries]
    except (TypeError, ValueError) as error:
        raise ValueError(f"the layers in the curriculum's state are damaged: {error}") from None


def _check_same(saved: Sequence[Layer], own: Sequence[Layer]) -> None:
    """Compare what decides the rates: which parameters share a layer, its name and its depth."""

    def places(layers: Sequence[Layer]) -> dict[str, tuple[str, int]]:
        return {parameter: (layer.name, layer.depth) for layer in layers for parameter in layer.parameters}

    theirs, ours = places(saved), places(own)
    for parameter in [*theirs, *ours]:
        if theirs.get(parameter) != ours.get(parameter):
            raise ValueError(
                f"the checkpoint's curriculum has {len(saved)} other layers than this one with {len(own)}: "
                f"{parameter!r} is in {_place(theirs, parameter)} there, and in {_place(ours, parameter)} here; pass "
                "layers= as it was then"
            )


def _place(places: Mapping[str, tuple[str, int]], parameter: str) -> str:
    if parameter not in places:
        return "no layer"
    name, depth = places[parameter]
    return f"layer {name!r} of depth {depth}"


def table_of(layers: Sequence[Layer], factors: Mapping[str, float], rates: Mapping[str, float]) -> list[str]:
    """Give the lines of a table of layers.

    Args:
        layers: nearest to the input first.
        factors: at step 0, by parameter name.
        rates: of the next step by parameter name; those of the optimizer only.
    """
    rows = [("layer", "depth", "tensors", "start ×", "next rate")]
    for layer in layers:
        now = sorted({rates[name] for name in layer.parameters if name in rates}, reverse=True)
        shown = f"{now[0]:.3g}" if len(now) == 1 else f"{now[-1]:.3g} to {now[0]:.3g}" if now else "not optimized"
        start = f"{factors[layer.parameters[0]]:.3g}"
        rows.append((layer.name, str(layer.depth), str(len(layer.parameters)), start, shown))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
