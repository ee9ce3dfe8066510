"""Adapters for frameworks that build the optimizer themselves: each in a module of its own that loads on first use.

`lerac.LeRaC` works in every framework as it is, wherever your code can see both the optimizer and the model. An adapter
does the same one line at the moment when the framework has the optimizer, and tells its logger the rates.
"""

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lerac.arguments import check_k
from lerac.curriculum.lerac import LeRaC
from lerac.integrations.epochs import Epochs
from lerac.lazy import lazily

if TYPE_CHECKING:
    from lerac.integrations import epochs as epochs
    from lerac.integrations import lightning as lightning
    from lerac.integrations import regime as regime
    from lerac.integrations import training_step as training_step
    from lerac.integrations import transformers as transformers
    from lerac.integrations import ultralytics as ultralytics
    from lerac.integrations import ultralytics_trainer as ultralytics_trainer
else:
    _FRAMEWORKS = ("lightning", "transformers", "ultralytics")
    __getattr__, __dir__ = lazily(__name__, {}, listed=[name for name in _FRAMEWORKS if find_spec(name)])

__all__ = ["check_duration", "check_epoch", "check_fits", "layer_rates", "missing", "options_of", "steps_of"]


def missing(package: str, extra: str) -> ImportError:
    """Say which extra brings a framework that is not installed."""
    return ImportError(f"lerac.integrations.{extra} needs {package}: pip install 'lerac[{extra}]'")


def check_duration(k: Any, epochs: Any) -> None:
    """See that the length of a curriculum is given once, and can be one.

    Raises:
        TypeError: if both or neither is given, `k` is no whole number, or `epochs` is not a number.
        ValueError: if `k` is below 1, or `epochs` is not above 0.
    """
    if (k is None) == (epochs is None):
        given = "neither" if k is None else f"k={k!r} and epochs={epochs!r}"
        raise TypeError(
            f"give the length of the curriculum either as k, in optimizer steps, or in epochs; got {given}. The paper "
            "uses 2 to 7 epochs"
        )
    if epochs is None:
        check_k(k)
        return
    if isinstance(epochs, bool) or not isinstance(epochs, int | float):
        raise TypeError(f"epochs must be a number, such as 5 or 0.5, got {epochs!r}")
    if not 0 < epochs < math.inf:
        raise ValueError(f"epochs must be above 0 and finite, got {epochs}")


def options_of(ratio: Any, curve: Any) -> dict[str, Any]:
    """Give the arguments of `LeRaC` that an adapter was given."""
    return {name: value for name, value in (("ratio", ratio), ("curve", curve)) if value is not None}


def steps_of(k: int | None, epochs: float | None, lengths: Epochs | None, start: int = 0) -> int:
    """Give the length of the curriculum in optimizer steps, at least 1.

    Args:
        k: in optimizer steps, or None.
        epochs: in epochs, if k is None.
        lengths: of the training's epochs, with accumulation of gradients accounted for; None if nobody knows.
        start: optimizer steps of the training before the curriculum.

    Raises:
        ValueError: if it is given in epochs and nobody knows how many steps they have.
    """
    if k is not None:
        return k
    assert epochs is not None
    if lengths is None:
        raise ValueError(
            f"epochs={epochs:g} cannot be converted: the training data has no length, so nobody knows how many "
            "optimizer steps an epoch has. Pass k, in optimizer steps"
        )
    return lengths.to_steps(epochs, start)


def check_epoch(asked: float | str, epoch: int, steps: int, planned: int) -> None:
    """See that an epoch is as long as a curriculum in epochs, or a regime, took it to be.

    Args:
        asked: length of the curriculum, or the text of the regime.
        epoch: the number of the epoch, from 0.
        steps: optimizer steps that it has.
        planned: optimizer steps that it was to have when training started.

    Raises:
        RuntimeError: if it is not.
    """
    if steps != planned:
        if isinstance(asked, str):
            what, advice = f"regime {asked!r}", "a regime, which is in epochs, cannot be had"
        else:
            what, advice = f"epochs={asked:g}", "pass k, in optimizer steps"
        raise RuntimeError(
            f"{what} cannot be kept: epoch {epoch} (the first is 0) has {steps} optimizer steps, and was to "
            f"have {planned} when training started. Where epochs change their length in a way that nobody knows "
            f"beforehand, {advice}"
        )


def check_fits(k: float, taken: int, ahead: float) -> None:
    """See that the curriculum ends before training does.

    Args:
        k: length of the curriculum in optimizer steps.
        taken: steps of it that a checkpoint brings along.
        ahead: optimizer steps that training has ahead of it, infinite if nobody knows.

    Raises:
        ValueError: if it does not.
    """
    if k - taken > ahead:
        done = f" with {taken} of them taken" if taken else ""
        raise ValueError(
            f"the curriculum lasts {k} optimizer steps{done}, and training has only {ahead:.0f} ahead of it, so its "
            "layers would never all reach their full rate: make the curriculum shorter or training longer"
        )


def layer_rates(curriculum: LeRaC, prefix: str = "lr/") -> dict[str, float]:
    """Give the rates that the next step will use as metrics named `lr/<layer>`, nearest to the input first.

    Of a layer whose parameters are in param groups of different rates it is the largest; layers that the optimizer
    has no parameter of are left out. Nothing is given before the layers are found and after the curriculum.
    """
    if curriculum.finished or curriculum.layers is None:
        return {}
    rates = curriculum.lrs()
    by_layer = {layer.name: [rates[name] for name in layer.parameters if name in rates] for layer in curriculum.layers}
    return {prefix + name: max(own) for name, own in by_layer.items() if own}
