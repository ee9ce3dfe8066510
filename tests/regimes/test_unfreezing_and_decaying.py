"""`unfreeze` and `layer-decay`: the formulas, and what optimizers do with a rate of exactly 0."""

import copy
import json
import math
import warnings

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.conftest import make_net, same, train
from torch import nn

import lerac
from lerac.curves import staircase
from lerac.layers import start_ratios
from lerac.regimes.effects import Deal, unfreeze
from lerac.regimes.record import finish

counts = st.integers(1, 10**6)
DEPTHS = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(lambda depths: len(set(depths)) > 1)


def layers_of(depths):
    return [lerac.Layer(f"layer {i}", depth, (f"{i}.weight",)) for i, depth in enumerate(sorted(depths))]


@given(counts, st.integers(1, 1000), st.data())
@example(10**6, 3, None)
def test_a_layers_turn_is_at_step_k_d_over_the_deepest_rounded_up(k, deepest, data):
    for depth in {0, 1, deepest, data.draw(st.integers(0, deepest)) if data else 2}:
        turn = -(-k * depth // deepest)
        for step in {0, max(0, turn - 1), min(turn, k - 1), min(turn + 1, k - 1), k - 1}:
            assert unfreeze(step / k, 0.5 ** (depth / deepest)) == (step >= turn)


@given(st.integers(1, 12), st.integers(1, 8))
def test_it_is_the_limit_of_a_fine_staircase_at_tiny_ratios(k, deepest):
    tiny = 1e-300
    curve = staircase(tiny ** (-1 / k), updates=k)
    for depth in range(deepest + 1):
        for step in range(k):
            factor = curve(step / k, tiny ** (depth / deepest))
            assert factor == pytest.approx(unfreeze(step / k, 0.5 ** (depth / deepest)), abs=2e-3)


@given(DEPTHS, st.floats(1e-9, 1))
def test_layer_decay_is_a_power_of_the_distance_from_the_output(depths, factor):
    layers = layers_of(depths)
    dealt = Deal("decaying", 0)(layers, factor)
    assert dealt == {layer.name: factor ** (max(depths) - layer.depth) for layer in layers}
    assert dealt[layers[-1].name] == 1


def test_a_layer_without_any_rate_is_refused():
    with pytest.raises(
        ValueError, match=r"factor 1e-200 leaves the layer 'layer 0', 2 layers before the last, no rate"
    ):
        Deal("decaying", 0)(layers_of([0, 1, 2]), 1e-200)


def chain(depths):
    return nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in depths))


@settings(max_examples=5, deadline=None)
@given(DEPTHS, st.integers(1, 9), st.sampled_from([0.3, 0.65, 1.0]))
def test_the_rates_of_an_attached_training(depths, k, factor):
    layers = layers_of(depths)
    deepest = max(depths)
    for regime in (f"unfreeze(k={k / 4})", f"layer-decay(factor={factor})"):
        model = chain(depths)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        found = lerac.attach(optimizer, model, regime, epoch_steps=4, layers=layers)
        for step in range(k + 2):
            for layer in layers:
                if regime.startswith("unfreeze"):
                    by_hand = 0.1 if step >= min(k, math.ceil(k * layer.depth / deepest - 1e-9)) else 0.0
                else:
                    by_hand = 0.1 * factor ** (deepest - layer.depth)
                assert found.lrs()[layer.parameters[0]] == by_hand
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
        assert found.finished == regime.startswith("unfreeze")


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum and decoupled decay, as people write it themselves; older torch has none."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "momentum": 0.9, "weight_decay": 0.1})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.mul_(group["momentum"]).add_(p.grad)
                u, _, v = torch.linalg.svd(momentum, full_matrices=False)
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(u @ v, alpha=-group["lr"])


o = torch.optim
OPTIMIZERS = {
    "sgd": lambda p: o.SGD(p, lr=0.1),
    "sgd, one by one": lambda p: o.SGD(p, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.1, foreach=False),
    "sgd, together": lambda p: o.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1, foreach=True),
    "sgd, fused": lambda p: o.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, fused=True),
    "adam, one by one": lambda p: o.Adam(p, lr=0.1, weight_decay=0.1, foreach=False),
    "adam, together": lambda p: o.Adam(p, lr=0.1, amsgrad=True, foreach=True),
    "adam, fused": lambda p: o.Adam(p, lr=0.1, fused=True),
    "adam, a tensor": lambda p: o.Adam(p, lr=torch.tensor(0.1), foreach=False),
    "adamw, one by one": lambda p: o.AdamW(p, lr=0.1, weight_decay=0.1, foreach=False),
    "adamw, together": lambda p: o.AdamW(p, lr=0.1, weight_decay=0.1, foreach=True),
    "adamw, fused": lambda p: o.AdamW(p, lr=0.1, weight_decay=0.1, fused=True),
    "adamax": lambda p: o.Adamax(p, lr=0.1, weight_decay=0.1),
    "nadam": lambda p: o.NAdam(p, lr=0.1, weight_decay=0.1, decoupled_weight_decay=True),
    "radam": lambda p: o.RAdam(p, lr=0.1, weight_decay=0.1),
    "rmsprop": lambda p: o.RMSprop(p, lr=0.1, momentum=0.9, centered=True),
    "adagrad": lambda p: o.Adagrad(p, lr=0.1, weight_decay=0.1),
    "adadelta": lambda p: o.Adadelta(p, lr=0.1),
    "asgd": lambda p: o.ASGD(p, lr=0.1, weight_decay=0.1),
    "adafactor": lambda p: o.Adafactor(p, lr=0.1, weight_decay=0.1),
    "muon": lambda p: Muon(p, lr=0.1),
}
if hasattr(o, "Muon"):
    OPTIMIZERS["torch's muon"] = lambda p: o.Muon(p, lr=0.1, weight_decay=0.1)
PARTS = ("stem", "body.0", "body.2", "head")


def equal_states(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[key])), key


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_at_factor_0_nothing_moves_and_the_state_is_that_of_rate_0(name):
    """Against a loop with a param group for each layer, whose rates are set to 0 and to the full one by hand."""
    full, turns = 0.1, [0, 2, 4, 6]  # ⌈6 · d / 3⌉
    by_hand, attached = make_net(bias=False), make_net(bias=False)
    make = OPTIMIZERS[name]
    groups = [{"params": list(by_hand.get_submodule(part).parameters())} for part in PARTS]
    one, other = make(groups), make(attached.parameters())
    lerac.attach(other, attached, "unfreeze(k=1.5)", epoch_steps=4)
    for step in range(9):
        before = copy.deepcopy(attached)
        for depth, group in enumerate(one.param_groups):
            rate = full if step >= turns[depth] else 0.0
            group["lr"] = torch.tensor(rate) if isinstance(group["lr"], torch.Tensor) else rate
        train(by_hand, one, range(step, step + 1))
        train(attached, other, range(step, step + 1))
        for depth, part in enumerate(PARTS):
            moved = not same(before.get_submodule(part), attached.get_submodule(part))
            late = name == "asgd" and depth > 0  # it takes the rate of the step before
            assert moved == (step >= turns[depth] + late)
        assert same(by_hand, attached)
        for mine, theirs in zip(by_hand.parameters(), attached.parameters(), strict=True):
            equal_states(one.state[mine], other.state[theirs])


def test_sparse_gradients_at_factor_0():
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Embedding(5, 2, sparse=True), nn.Embedding(5, 2, sparse=True)])
    layers = [lerac.Layer(str(i), i, (f"{i}.weight",)) for i in range(2)]
    before = copy.deepcopy(model)
    optimizer = torch.optim.SparseAdam(model.parameters(), lr=0.1)
    lerac.attach(optimizer, model, "unfreeze(k=1)", epoch_steps=2, layers=layers)
    for step in range(3):
        optimizer.zero_grad()
        (model[0](torch.tensor([1, 2])) * model[1](torch.tensor([2, 3]))).sum().backward()
        optimizer.step()
        assert torch.equal(model[1].weight, before[1].weight) == (step < 2)
        assert optimizer.state[model[1].weight]["step"] == step + 1
    assert not torch.equal(model[0].weight, before[0].weight)


def test_layer_decay_never_ends(monkeypatch, tmp_path):
    for name, value in (("REGIME", "layer-decay(factor=0.5)"), ("SEED", "0"), ("FOLDER", str(tmp_path))):
        monkeypatch.setenv(f"LERAC_{name}", value)
    model = make_net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    found = lerac.attach(optimizer, model, epoch_steps=4, epochs=2)
    train(model, optimizer, range(20))  # longer than promised
    assert found.lrs()["stem.weight"] == 0.1 * 0.5**3
    assert (found.finished, found.steps, found.curriculum.k, found.curriculum.finished) == (False, 20, math.inf, False)
    assert str(found.curriculum).startswith("LeRaC(step 20, ratio 0.5, exponential, 4 layers)")
    assert json.loads(json.dumps(found.state_dict()))["curriculum"]["k"] is None
    finish()
    [entry] = json.loads((tmp_path / "attach.json").read_text())["attached"]
    assert (entry["k"], entry["finished"], entry["steps"]) == (None, True, 20)  # it was not cut short
    found.remove()
    assert found.lrs()["stem.weight"] == 0.1


def test_its_state_is_not_that_of_a_curriculum_that_ends():
    model = make_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    endless = lerac.LeRaC(optimizer, model, k=math.inf, ratio=0.5)
    train(model, optimizer, range(3))
    state = json.loads(json.dumps(endless.state_dict()))
    endless.load_state_dict(state)
    assert endless.starts == start_ratios(endless.layers, 0.5)
    assert endless.lrs()["head.weight"] == 0.1 * 0.5  # of the first step, whatever the progress
    other = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="has k None, this one 3"):
        lerac.LeRaC(other, model, k=3, ratio=0.5).load_state_dict(state)
    for bad in (-math.inf, math.nan, 2.5):
        with pytest.raises(TypeError, match="k must be a whole number"):
            lerac.LeRaC(other, model, k=bad)


def test_low_precision_warns_of_what_decays_and_not_of_what_waits():
    for regime, warned in (("unfreeze(k=1)", False), ("layer-decay(factor=0.5)", True)):
        model = make_net().to(torch.bfloat16)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        lerac.attach(optimizer, model, regime, epoch_steps=2, layers=lerac.registration_layers(model))
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            optimizer.step()
        assert [("0.125 of the full one" in str(one.message)) for one in caught] == [True] * warned


def test_what_is_printed_is_where_the_layers_start():
    model = make_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = lerac.attach(optimizer, model, "unfreeze(k=1)", epoch_steps=3, layers=lerac.registration_layers(model))
    starts = [line.split()[3] for line in str(found.curriculum).splitlines()[2:]]
    assert starts == ["1", "0", "0", "0"]
