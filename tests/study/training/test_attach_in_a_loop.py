"""A plain loop with `lerac.attach` is the study's own loop, bit for bit, for every regime of the same recipe."""

import math
from functools import partial

import pytest
from plain_digits import train_by_hand
from studies import equal, make_run, trained, untimed

import lerac
from lerac.regimes.text import REGIMES, Regime, parse_regime
from lerac.study.plan.curriculum import steps_per_epoch

EPOCHS = 4
SPELLED_OUT = [
    "lerac(depth=registered)",
    "warmup(curve=exponential)",
    "cbs(every=1.5)",
    pytest.param("unfreeze(depth=registered,k=2.5)", marks=pytest.mark.wide),
    pytest.param("layer-decay(factor=0.5)", marks=pytest.mark.wide),
]


def filled(run):
    """Write the regime of a run with all that its recipe says, as somebody without a recipe has to."""
    regime, per_epoch = parse_regime(run.regime), steps_per_epoch(run.settings)
    options = dict(regime.options)
    if (own := run.curriculum) is not None:
        said = {"k": own.k and own.k / per_epoch, "ratio": own.ratio, "factor": own.ratio}
        options |= {key: said[key] for key in REGIMES[regime.name] if said.get(key) is not None}
    if (own := run.smoothing) is not None:
        options |= {"sigma": own.sigma, "decay": own.decay, "every": own.every / per_epoch}
    return str(Regime(regime.name, options))


@pytest.mark.parametrize("regime", [*REGIMES, *SPELLED_OUT])
def test_every_regime(regime):
    run = make_run(regime, epochs=EPOCHS, seeds=(3,))
    assert run.settings["schedule"]["name"] == "constant"
    last, losses, _, test = train_by_hand(run, partial(lerac.attach, regime=filled(run), seed=run.seed))
    own = trained(run)
    assert equal(own.state_dict()["network"], last)
    history = untimed(own.history)
    assert all(math.isclose(a, b["validation_loss"], rel_tol=1e-6) for a, b in zip(losses, history, strict=True))
    assert test == own.test().score
