"""Options of a param group with an entry for each parameter, under any key: split with the parameters, or refused."""

import copy
from collections import OrderedDict, deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import layers_of, loss_of, make_net, same, train

import lerac

K, STEPS, RATIO, LR = 4, 7, 1e-2, 0.1
SIZE = 8  # parameters of the network

pytestmark = pytest.mark.filterwarnings("ignore:.*keeps .* in its param groups, with other values for each layer")


class Weighted(torch.optim.Optimizer):
    """Weighs every update by an entry of `group[key]`, and writes a new entry: in place, as another object, or none."""

    def __init__(self, params, key, form, writes, defaults=()):
        self.key, self.form, self.writes = key, form, writes
        super().__init__(params, {"lr": LR, **dict(defaults)})

    def name_of(self, group, i):
        p = group["params"][i]
        return {"list": i, "tuple": i, "by parameter": p, "by id": id(p), "by name": group["param_names"][i]}[self.form]

    def made(self, group):
        names = [self.name_of(group, i) for i in range(len(group["params"]))]
        return [1.0] * len(names) if self.form in ("list", "tuple") else dict.fromkeys(names, 1.0)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            entries = group.get(self.key) or self.made(group)
            new = list(entries) if self.form == "tuple" else entries if self.writes == "in place" else entries.copy()
            for i, p in enumerate(group["params"]):
                name = self.name_of(group, i)
                p.sub_(group["lr"] * entries[name] * p.grad)
                if self.writes != "never":
                    new[name] = 0.5 * new[name] + p.grad.abs().mean().item()
            group[self.key] = tuple(new) if self.form == "tuple" else new


@st.composite
def programs(draw):
    """Which parameters are in which group and layer, and how the optimizer keeps what under which name."""
    names = [name for name, _ in make_net().named_parameters()]

    def partition():
        at = draw(st.lists(st.integers(0, 3), min_size=SIZE, max_size=SIZE))
        return [members for g in range(4) if (members := [n for n, own in zip(names, at, strict=True) if own == g])]

    layers = tuple(lerac.Layer(f"layer {d}", d, tuple(own)) for d, own in enumerate(partition()))
    groups = [names] if draw(st.booleans()) else partition()
    key = draw(st.text(min_size=1).filter(lambda text: text not in ("params", "lr", "param_names", "eps", "betas")))
    form = draw(st.sampled_from(["list", "tuple", "by parameter", "by id", "by name"]))
    writes = draw(st.sampled_from(["in place", "anew", "never"]))
    return layers, groups, key, form, writes, draw(st.booleans())


def build(model, groups, key, form, writes, given):
    """Build the optimizer, with entries in its groups or without them; entries are numbered through the network."""
    named = dict(model.named_parameters())
    weights = {name: 1 + i / 8 for i, name in enumerate(named)}
    optimizer = Weighted([{"params": [(n, named[n]) for n in own]} for own in groups], key, form, writes)
    for group in optimizer.param_groups if given else ():
        entries = [weights[name] for name in group["param_names"]]
        if form.startswith("by"):
            group[key] = {optimizer.name_of(group, i): entry for i, entry in enumerate(entries)}
        else:
            group[key] = tuple(entries) if form == "tuple" else entries
    return optimizer


def by_hand(model, layers, steps, optimizer):
    start = {name: RATIO ** (layer.depth / max(layers[-1].depth, 1)) for layer in layers for name in layer.parameters}

    def set_rates(step):
        for group in optimizer.param_groups:
            group["lr"] = LR * start[group["param_names"][0]] ** (1 - min(step / K, 1))

    train(model, optimizer, steps, set_rates)


def tells(sizes):
    """Whether lists as long as these are no coincidence."""
    return len(set(sizes)) > 1 or sizes[0] > 4


@pytest.mark.filterwarnings("ignore:LeRaC can tell a single layer apart")
@settings(max_examples=50, deadline=None)
@given(programs())
def test_entries_go_with_their_parameters_or_are_refused(program):
    layers, groups, *how = program
    model, hand = make_net(), make_net()
    optimizer = build(model, groups, *how)
    curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers)
    layer_of = {name: layer.depth for layer in layers for name in layer.parameters}
    parts = [[own for d in range(4) if (own := [n for n in group if layer_of[n] == d])] for group in groups]
    _, form, _, given_ = how
    looked_at = groups if given_ else [part for own in parts for part in own]
    sure = form.startswith("by") or tells([len(own) for own in looked_at])
    if not sure and any(len(own) > 1 for own in parts):
        with pytest.raises(ValueError, match="one param group for each parameter"):
            train(model, optimizer, range(1))
        return
    train(model, optimizer, range(STEPS))
    assert curriculum.finished
    reference = build(hand, [[name] for name, _ in hand.named_parameters()], *how)
    by_hand(hand, layers, range(STEPS), reference)
    assert same(model, hand)


@settings(max_examples=15, deadline=None)
@given(writes=st.sampled_from(["in place", "anew"]), stop=st.integers(1, STEPS - 1), given_=st.booleans())
def test_entries_travel_with_a_checkpoint_exactly(writes, stop, given_):
    layers = tuple(lerac.Layer(f"layer {d}", d, names) for d, names in enumerate([
        ("stem.weight", "stem.bias", "body.0.weight"), ("body.0.bias",), ("body.2.weight", "body.2.bias"),
        ("head.weight", "head.bias")]))  # fmt: skip
    names = [name for name, _ in make_net().named_parameters()]
    whole, first, second = make_net(), make_net(), make_net()

    def attached(model):
        optimizer = build(model, [names], "weights", "list", writes, given_)
        lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers)
        return optimizer

    train(whole, attached(whole), range(STEPS))
    train(first, before := attached(first), range(stop))
    second.load_state_dict(first.state_dict())
    after = attached(second)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    train(second, after, range(stop, STEPS))
    assert same(whole, second)
    assert after.param_groups[0]["weights"] != [1.0] * SIZE


class Reads(torch.optim.SGD):
    """Has an option that it only reads."""


OTHERS = {
    "a queue": lambda n: deque([1.0] * n),
    "a tensor": torch.ones,
    "a mapping of numbers": lambda n: dict.fromkeys(range(n), 1.0),
    "an ordered mapping of numbers": lambda n: OrderedDict.fromkeys(range(n), 1.0),
    "lists in a mapping": lambda n: {"weights": [1.0] * n},
    "a range": range,
    "a set": lambda n: {f"name {i}" for i in range(n)},
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_cannot_be_split_is_refused(what):
    model = make_net()
    optimizer = Reads(model.parameters(), lr=LR)
    optimizer.param_groups[0]["mine"] = OTHERS[what](SIZE)
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers_of(model))
    with pytest.raises(ValueError, match="Reads keeps 'mine' in its param groups, and it cannot be known"):
        train(model, optimizer, range(1))
    alone = Reads([{"params": [p], "mine": OTHERS[what](1)} for p in model.parameters()], lr=LR)
    curriculum = lerac.LeRaC(alone, model, k=K, ratio=RATIO, layers=layers_of(model))
    train(model, alone, range(K))
    assert curriculum.finished


@settings(max_examples=30, deadline=None)
@given(
    key=st.sampled_from(["betas", "betas_1d", "eps", "etas", "step_sizes", "nus", "ns_coefficients", "mine"]),
    length=st.integers(1, SIZE + 1),
    sizes=st.sampled_from([(8,), (2, 6), (1, 3, 4), (4, 4)]),
)
def test_what_the_rule_of_update_has_stays_whole(key, length, sizes):
    """Options by nature under their usual names, and the optimizer's own defaults, whatever their length."""
    value = tuple(1.0 / (i + 1) for i in range(length))

    class Own(torch.optim.SGD):
        def __init__(self, params):
            super().__init__(params, lr=LR)
            for group in self.param_groups:
                group.setdefault(key, value)
            self.defaults[key] = value

        def step(self, closure=None):
            assert all(group[key] == value for group in self.param_groups)
            super().step(closure)

    model = make_net()
    parts = iter(model.parameters())
    optimizer = Own([{"params": [next(parts) for _ in range(size)]} for size in sizes])
    curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers_of(model))
    train(model, optimizer, range(K))
    assert curriculum.finished


def test_a_list_that_grows_with_the_steps_is_a_history_and_no_list_by_parameter():
    class Remembers(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            for group in self.param_groups:
                group["history"] = [*group.get("history", []), group["lr"]]

    model = make_net()
    optimizer = Remembers(model.parameters(), lr=LR)
    curriculum = lerac.LeRaC(optimizer, model, k=SIZE + 2, ratio=RATIO, layers=layers_of(model))
    train(model, optimizer, range(SIZE + 2))
    assert curriculum.finished
    assert optimizer.param_groups[0]["history"] == [LR] * (SIZE + 2)  # of the layer next to the input


def test_parameters_that_join_a_group_without_an_entry_are_refused():
    model = make_net()
    names = [name for name, _ in model.named_parameters()]
    optimizer = build(model, [names[:6]], "weights", "list", "never", True)
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers_of(model))
    train(model, optimizer, range(1))
    optimizer.param_groups[0]["params"] += [model.head.weight]
    with pytest.raises(ValueError, match="a group of 7 parameters has 6 entries: give it as many"):
        train(model, optimizer, range(1, 2))


class Pairs(torch.optim.Optimizer):
    """LoRA-FA: a frozen matrix goes before the one that it belongs to, and names tell which."""

    def __init__(self, model, lr):
        names, params = zip(*model.named_parameters(), strict=True)
        super().__init__([{"params": list(params), "names": list(names)}], {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            waiting = None
            for p, name in zip(group["params"], group["names"], strict=True):
                if not p.requires_grad:
                    assert waiting is None
                    waiting = name
                else:
                    assert waiting is None or waiting.split(".")[:-1] == name.split(".")[:-1], (waiting, name)
                    p.sub_(group["lr"] * p.grad * (2 if waiting else 1))
                    waiting = None


@settings(max_examples=25, deadline=None)
@given(frozen=st.sets(st.sampled_from(["stem", "body.0", "body.2", "head"]), max_size=4), later=st.booleans())
def test_frozen_parameters_go_with_the_next_that_is_trained(frozen, later):
    """Also when they are frozen or unfrozen in the middle."""
    model, hand = make_net(), make_net()

    def freeze(net, step):
        for name in frozen:
            weight = net.get_submodule(name).weight
            weight.requires_grad_(step >= 2 and later)
            weight.grad = None if step < 2 or not later else weight.grad

    for net in (model, hand):
        freeze(net, 0)
    modules = ["stem", "body.0", "body.2", "head"]
    moved = {m for m in frozen if m != "stem"}  # their weight is in the layer before, as a measured depth may have it
    apart = tuple(
        lerac.Layer(
            module,
            depth,
            (
                f"{module}.bias",
                *([] if module in moved else [f"{module}.weight"]),
                *tuple(f"{m}.weight" for m in modules[depth + 1 : depth + 2] if m in moved),
            ),
        )
        for depth, module in enumerate(modules)
    )
    optimizer = Pairs(model, LR)
    curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=apart)
    for step in range(STEPS):
        freeze(model, step)
        train(model, optimizer, range(step, step + 1))
    assert curriculum.finished

    start = {name: RATIO ** (layer.depth / 3) for layer in apart for name in layer.parameters}
    for step in range(STEPS):
        freeze(hand, step)
        hand.zero_grad()
        loss_of(hand, step).backward()
        still = False
        for name, p in hand.named_parameters():
            if not p.requires_grad:
                still = True
                continue
            with torch.no_grad():
                p.sub_(LR * start[name] ** (1 - min(step / K, 1)) * p.grad * (2 if still else 1))
            still = False
    assert same(model, hand)
