"""Regimes: the ways to train that a study compares, and `lerac.attach`, which makes any of them of a training.

A regime is written `name(option=value,…)`; k and `every` are in epochs:

>>> from lerac.regimes import parse_regime
>>> str(parse_regime("lerac(ratio=1e-4, k=3)"))
'lerac(k=3,ratio=0.0001)'
"""

from typing import TYPE_CHECKING

from lerac.lazy import lazily
from lerac.regimes.grid import split_regimes
from lerac.regimes.text import DEFAULT_REGIMES, REGIMES, Regime, parse_regime

if TYPE_CHECKING:
    from lerac.regimes.attached import Attached, attach
else:
    __getattr__, __dir__ = lazily(__name__, {"Attached": "attached", "attach": "attached"})

__all__ = ["DEFAULT_REGIMES", "REGIMES", "Attached", "Regime", "attach", "parse_regime", "split_regimes"]
