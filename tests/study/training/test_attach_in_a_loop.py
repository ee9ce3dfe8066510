"""A plain loop with `lerac.attach` is the study's own loop, bit for bit, for every regime of the same recipe."""

import copy
import math

import pytest
import torch
from studies import equal, make_run, trained, untimed
from torch.nn import functional

import lerac
from lerac.regimes.drawing import derive
from lerac.regimes.text import REGIMES, Regime, parse_regime
from lerac.study.plan.curriculum import steps_per_epoch
from lerac.study.seeds import seed_everything
from lerac.study.training.training import build

EPOCHS = 4


def filled(run):
    """Write the regime of a run with all that its recipe says, as somebody without a recipe has to."""
    regime, per_epoch = parse_regime(run.regime), steps_per_epoch(run.settings)
    options = dict(regime.options)
    if (own := run.curriculum) is not None:
        options |= {"k": own.k / per_epoch, **({} if own.ratio is None else {"ratio": own.ratio})}
    if (own := run.smoothing) is not None:
        options |= {"sigma": own.sigma, "decay": own.decay, "every": own.every / per_epoch}
    return str(Regime(regime.name, options))


@pytest.mark.parametrize("regime", [*REGIMES, "lerac(depth=registered)", "warmup(curve=exponential)", "cbs(every=1.5)"])
def test_every_regime(regime):
    run = make_run(regime, epochs=EPOCHS, seeds=(3,))
    assert run.settings["schedule"]["name"] == "constant"
    data, network = build(run)
    options = run.settings["optimizer"]
    optimizer = torch.optim.SGD(
        network.parameters(), lr=options["lr"], momentum=options["momentum"], weight_decay=options["weight_decay"]
    )
    attached = lerac.attach(
        optimizer, network, filled(run), epoch_steps=steps_per_epoch(run.settings), epochs=EPOCHS, seed=run.seed
    )

    def measure(split):
        network.eval()
        with torch.inference_mode():
            outputs = network(split.inputs)
        return float(functional.cross_entropy(outputs, split.labels)), int((outputs.argmax(1) == split.labels).sum())

    losses, best, kept = [], -1, None
    for epoch in range(EPOCHS):
        seed_everything(derive(run.seed, "epoch", epoch))
        network.train()
        generator = torch.Generator().manual_seed(derive(run.seed, "order", epoch))
        for batch in torch.randperm(90, generator=generator).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(network(data.train.inputs[batch]), data.train.labels[batch]).backward()
            optimizer.step()
        loss, right = measure(data.validation)
        losses.append(loss)
        if right > best:
            best, kept = right, copy.deepcopy((network.state_dict(), attached.state_dict()))
    own = trained(run)
    assert equal(own.state_dict()["network"], network.state_dict())
    history = untimed(own.history)
    assert all(math.isclose(a, b["validation_loss"], rel_tol=1e-6) for a, b in zip(losses, history, strict=True))
    network.load_state_dict(kept[0])
    if attached.smoothing:
        attached.smoothing.load_state_dict(kept[1]["smoothing"])
    assert measure(data.test)[1] / len(data.test) == own.test().score
