"""Which regime a training is to have: the one that it asks for, or that of the running study."""

import math
import os

from torch.optim import Optimizer

from lerac.regimes.record import REGIME, SEED
from lerac.regimes.text import Regime, parse_regime

__all__ = ["chosen_regime", "chosen_seed"]


def chosen_regime(regime: str | None, optimizer: Optimizer) -> Regime:
    """Give the regime with nothing left open; in a study it is that of the run.

    Raises:
        TypeError: if it is no text.
        ValueError: if it is no regime, not that of the run, or of another learning rate than the optimizer has.
    """
    asked = os.environ.get(REGIME)
    if regime is not None and not isinstance(regime, str):
        raise TypeError(f"regime must be text such as 'lerac(k=3)', got {regime!r}")
    if regime is None:
        return parse_regime(asked or "conventional").complete()
    chosen = parse_regime(regime).complete()
    if asked and str(chosen) != str(parse_regime(asked).complete()):
        raise ValueError(
            f"regime {regime!r} is fixed in the training, and the running study asks for {asked!r}: leave regime out, "
            "and every run gets its own"
        )
    lr = chosen.options.get("lr")
    rates = [float(group[key]) for group in optimizer.param_groups for key in ("lr", "initial_lr") if key in group]
    if not asked and lr is not None and not any(math.isclose(rate, float(lr), rel_tol=1e-6) for rate in rates):
        raise ValueError(
            f"regime {regime!r} is one of the learning rate {lr:g}, and the optimizer has "
            f"{', '.join(f'{rate:g}' for rate in dict.fromkeys(rates))}: build it with the rate of the regime"
        )
    return chosen


def chosen_seed() -> int:
    """Give the seed of the running study, else 0.

    Raises:
        ValueError: if the environment has something else.
    """
    text = os.environ.get(SEED) or "0"
    if not text.isdecimal():
        raise ValueError(f"{SEED} must be a whole number of at least 0, got {text!r}")
    return int(text)
