"""One seed is one training, and all regimes of a seed differ in nothing but the regime, however they are trained."""

import copy

import pytest
import torch
from studies import equal, make_run, trained, untimed, weights
from torch import nn

import lerac.study.training.training
from lerac.study.training.order import EpochOrder
from lerac.study.training.training import Training

pytestmark = pytest.mark.wide

WAYS = {
    "plain": {},
    "accumulated": {"overrides": ("training.batch_size=15", "training.accumulate=4", "training.clip_norm=1")},
    "low precision": {"precision": "bf16"},
}


@pytest.fixture(params=[*WAYS, "dropout"])
def way(request, monkeypatch):
    """How runs are made: with dropout in front of the network, or as `WAYS` says."""
    if request.param != "dropout":
        return WAYS[request.param]
    build = lerac.study.training.training.build

    def with_dropout(run):
        data, network = build(run)
        mask = nn.Dropout(0.4)
        network.register_forward_pre_hook(lambda module, args: (mask.train(module.training)(args[0]), *args[1:]))
        return data, network

    monkeypatch.setattr("lerac.study.training.training.build", with_dropout)
    return {}


@pytest.mark.parametrize("regime", ["conventional", "cbs+lerac(every=0.4,k=1.5)"])
def test_a_seed_is_one_training_to_the_last_bit(way, regime):
    torch.manual_seed(1)
    one = trained(make_run(regime, **way))
    torch.manual_seed(2)  # whatever the process did before
    torch.rand(7)
    other = trained(make_run(regime, **way))
    assert equal(weights(one), weights(other))
    assert untimed(one.history) == untimed(other.history)
    assert one.test().loss == other.test().loss
    assert not equal(weights(one), weights(trained(make_run(regime, seeds=(1,), **way))))


@pytest.mark.parametrize("regime", ["conventional", "cbs+lerac(every=0.4,k=1.5)"])
def test_continued_is_undisturbed(way, regime):
    run = make_run(regime, epochs=3, **way)
    whole, first = trained(run), trained(run, epochs=1)
    continued = Training(run)
    continued.load_state_dict(copy.deepcopy(first.state_dict()))
    torch.rand(5)
    while not continued.over:
        continued.run_epoch()
    assert equal(weights(continued), weights(whole))
    assert untimed(continued.history) == untimed(whole.history)


def test_all_regimes_of_a_seed_start_alike_and_see_the_same_inputs(way, monkeypatch):
    """What reaches the network: the order of the examples, and dropout."""
    seen, starts, finals = {}, {}, {}
    for regime in ("conventional", "warmup", "lerac", "lerac-reversed", "lerac-shuffled", "cbs", "cbs+lerac"):
        positions, inputs = [], []

        class Watched(EpochOrder):
            def __iter__(self, positions=positions):
                for batch in super().__iter__():
                    positions.append(tuple(batch))
                    yield batch

        monkeypatch.setattr("lerac.study.training.training.EpochOrder", Watched)
        training = Training(make_run(regime, **way))
        starts[regime] = copy.deepcopy(weights(training))

        def watch(module, args, inputs=inputs):
            if module.training:
                inputs.append(args[0].clone())

        training.network.register_forward_pre_hook(watch)
        while not training.over:
            training.run_epoch()
        seen[regime], finals[regime] = (positions, inputs), weights(training)
    positions, inputs = seen["conventional"]
    assert len(positions) == len(inputs) == 2 * len(training._order)
    assert not torch.equal(inputs[0], inputs[len(inputs) // 2])  # epochs differ
    for regime in seen:
        assert equal(starts[regime], starts["conventional"])
        assert seen[regime][0] == positions
        assert all(map(torch.equal, seen[regime][1], inputs))
    assert not any(equal(finals[regime], finals["conventional"]) for regime in finals if regime != "conventional")
