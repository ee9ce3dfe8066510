"""LeRaC against the loop that people would write by hand, bit for bit, for every optimizer of torch that it serves."""

import copy
from functools import partial

import pytest
import torch
from tests.conftest import by_layer, layers_of, make_net, same, train
from torch import optim

import lerac

K, STEPS, RATIO = 8, 16, 1e-3

OPTIMIZERS = {
    "sgd": partial(optim.SGD, lr=0.1),
    "sgd-momentum": partial(optim.SGD, lr=0.1, momentum=0.9),
    "sgd-nesterov-decay": partial(optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": partial(optim.Adam, lr=1e-2, weight_decay=1e-2),
    "adam-amsgrad": partial(optim.Adam, lr=1e-2, amsgrad=True),
    "adamw": partial(optim.AdamW, lr=1e-2),
    "adamax": partial(optim.Adamax, lr=1e-2),
    "nadam": partial(optim.NAdam, lr=1e-2),
    "radam": partial(optim.RAdam, lr=1e-2),
    "rmsprop": partial(optim.RMSprop, lr=1e-2, momentum=0.9, centered=True),
    "adagrad": partial(optim.Adagrad, lr=1e-1),
    "adadelta": partial(optim.Adadelta, lr=1.0),
    "muon": partial(optim.Muon, lr=1e-2),
}
IMPLEMENTATIONS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
RATES = {"float": float, "tensor": torch.tensor}

# What torch 2.14 itself refuses, with or without a curriculum: {optimizer: {(implementation, rate), …}}.
NO_FOREACH_TENSOR = {("foreach", "tensor")}  # unless capturable, which needs a GPU
NO_FUSED = {("fused", "float"), ("fused", "tensor")}
REFUSED = {
    "adam": NO_FOREACH_TENSOR,
    "adam-amsgrad": NO_FOREACH_TENSOR,
    "adamw": NO_FOREACH_TENSOR,
    "adamax": NO_FUSED,
    "nadam": NO_FUSED,
    "radam": NO_FUSED,
    "rmsprop": NO_FUSED,
    "adadelta": NO_FUSED,
    "muon": NO_FUSED | {("foreach", "float"), ("foreach", "tensor")},  # it has one implementation
}


def build(name, implementation, rate, parameters):
    make = OPTIMIZERS[name]
    options = {} if name == "muon" and implementation == "loop" else IMPLEMENTATIONS[implementation]
    return partial(make.func, **make.keywords | options | {"lr": RATES[rate](make.keywords["lr"])})(parameters)


def torch_refuses(name, implementation, rate):
    model = make_net(bias=name != "muon")
    try:
        train(model, build(name, implementation, rate, model.parameters()), range(1))
    except (RuntimeError, ValueError, TypeError):
        return True
    return False


def by_hand(model, optimizer, base_lr, steps):
    def set_rates(step):
        progress = min(step / K, 1)
        for group, (_, r) in zip(optimizer.param_groups, by_layer(model, RATIO), strict=True):
            group["lr"] = base_lr * r ** (1 - progress)

    train(model, optimizer, steps, set_rates)


COMBINATIONS = [(name, how, rate) for name in OPTIMIZERS for how in IMPLEMENTATIONS for rate in RATES]


@pytest.mark.parametrize(("name", "implementation", "rate"), COMBINATIONS)
def test_equals_the_loop_by_hand_and_then_the_plain_optimizer(name, implementation, rate):
    refused = torch_refuses(name, implementation, rate)
    assert refused == ((implementation, rate) in REFUSED.get(name, set())), "the list of what torch refuses is wrong"
    if refused:
        return

    start = make_net(bias=name != "muon")
    ours, hand = copy.deepcopy(start), copy.deepcopy(start)
    optimizer = build(name, implementation, rate, ours.parameters())
    base_lr = optimizer.param_groups[0]["lr"]
    curriculum = lerac.LeRaC(optimizer, ours, k=K, ratio=RATIO, layers=layers_of(ours))
    reference = build(name, implementation, rate, [{"params": p} for p, _ in by_layer(hand, RATIO)])

    train(ours, optimizer, range(K))
    by_hand(hand, reference, base_lr, range(K))
    assert same(ours, hand)
    assert not same(ours, start)
    assert curriculum.finished

    plain = copy.deepcopy(ours)
    conventional = build(name, implementation, rate, plain.parameters())
    conventional.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # torch would share the buffers
    train(ours, optimizer, range(K, STEPS))
    by_hand(hand, reference, base_lr, range(K, STEPS))
    train(plain, conventional, range(K, STEPS))
    assert same(ours, hand)
    assert same(ours, plain)
    assert optimizer.param_groups[0]["lr"] is base_lr  # the user's rate was never touched
    assert base_lr == build(name, implementation, rate, plain.parameters()).param_groups[0]["lr"]


def test_the_curriculum_changes_training():
    """So that the comparisons above cannot pass because nothing happens."""
    conventional, curriculum = make_net(), make_net()
    optimizer = optim.SGD(curriculum.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, curriculum, k=K, ratio=RATIO, layers=layers_of(curriculum))
    train(conventional, optim.SGD(conventional.parameters(), lr=0.1), range(1))
    train(curriculum, optimizer, range(1))
    assert torch.equal(conventional.stem.weight, curriculum.stem.weight)
    assert not torch.equal(conventional.head.weight, curriculum.head.weight)


@pytest.mark.parametrize(
    "curve", ["linear", "logarithmic", "cosine", lerac.curves.staircase(updates=4), lambda p, r: r + p * (1 - r)]
)
def test_any_curve_sets_the_rates(curve):
    model, hand = make_net(), make_net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, curve=curve, layers=layers_of(model))
    rule = lerac.curves.CURVES[curve] if isinstance(curve, str) else curve
    reference = optim.SGD([{"params": p} for p, _ in by_layer(hand, RATIO)], lr=0.1)

    def set_rates(step):
        for group, (_, r) in zip(reference.param_groups, by_layer(hand, RATIO), strict=True):
            group["lr"] = 0.1 * rule(min(step / K, 1), r)

    train(model, optimizer, range(STEPS))
    train(hand, reference, range(STEPS), set_rates)
    assert same(model, hand)
