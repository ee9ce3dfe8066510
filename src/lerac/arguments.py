"""What `LeRaC` and `CBS` accept: each function returns its argument as they use it, or says what is wrong."""

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from lerac.curves import CURVES, Curve
from lerac.layers import Layer, named_parameters, plain_name

__all__ = [
    "check_curve",
    "check_decay",
    "check_epoch_steps",
    "check_epochs",
    "check_every",
    "check_factor",
    "check_k",
    "check_kernel_size",
    "check_layers",
    "check_length",
    "check_lr",
    "check_model",
    "check_ratio",
    "check_saved",
    "check_seed",
    "check_sigma",
    "some",
]


def check_model(model: Any) -> nn.Module:
    """See that it is a module."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a torch.nn.Module, got {type(model).__name__}; for several modules pass nn.ModuleList([…])"
        )
    return model


def check_k(k: Any) -> int:
    """Give k as an int of at least 1."""
    steps = _whole(k, "k must be a whole number of optimizer steps, such as 5 * len(loader)")
    if steps < 1:
        raise ValueError(f"k must be at least 1 optimizer step, got {k}")
    return steps


def check_length(k: Any) -> float:
    """Give k as an int of at least 1, or as infinity."""
    return k if isinstance(k, float) and k == math.inf else check_k(k)


def check_ratio(ratio: Any) -> float | dict[str, float]:
    """Give the ratio, or those of a mapping, as floats in (0, 1]."""
    if isinstance(ratio, Mapping):
        return {name: _in_unit(value, f"the ratio of layer {name!r}") for name, value in ratio.items()}
    return _in_unit(ratio, "ratio")


def check_lr(lr: Any) -> float:
    """Give a learning rate as a finite float of at least 0."""
    number = _number(lr, "lr must be a number of at least 0, or a function from the step to one")
    if not 0 <= number < math.inf:
        raise ValueError(f"lr must be a finite number of at least 0, got {lr!r}")
    return number


def check_sigma(sigma: Any) -> float:
    """Give σ as a finite float above 0."""
    number = _number(sigma, "sigma must be a number above 0")
    if not 0 < number < math.inf:
        raise ValueError(f"sigma must be a finite number above 0 (a standard deviation in pixels), got {sigma!r}")
    return number


def check_decay(decay: Any) -> float:
    """Give the factor on σ as a float in (0, 1]."""
    number = _number(decay, "decay must be a number in (0, 1]")
    if not 0 < number <= 1:
        raise ValueError(f"decay must be in (0, 1] (the factor on sigma, 1 keeps it as it is), got {decay!r}")
    return number


def check_every(every: Any) -> int:
    """Give the number of calls of step() between two decays as an int of at least 1."""
    calls = _whole(every, "every must be a whole number of calls of step()")
    if calls < 1:
        raise ValueError(f"every must be at least 1 call of step(), got {every}")
    return calls


def check_epoch_steps(epoch_steps: Any) -> int:
    """Give the optimizer steps of an epoch as an int of at least 1."""
    steps = _whole(epoch_steps, "epoch_steps must be a whole number of optimizer steps, such as len(loader)")
    if steps < 1:
        raise ValueError(f"epoch_steps must be at least 1 optimizer step, got {epoch_steps}")
    return steps


def check_epochs(epochs: Any) -> float | None:
    """Give the length of a training as a finite float above 0, or None."""
    if epochs is None:
        return None
    number = _number(epochs, "epochs must be the number of epochs of the whole training, or None")
    if not 0 < number < math.inf:
        raise ValueError(f"epochs must be a finite number above 0, got {epochs!r}")
    return number


def check_seed(seed: Any) -> int:
    """Give a seed as an int of at least 0."""
    number = _whole(seed, "seed must be a whole number")
    if number < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    return number


def check_kernel_size(kernel_size: Any) -> int:
    """Give the number of weights per dimension as an odd int of at least 3."""
    size = _whole(kernel_size, "kernel_size must be a whole number")
    if size < 3 or size % 2 == 0:
        raise ValueError(f"kernel_size must be 3, 5, 7, …: odd, so that it has a centre, got {kernel_size}")
    return size


def check_curve(curve: Any) -> Curve:
    """Give the curve itself for a name."""
    if isinstance(curve, str):
        if curve not in CURVES:
            raise ValueError(
                f"unknown curve {curve!r}: expected one of {', '.join(CURVES)}, the result of "
                "lerac.curves.staircase(…), or a callable (progress, ratio) → factor"
            )
        return CURVES[curve]
    if not callable(curve):
        raise TypeError(f"curve must be a name or a callable (progress, ratio) → factor, got {curve!r}")
    return curve  # type: ignore[no-any-return]


def check_factor(given: Any, progress: float, ratio: float) -> float:
    """Give as a float what a curve gave as a learning rate factor."""
    try:
        factor = float(given)
    except (TypeError, ValueError):
        factor = math.nan
    if not 0 <= factor < math.inf:
        raise ValueError(
            f"the curve gave {given!r} at progress {progress} and ratio {ratio}; a learning rate factor must be a "
            "finite number and not negative"
        )
    return factor


def check_layers(layers: Any, model: nn.Module) -> tuple[Layer, ...]:
    """Give the layers, nearest to the input first and with the model's own parameter names, if they fit it."""
    if isinstance(layers, str) or not isinstance(layers, Sequence) or not all(isinstance(x, Layer) for x in layers):
        raise TypeError(f"layers must be a sequence of lerac.Layer, as from lerac.find_layers, got {layers!r}")
    if not layers:
        raise ValueError("layers is empty: a curriculum needs at least one layer")
    known = named_parameters(model, aliases=True)
    first_name = {id(p): name for name, p in reversed(known.items())}  # of tied weights, the name that comes first
    layer_of: dict[str, str] = {}
    checked: dict[str, Layer] = {}
    for layer in layers:
        if layer.name in checked:
            raise ValueError(f"two layers have the name {layer.name!r}")
        names = []
        for given in layer.parameters:
            name = given if given in known else plain_name(given)
            if name not in known:
                raise ValueError(
                    f"layer {layer.name!r} has the parameter {given!r}, which this {type(model).__name__} has not"
                )
            first = first_name[id(known[name])]
            if first in layer_of:
                raise ValueError(f"parameter {name!r} is in layer {layer_of[first]!r} and again in {layer.name!r}")
            layer_of[first] = layer.name
            names.append(first)
        checked[layer.name] = Layer(layer.name, layer.depth, tuple(names), layer.placed)
    return tuple(sorted(checked.values(), key=lambda layer: layer.depth))


def check_saved(state: Any, own: Mapping[str, Any], *, a: str, the: str, steps: str) -> int:
    """Give the count of steps in a saved state, if it can be one of these.

    Args:
        state: that is to be loaded.
        own: what `state_dict()` gives now.
        a: what any such state is called in errors.
        the: what this one is called.
        steps: what its count is called.

    Raises:
        TypeError: if it is not a dict.
        ValueError: if it is damaged, or of another version.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"{a} is a dict, as state_dict() gives it, got {type(state).__name__}")
    if missing := own.keys() - state.keys():
        raise ValueError(f"{the} lacks {', '.join(sorted(missing))}; it has {', '.join(state)}")
    if state["version"] != own["version"]:
        raise ValueError(f"{the} has version {state['version']!r}, this lerac reads {own['version']}")
    count = state["steps"]
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError(f"{steps} must be a count of 0 or more, got {count!r}")
    return count


def _in_unit(value: Any, what: str) -> float:
    number = _number(value, f"{what} must be a number in (0, 1]")
    if not 0 < number <= 1:
        raise ValueError(f"{what} must be in (0, 1] (start divided by full learning rate), got {value!r}")
    return number


def _number(value: Any, expected: str) -> float:
    try:
        return float("not a number" if isinstance(value, bool | str) else value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{expected}, got {value!r}") from None


def _whole(value: Any, expected: str) -> int:
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{expected}, got {value!r}")


def some(items: Sequence[str], at_most: int = 5, separator: str = "; ") -> str:
    """List the first few."""
    more = f" and {len(items) - at_most} more" if len(items) > at_most else ""
    return separator.join(items[:at_most]) + more
