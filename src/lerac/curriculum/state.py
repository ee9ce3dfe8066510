"""The state of a curriculum in plain types, and whether it is the state of this one."""

from collections.abc import Mapping, Sequence
from typing import Any

from lerac.curves import CURVES, Curve
from lerac.layers import Layer

__all__ = ["check_state", "curve_name", "state_of"]

VERSION = 1


def state_of(
    steps: int, k: int, ratio: float | Mapping[str, float], curve: Curve, layers: Sequence[Layer] | None
) -> dict[str, Any]:
    """Give the state as a dict of plain types."""
    return {
        "version": VERSION,
        "steps": steps,
        "k": k,
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
    if not isinstance(state, Mapping):
        raise TypeError(f"a curriculum's state is a dict, as state_dict() gives it, got {type(state).__name__}")
    if missing := own.keys() - state.keys():
        raise ValueError(f"the curriculum's state lacks {', '.join(sorted(missing))}; it has {', '.join(state)}")
    if state["version"] != VERSION:
        raise ValueError(f"the curriculum's state has version {state['version']!r}, this lerac reads {VERSION}")
    steps = state["steps"]
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise ValueError(f"the curriculum's steps must be a count of 0 or more, got {steps!r}")
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
