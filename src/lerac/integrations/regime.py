"""`regime=` of the adapters: `lerac.attach` with what the framework knows of epochs and of the end of training."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lerac.curriculum.optimizers import innermost
from lerac.integrations import check_duration, check_fits, layer_rates
from lerac.integrations.epochs import Epochs
from lerac.layers import Layer
from lerac.regimes.attached import Attached, attach
from lerac.regimes.choosing import chosen_regime
from lerac.regimes.record import REGIME
from lerac.regimes.text import parse_regime

__all__ = ["attach_regime", "by_regime", "check_kind", "is_in_epochs", "metrics"]


def by_regime(regime: Any, k: Any, epochs: Any, **curriculum: Any) -> bool:
    """Say whether training is by a regime; if not, the arguments tell of a curriculum.

    Args:
        regime: its text, or None: that of the running study if nothing tells of a curriculum.
        k: of a curriculum, or None.
        epochs: of a curriculum, or None.
        curriculum: what else tells of one, None where it is not given.

    Raises:
        TypeError: if the regime is no text, there are both, or the length of a curriculum is missing or wrong.
        ValueError: if it is no regime, or the length is out of range.
    """
    everything = {"k": k, "epochs": epochs, **curriculum}
    given = ", ".join(name for name, value in everything.items() if value is not None)
    if regime is None:
        if given:
            check_duration(k, epochs)
        return not given
    if not isinstance(regime, str):
        raise TypeError(f"regime must be text such as 'lerac(k=3)', got {regime!r}")
    parse_regime(regime)
    if given:
        raise TypeError(
            f"regime={regime!r} says all of the curriculum, so {given} cannot be given too: write it into the regime, "
            "such as 'lerac(k=3,ratio=1e-4)', its k in epochs"
        )
    return True


def attach_regime(
    optimizer: Optimizer,
    model: nn.Module,
    regime: str | None,
    *,
    lengths: Epochs | None,
    total: float,
    ahead: float,
    layers: Sequence[Layer] | None,
    why: str = "the training data has no length",
) -> Attached:
    """Call `lerac.attach` for a framework.

    Args:
        optimizer: as there.
        model: as there.
        regime: as there.
        lengths: of the training's epochs; None if nobody knows.
        total: optimizer steps of the whole training, infinite if nobody knows.
        ahead: those that are still to come.
        layers: as there.
        why: nobody knows the lengths.

    Raises:
        TypeError: as `lerac.attach`.
        ValueError: as `lerac.attach`, or if the regime's epochs are no number of steps, or its curriculum is longer
            than the rest of training.
    """
    chosen = chosen_regime(regime, innermost(optimizer))
    steps = lengths.common if lengths is not None else None
    if steps is None:
        if chosen.in_epochs or os.environ.get(REGIME):
            if lengths is not None:
                why = f"the epochs of this training have different numbers of optimizer steps, {lengths}"
            raise ValueError(
                f"regime {str(chosen)!r} is in epochs, and {why}. Make all epochs equally long, or call "
                "lerac.attach(optimizer, model, epoch_steps=…) yourself, with the steps that an epoch is to count as"
            )
        steps, total = 1, math.inf  # nothing is in epochs
    epochs = None if math.isinf(total) else total / steps
    attached = attach(optimizer, model, regime, epoch_steps=steps, epochs=epochs, layers=layers)
    if attached.curriculum is not None and not math.isinf(attached.curriculum.k):
        try:
            check_fits(attached.curriculum.k, attached.curriculum.steps, ahead)
        except ValueError:
            attached.remove()
            raise
    return attached


def check_kind(state: Mapping[str, Any], regime: bool) -> None:
    """See that a callback continues by the same kind of arguments.

    Args:
        state: of the callback, from a checkpoint.
        regime: whether it trains by one.

    Raises:
        ValueError: if it does not.
    """
    if regime and state.get("curricula"):
        raise ValueError(
            f"the checkpoint's curriculum was given by k or epochs (it lasts {state['curricula'][0]['k']} optimizer "
            "steps), and this is a regime: continue with the arguments of then"
        )
    others = [one["regime"] for one in state.get("attached", ()) if one["regime"] != "conventional"]
    if not regime and others:
        raise ValueError(
            f"the checkpoint is of the regime {others[0]!r}, and this is a curriculum by k or epochs: continue with "
            "the arguments of then"
        )


def is_in_epochs(attached: Attached) -> bool:
    """Whether the length of the epochs still decides what a regime does."""
    return parse_regime(attached.regime).in_epochs and not attached.finished


def metrics(attached: Attached, prefix: str = "lr/") -> dict[str, float]:
    """Give the rates that the next step will use, as `layer_rates`, and `sigma` while something is smoothed."""
    found = {} if attached.curriculum is None else layer_rates(attached.curriculum, prefix)
    if attached.smoothing is not None and not attached.smoothing.finished:
        found["sigma"] = attached.smoothing.sigma
    return found
