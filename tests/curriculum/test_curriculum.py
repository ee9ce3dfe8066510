"""What LeRaC promises beside the rates: groups, hooks, closures, errors, and what a person reads."""

import copy
import gc
import re
import weakref

import pytest
import torch
from tests import conftest
from tests.conftest import Net, by_layer, layers_of, loss_of, make_net, same, train
from torch import nn, optim

import lerac
from lerac.curriculum.stand_in import make_stand_in

K, RATIO = 10, 1e-3


def make(model=None, optimizer=None, **options):
    model = make_net() if model is None else model
    optimizer = optimizer or optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    options = {"k": K, "ratio": RATIO, "layers": layers_of(model)} | options
    return model, optimizer, lerac.LeRaC(optimizer, model, **options)


# What it says


def test_steps_count_up_to_k_and_the_step_hooks_go():
    model, optimizer, curriculum = make()
    assert (curriculum.k, curriculum.steps, curriculum.finished) == (K, 0, False)
    train(model, optimizer, range(K - 1))
    assert (curriculum.steps, curriculum.finished) == (K - 1, False)
    assert optimizer._optimizer_step_pre_hooks
    assert optimizer._optimizer_step_post_hooks
    train(model, optimizer, range(5))
    assert (curriculum.steps, curriculum.finished) == (K, True)
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize("steps", [3, K])
def test_step_count_and_for_a_while_the_layers_are_all_that_is_written_into_the_optimizer(steps):
    model, optimizer, _ = make()
    plain = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(model, optimizer, range(steps))
    for ours, theirs in zip(optimizer.param_groups, plain.param_groups, strict=True):
        layers = {"lerac_layers": ours["lerac_layers"]} if steps < K else {}
        assert ours == theirs | {"lerac_step": steps, "params": ours["params"]} | layers
    assert vars(optimizer).keys() == vars(plain).keys()
    assert type(optimizer) is optim.SGD


def test_lrs_are_what_the_next_step_uses():
    model, optimizer, curriculum = make(optimizer=None)
    for step in range(K + 3):
        before, rates = copy.deepcopy(model), curriculum.lrs()
        plain = optim.SGD([{"params": [p], "lr": rates[n]} for n, p in before.named_parameters()], momentum=0.9)
        plain.load_state_dict(
            {
                "state": copy.deepcopy(optimizer.state_dict()["state"]),
                "param_groups": plain.state_dict()["param_groups"],
            }
        )
        train(model, optimizer, range(step, step + 1))
        train(before, plain, range(step, step + 1))
        assert same(model, before)


def test_lrs_are_floats_nearest_to_the_input_first():
    model, _, curriculum = make(layers=tuple(reversed(layers_of(make_net()))))
    rates = curriculum.lrs()
    assert list(rates)[:2] == ["stem.weight", "stem.bias"]
    assert list(rates)[-2:] == ["head.weight", "head.bias"]
    assert all(type(rate) is float for rate in rates.values())
    assert rates.keys() == dict(model.named_parameters()).keys()


def test_printing_shows_layers_and_rates():
    model, optimizer, curriculum = make()
    train(model, optimizer, range(5))
    assert str(curriculum).splitlines() == [
        "LeRaC(step 5 of 10, ratio 0.001, exponential, 4 layers)",
        "  layer   depth  tensors  start ×  next rate",
        "  stem        0        2        1        0.1",
        "  body.0      1        2      0.1     0.0316",
        "  body.2      2        2     0.01       0.01",
        "  head        3        2    0.001    0.00316",
    ]
    assert repr(curriculum) == "LeRaC(step 5 of 10, ratio 0.001, exponential, 4 layers)"


def test_printing_says_what_is_special():
    model = make_net()
    optimizer = optim.SGD(
        [
            {"params": [model.stem.weight]},
            {"params": [model.stem.bias], "lr": 0.5},
            {"params": model.head.parameters()},
        ],
        lr=0.1,
    )
    ratio = {"stem": 1.0, "body.0": 0.5, "body.2": 0.5, "head": 0.25}
    _, _, curriculum = make(model, optimizer, curve=lerac.curves.staircase(updates=2), ratio=ratio)
    head, _, stem, body, *_ = str(curriculum).splitlines()
    assert head == "LeRaC(step 0 of 10, ratio by layer, Staircase(base=10.0, updates=(0.5, 1.0)), 4 layers)"
    assert stem.endswith("0.1 to 0.5")
    assert body.endswith("not optimized")


# The factors


def test_factors_come_from_depth_and_ratio():
    model = make_net()
    layers = [
        lerac.Layer("a", 0, ("stem.weight", "stem.bias")),
        lerac.Layer("b", 4, ("body.0.weight", "body.2.weight")),
        lerac.Layer("c", 1, ("body.0.bias", "body.2.bias", "head.weight", "head.bias")),
    ]
    _, _, curriculum = make(model, layers=layers, ratio=1e-4)
    rates = curriculum.lrs()
    assert rates["stem.bias"] == 0.1
    assert rates["body.2.weight"] == 0.1 * 1e-4 ** (4 / 4)
    assert rates["head.bias"] == 0.1 * 1e-4 ** (1 / 4)
    assert [layer.name for layer in curriculum.layers] == ["a", "c", "b"]


def test_with_one_depth_every_factor_is_one_and_it_says_so():
    model = make_net()
    with pytest.warns(UserWarning, match="a single layer apart in Net") as caught:
        _, _, curriculum = make(model, layers=lerac.group_layers(layers_of(model), at_most=1))
    assert [warning.filename for warning in caught] == [__file__]
    assert set(curriculum.lrs().values()) == {0.1}


@pytest.mark.parametrize("trained", [["head"], ["stem"], ["body.0"]])
def test_a_single_layer_that_is_trained_is_told_once_where_step_is_called(trained):
    """A linear probe, or a backbone that is frozen at first."""
    model = make_net().requires_grad_(False)
    for name in trained:
        model.get_submodule(name).requires_grad_(True)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    with pytest.warns(UserWarning, match="a single layer apart in Net") as caught:
        train(model, optimizer, range(1))
    assert [warning.filename for warning in caught] == [conftest.__file__]
    train(model, optimizer, range(1, K + 1))  # another warning would be an error


def test_a_single_layer_is_no_surprise_to_whoever_asks_for_no_curriculum():
    model = make_net()
    make(model, ratio=1.0, layers=lerac.group_layers(layers_of(model), at_most=1))
    model = make_net()
    [layer] = lerac.group_layers(layers_of(model), at_most=1)
    make(model, ratio={layer.name: 1.0}, layers=[layer])


def test_a_mapping_sets_every_factor():
    ratio = {"stem": 1e-3, "body.0": 1e-2, "body.2": 1e-1, "head": 1}  # reversed
    _, _, curriculum = make(ratio=ratio)
    rates = curriculum.lrs()
    assert {name: rates[f"{name}.weight"] for name in ratio} == {name: 0.1 * r for name, r in ratio.items()}


def test_factors_multiply_each_groups_own_rate_and_options_stay():
    model, hand = make_net(), make_net()

    def groups(net):
        biases = [p for n, p in net.named_parameters() if n.endswith("bias")]
        return [p for n, p in net.named_parameters() if n.endswith("weight")], biases

    weights, biases = groups(model)
    optimizer = optim.SGD(
        [
            {"params": weights, "weight_decay": 0.01, "lr": 0.1},
            {"params": biases, "lr": 0.02, "nesterov": True, "momentum": 0.9},
        ]
    )
    make(model, optimizer)
    reference = optim.SGD(
        [
            {"params": [p], "lr": lr, "base": lr, "r": RATIO ** (j / 3)} | options
            for members, lr, options in zip(
                groups(hand), (0.1, 0.02), ({"weight_decay": 0.01}, {"nesterov": True, "momentum": 0.9}), strict=True
            )
            for j, p in enumerate(members)
        ]
    )

    def set_rates(step):
        for group in reference.param_groups:
            group["lr"] = group["base"] * group["r"] ** (1 - min(step / K, 1))

    train(model, optimizer, range(2 * K))
    train(hand, reference, range(2 * K), set_rates)
    assert same(model, hand)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.02]


def test_a_rate_set_by_hand_in_the_middle_is_taken_up():
    model, optimizer, curriculum = make()
    train(model, optimizer, range(5))
    optimizer.param_groups[0]["lr"] = 0.5
    assert curriculum.lrs()["head.weight"] == 0.5 * RATIO**0.5
    assert curriculum.lrs()["stem.weight"] == 0.5


def test_an_optimizer_with_some_of_the_parameters_ranks_them_among_all():
    model = make_net()
    _, _, curriculum = make(model, optim.SGD(model.body.parameters(), lr=1.0))
    assert curriculum.lrs() == {
        name: RATIO ** (j / 3)
        for j, part in ((1, "body.0"), (2, "body.2"))
        for name in (f"{part}.weight", f"{part}.bias")
    }


def test_two_optimizers_on_one_model_each_with_a_curriculum():
    model = make_net()
    _, first, one = make(model, optim.SGD(model.stem.parameters(), lr=0.1))
    _, second, two = make(model, optim.Adam(model.head.parameters(), lr=0.01))
    train(model, first, range(4))
    train(model, second, range(2))
    assert (one.steps, two.steps) == (4, 2)
    assert two.lrs()["head.weight"] == 0.01 * RATIO ** (1 - 2 / K)


def test_tied_parameters_belong_to_the_layer_that_names_them():
    model = make_net()
    model.body[2].weight = model.body[0].weight
    layers = [
        lerac.Layer("in", 0, ("stem.weight", "stem.bias")),
        lerac.Layer("out", 1, ("body.2.weight", "body.0.bias", "body.2.bias", "head.weight", "head.bias")),
    ]
    _, _, curriculum = make(model, layers=layers)
    assert curriculum.lrs()["body.0.weight"] == 0.1 * RATIO  # the name under which the model lists it


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")], ids=["DataParallel", "compile"]
)
def test_names_fit_with_and_without_wrappers(wrap):
    model = make_net()
    wrapped = wrap(model)
    rates = make(model)[2].lrs()
    assert make(wrapped, layers=layers_of(model))[2].lrs() == rates
    assert make(wrapped, layers=layers_of(wrapped))[2].lrs() == rates
    assert make(model, layers=layers_of(wrapped))[2].lrs() == rates


def test_parameters_added_after_the_end_are_listed_too():
    model, optimizer, curriculum = make()
    train(model, optimizer, range(K))
    model.extra = nn.Linear(3, 3)
    optimizer.add_param_group({"params": model.extra.parameters(), "lr": 0.7})
    assert list(curriculum.lrs())[-2:] == ["extra.weight", "extra.bias"]
    assert curriculum.lrs()["extra.bias"] == 0.7


def test_layers_written_by_hand_may_have_wrapper_prefixes_or_a_module_called_module():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.module, self.other = nn.Linear(2, 2), nn.Linear(2, 2)

    model = Two()
    only = optim.SGD(model.module.parameters(), lr=0.1)
    layers = [lerac.Layer("a", 0, ("module.weight",)), lerac.Layer("b", 1, ("module.bias",))]
    assert lerac.LeRaC(only, model, k=K, ratio=0.5, layers=layers).lrs() == {"module.weight": 0.1, "module.bias": 0.05}
    net = make_net()
    prefixed = [
        lerac.Layer(layer.name, layer.depth, tuple(f"module._orig_mod.{p}" for p in layer.parameters))
        for layer in layers_of(net)
    ]
    assert make(net, layers=prefixed)[2].layers == layers_of(net)


# Changes in the middle


def test_a_group_added_in_the_middle_gets_its_layers_factor():
    model, hand = make_net(), make_net()
    _, optimizer, curriculum = make(model, optim.SGD(model.head.parameters(), lr=0.1, momentum=0.9))
    reference = optim.SGD(hand.head.parameters(), lr=0.1, momentum=0.9)

    def set_rates(step):
        for j, group in enumerate(reference.param_groups):
            r = (RATIO, 1.0)[j]
            group["lr"] = (0.1, 0.3)[j] * r ** (1 - step / K)

    train(model, optimizer, range(4))
    train(hand, reference, range(4), set_rates)
    optimizer.add_param_group({"params": model.stem.parameters(), "lr": 0.3})
    reference.add_param_group({"params": hand.stem.parameters(), "lr": 0.3})
    assert curriculum.lrs()["stem.weight"] == 0.3
    assert "lerac_step" not in optimizer.state_dict()["param_groups"][1]
    train(model, optimizer, range(4, K))
    train(hand, reference, range(4, K), set_rates)
    assert same(model, hand)
    assert [group["lerac_step"] for group in optimizer.param_groups] == [K, K]


def test_parameters_that_nobody_placed_are_named():
    model, optimizer, curriculum = make()
    model.extra = nn.Linear(3, 3)
    optimizer.add_param_group({"params": model.extra.parameters()})
    with pytest.raises(ValueError, match=r"2 parameters of the optimizer are in no layer .*: extra.weight; extra.bias"):
        train(model, optimizer, range(1))
    optimizer.param_groups.pop()
    optimizer.add_param_group({"params": nn.Linear(5, 5).parameters()})
    with pytest.raises(ValueError, match=r"number 0 of param group 1 with shape \(5, 5\)"):
        curriculum.lrs()


def test_closures_see_the_users_optimizer():
    model, optimizer, curriculum = make()
    seen = []

    def closure():
        seen.append([dict(group) for group in optimizer.param_groups])
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    hand = copy.deepcopy(model)
    reference = optim.SGD([{"params": p, "lr": 0.1 * r} for p, r in by_layer(hand, RATIO)], lr=0.1, momentum=0.9)
    loss = optimizer.step(closure)
    train(hand, reference, range(1))
    assert same(model, hand)
    assert loss == loss_of(make_net(), 0)
    assert curriculum.steps == 1
    assert [len(groups) for groups in seen] == [1]
    assert seen[0][0]["lr"] == 0.1


def test_an_exception_inside_step_leaves_no_trace():
    model, optimizer, curriculum = make()
    train(model, optimizer, range(3))
    groups = [dict(group) for group in optimizer.param_groups]

    def closure():
        raise KeyError("out of data")

    with pytest.raises(KeyError):
        optimizer.step(closure)
    assert [dict(group) for group in optimizer.param_groups] == groups
    assert curriculum.steps == 3
    undisturbed, other, _ = make()
    train(undisturbed, other, range(K))
    train(model, optimizer, range(3, K))
    assert same(model, undisturbed)


def test_hooks_of_others_see_the_users_optimizer_and_may_set_the_rate():
    model, optimizer, curriculum = make()
    seen = []

    def others(opt, args, kwargs):
        seen.append((opt is optimizer, len(opt.param_groups)))
        opt.param_groups[0]["lr"] = 0.7  # as timm's and others' hooks do

    optimizer.register_step_pre_hook(others)
    optimizer.register_step_post_hook(others)
    hand = copy.deepcopy(model)
    train(model, optimizer, range(1))
    train(hand, optim.SGD([{"params": p, "lr": 0.7 * r} for p, r in by_layer(hand, RATIO)], momentum=0.9), range(1))
    assert same(model, hand)
    assert seen == [(True, 1), (True, 1)]
    assert curriculum.lrs()["stem.weight"] == 0.7


def test_hooks_of_others_run_in_the_last_step_too():
    """The curriculum leaves in it, while torch goes through the hooks."""
    model, optimizer, curriculum = make()
    runs = []
    for register in (optimizer.register_step_pre_hook, optimizer.register_step_post_hook):
        register(lambda *_: runs.append(curriculum.steps))
    train(model, optimizer, range(K + 2))
    assert runs[-6:] == [K - 1, K - 1, K, K, K, K]  # others' hooks came later and run first now
    assert curriculum.finished
    assert len(optimizer._optimizer_step_post_hooks) == 1


def test_removing_leaves_the_optimizer_as_if_there_had_never_been_one():
    model, optimizer, curriculum = make()
    train(model, optimizer, range(3))
    curriculum.remove()
    assert set(curriculum.lrs().values()) == {0.1}
    assert "lerac_step" not in optimizer.param_groups[0]
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_load_state_dict_post_hooks
    state = curriculum.state_dict()
    curriculum.remove()  # again: nothing to do
    with pytest.raises(RuntimeError, match="was removed from its optimizer"):
        curriculum.load_state_dict(state)
    _, _, second = make(model, optimizer)
    train(model, optimizer, range(1))
    assert second.steps == 1
    assert curriculum.steps == 3


def test_optimizer_and_curriculum_are_freed_together():
    model, optimizer, curriculum = make()
    train(model, optimizer, range(2))
    dead = weakref.ref(optimizer), weakref.ref(curriculum)
    del optimizer, curriculum
    gc.collect()
    assert [ref() for ref in dead] == [None, None]


# Steps that are not counted


def test_steps_that_gradscaler_skips_are_not_counted():
    for fused in (False, True):
        model = make_net()
        _, optimizer, curriculum = make(model, optim.SGD(model.parameters(), lr=0.1, fused=fused))
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        before = copy.deepcopy(model)
        for step, bad in enumerate([True, False, True, False]):
            optimizer.zero_grad()
            scaler.scale(loss_of(model, step) * (float("inf") if bad else 1.0)).backward()
            scaler.step(optimizer)
            scaler.update()
            assert same(model, before) == (step == 0)
        assert curriculum.steps == 2, f"fused={fused}"


def test_the_fake_step_of_distributed_checkpoint_is_not_counted():
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    for lr, layers in ((0.1, "given"), (torch.tensor(0.1), "given"), (0.1, "to be found")):
        model = make_net()
        optimizer = optim.Adam(model.parameters(), lr=lr)
        _, optimizer, curriculum = make(model, optimizer, layers=layers_of(model) if layers == "given" else None)
        fresh = get_optimizer_state_dict(model, optimizer)  # takes a step to create the state
        assert curriculum.steps == 0
        train(model, optimizer, range(4))
        saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer))
        set_optimizer_state_dict(model, optimizer, fresh)
        assert curriculum.steps == 0
        set_optimizer_state_dict(model, optimizer, saved)
        assert curriculum.steps == 4


@pytest.mark.parametrize("lr", [0.0, torch.tensor(0.0)])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_real_steps_at_rate_zero_with_zero_gradients_count(kind, lr):
    model = make_net()
    _, optimizer, curriculum = make(model, kind(model.parameters(), lr=lr), k=5)
    for step in range(5):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        assert curriculum.steps == step + 1


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_only_stands_for_an_optimizer_is_named_with_what_to_pass(wrapped):
    model = make_net()

    class LayerWiseDummyOptimizer(optim.Optimizer):  # transformers
        def __init__(self, optimizer_dict):
            super().__init__([torch.randn(1, 1)], {"lr": 0.1})
            self.optimizer_dict = optimizer_dict

        def step(self, closure=None):
            pass

    class DummyOptim:  # accelerate
        def __init__(self, params):
            self.params = params

    BF16_Optimizer = type("BF16_Optimizer", (), {"__module__": "deepspeed.runtime.bf16_optimizer"})
    BF16_Optimizer.__init__ = lambda self, inner: setattr(self, "optimizer", inner)
    own = {p: optim.SGD([p], lr=0.1) for p in model.parameters()}
    for stands_for, message in [
        (
            LayerWiseDummyOptimizer(own),
            r"LayerWiseDummyOptimizer does nothing .* for one in set\(optimizer.optimizer_dict",
        ),
        (DummyOptim(model.parameters()), "DummyOptim only stands for .* pass the one whose step"),
        (BF16_Optimizer(optim.SGD(model.parameters(), lr=0.1)), "DeepSpeed's BF16_Optimizer flattens .* use stage 0"),
    ]:
        with pytest.raises(TypeError, match=message):
            lerac.LeRaC(Wrapper(stands_for) if wrapped else stands_for, model, k=K)
    optimizers = set(own.values())
    curricula = [lerac.LeRaC(one, model, k=K, layers=layers_of(model)) for one in optimizers]  # as the message says
    loss_of(model, 0).backward()
    for one in optimizers:
        one.step()
    assert {curriculum.steps for curriculum in curricula} == {1}


def test_a_first_step_at_rate_zero_counts():
    """Linear warm-ups start at 0."""
    model = make_net()
    _, optimizer, curriculum = make(model, optim.SGD(model.parameters(), lr=0.0))
    train(model, optimizer, range(2))
    assert curriculum.steps == 2


# Unusual optimizers


class CountsInGroups(optim.SGD):
    """Keeps state in its param groups, as schedule-free and others do, and uses it."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["count"] = group.get("count", 0) + 1
            group["sum"] = group.get("sum", 0.0) + group["lr"]
            for p in group["params"]:
                if p.grad is not None:
                    p -= group["lr"] / group["count"] * p.grad + group["sum"] * 1e-3 * p


def test_options_that_step_itself_changes_are_kept_per_part():
    model, hand = make_net(), make_net()
    optimizer = CountsInGroups(model.parameters(), lr=0.1)
    make(model, optimizer)
    reference = CountsInGroups([{"params": p} for p, _ in by_layer(hand, RATIO)], lr=0.1)

    def set_rates(step):
        for group, (_, r) in zip(reference.param_groups, by_layer(hand, RATIO), strict=True):
            group["lr"] = 0.1 * r ** (1 - step / K)

    with pytest.warns(UserWarning, match=r"CountsInGroups.step\(\) keeps count, sum in its param groups") as caught:
        train(model, optimizer, range(K))
    assert len(caught) == 1
    assert caught[0].filename == conftest.__file__  # where step() is called
    train(hand, reference, range(K), set_rates)
    assert same(model, hand)
    spokesman = reference.param_groups[0]  # the part with the largest factor
    assert (optimizer.param_groups[0]["count"], optimizer.param_groups[0]["sum"]) == (K, spokesman["sum"])


@pytest.mark.filterwarnings("ignore:CountsInGroups")
def test_options_set_anew_by_the_user_win():
    model = make_net()
    counting = CountsInGroups(model.parameters(), lr=0.1)
    make(model, counting)
    train(model, counting, range(3))
    counting.param_groups[0]["count"] = 100
    train(model, counting, range(1))
    assert counting.param_groups[0]["count"] == 101


class CachesItsRate(optim.SGD):
    """Keeps the rate in a list of the group that it changes in place, as the first RAdam did."""

    def __init__(self, params, lr):
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            group["buffer"] = [0, None]

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            if group["buffer"][0] % 3 == 0:
                group["buffer"][1] = group["lr"]
            group["buffer"][0] += 1
            for p in group["params"]:
                p -= group["buffer"][1] * p.grad


@pytest.mark.filterwarnings("ignore:CachesItsRate.*keeps buffer:UserWarning")
def test_options_that_change_in_place_are_not_shared_between_parts():
    model, hand = make_net(), make_net()
    optimizer = CachesItsRate(model.parameters(), lr=0.1)
    make(model, optimizer)
    reference = CachesItsRate([{"params": p} for p, _ in by_layer(hand, RATIO)], lr=0.1)

    def set_rates(step):
        for group, (_, r) in zip(reference.param_groups, by_layer(hand, RATIO), strict=True):
            group["lr"] = 0.1 * r ** (1 - step / K)

    train(model, optimizer, range(K))
    train(hand, reference, range(K), set_rates)
    assert same(model, hand)
    assert optimizer.param_groups[0]["buffer"] == reference.param_groups[0]["buffer"]


class CallsSuper(optim.SGD):
    def step(self, closure=None):
        return super().step(closure)


def test_steps_that_call_super_are_taken_once():
    optim.SGD([nn.Parameter(torch.zeros(1))])  # so that torch has given SGD.step its hooks
    model, hand = make_net(), make_net()
    _, optimizer, curriculum = make(model, CallsSuper(model.parameters(), lr=0.1, momentum=0.9))
    _, plain, _ = make(hand)
    train(model, optimizer, range(K))
    train(hand, plain, range(K))
    assert same(model, hand)
    assert curriculum.finished


class OwnList(optim.SGD):
    """Takes its parameters from a list of its own, as AdaBound does its rates."""

    def __init__(self, params, lr, mixed):
        super().__init__(params, lr=lr)
        self.own = list(self.param_groups)
        self.mixed = mixed

    @torch.no_grad()
    def step(self, closure=None):
        groups = [g for g, _ in zip(self.param_groups, self.own, strict=False)] if self.mixed else self.own
        for group in groups:
            for p in group["params"]:
                p -= group["lr"] * p.grad


@pytest.mark.parametrize(
    ("mixed", "message"),
    [(True, "updated 2 of 8 parameters"), (False, "updates parameters without reading its param_groups")],
)
def test_optimizers_with_lists_of_their_own_are_refused_at_the_first_step(mixed, message):
    model = make_net()
    optimizer = OwnList(model.parameters(), 0.1, mixed)
    make(model, optimizer)
    with pytest.raises(RuntimeError, match=rf"OwnList.step\(\) {message}"):
        train(model, optimizer, range(1))


class ReadsItsRate(optim.SGD):
    def __init__(self, params, lr, read):
        super().__init__(params, lr=lr)
        self.read = read

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p -= self.read(self, group) * p.grad


@pytest.mark.parametrize(
    "read",
    [
        lambda optimizer, _: optimizer.defaults["lr"],
        lambda optimizer, _: optimizer.param_groups[0]["lr"],
        lambda optimizer, group: optimizer.param_groups[0]["lr"] if "lr" in list(group.keys()) else 0.0,
    ],
    ids=["of the defaults", "of the first group", "of the first group, looking at the keys"],
)
def test_optimizers_that_do_not_use_the_rate_of_each_group_are_refused_at_the_first_step(read):
    model = make_net()
    optimizer = ReadsItsRate(model.parameters(), 0.1, read)
    make(model, optimizer)
    with pytest.raises(RuntimeError, match=r"of 8 parameters without reading the learning rate of their param group"):
        train(model, optimizer, range(1))


@pytest.mark.parametrize(
    "read",
    [
        lambda _, group: group["lr"],
        lambda _, group: group.get("lr"),
        lambda _, group: dict(group)["lr"],
        lambda _, group: {**group}["lr"],
        lambda _, group: group.copy()["lr"],
        lambda _, group: copy.copy(group)["lr"],
        lambda _, group: dict(group.items())["lr"],
        lambda _, group: list(group.values())[1],
        lambda _, group: group.setdefault("lr", 1.0),
        lambda _, group: (lambda lr, **_: lr)(**group),
    ],
)
def test_every_way_to_read_the_rate_is_one(read):
    model, hand = make_net(), make_net()
    optimizer = ReadsItsRate(model.parameters(), 0.1, read)
    make(model, optimizer)
    plain = optim.SGD(hand.parameters(), lr=0.1)
    make(hand, plain)
    train(model, optimizer, range(K + 1))
    train(hand, plain, range(K + 1))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(model.parameters(), hand.parameters(), strict=True))


class SkipsZeroGradients(optim.SGD):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if group["lr"] and p.grad.any():
                    p -= group["lr"] * p.grad


def test_parameters_that_have_no_reason_to_move_are_no_error():
    model = make_net()
    nn.init.zeros_(model.head.weight)  # so that no gradient passes it
    optimizer = SkipsZeroGradients(
        [{"params": model.body.parameters()}, {"params": model.head.bias, "lr": 0.0}], lr=0.1
    )
    optimizer.add_param_group({"params": [model.head.weight]})
    _, _, curriculum = make(model, optimizer)
    train(model, optimizer, range(2))
    assert curriculum.steps == 2


class SetsItsRate(optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].mul_(0.5)
            else:
                group["lr"] = group["lr"] * 0.5


@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)], ids=["float", "tensor"])
def test_optimizers_that_set_their_own_rate_are_refused(lr):
    model = make_net()
    _, optimizer, _ = make(model, SetsItsRate(model.parameters(), lr=lr))
    with pytest.raises(RuntimeError, match=r"SetsItsRate.step\(\) sets its own learning rate"):
        train(model, optimizer, range(1))


class Wrapper:
    """As Accelerate and Lightning wrap optimizers."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def step(self):
        self.optimizer.step()


def test_wrappers_are_followed_to_the_optimizer_inside():
    model = make_net()
    inner = optim.SGD(model.parameters(), lr=0.1)
    wrapper = Wrapper(Wrapper(inner))
    curriculum = lerac.LeRaC(wrapper, model, k=K, layers=layers_of(model))
    loss_of(model, 0).backward()
    wrapper.step()
    assert curriculum.steps == 1
    assert inner.param_groups[0]["lerac_step"] == 1


def test_an_assistant_optimizer_of_other_parameters_is_not_followed():
    model = make_net()
    main = sgd(model)
    main.optim = optim.Adam(nn.Linear(2, 2).parameters())
    make(model, main)
    assert main.param_groups[0]["lerac_step"] == 0


def test_the_stand_in_shares_everything_but_the_groups():
    optimizer = optim.Adam(make_net().parameters())
    stand_in = make_stand_in(optimizer, lambda: ["shown"])
    assert isinstance(stand_in, optim.Adam)
    assert stand_in.state is optimizer.state
    assert stand_in.param_groups == ["shown"]
    stand_in.something = 1
    assert optimizer.something == 1


# Wrong use


class Unhooked(optim.Optimizer):
    def __init__(self, params):
        self.param_groups = [{"params": list(params), "lr": 0.1}]

    def step(self, closure=None):
        pass


class NoRate(optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {})

    def step(self, closure=None):
        pass


def sgd(model):
    return optim.SGD(model.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be at least 1 optimizer step, got 0"),
        ({"k": -3}, ValueError, "k must be at least 1 optimizer step, got -3"),
        ({"k": 2.5}, TypeError, r"k must be a whole number of optimizer steps, such as 5 \* len\(loader\), got 2.5"),
        ({"k": True}, TypeError, "k must be a whole number .* got True"),
        ({"k": None}, TypeError, "k must be a whole number .* got None"),
        ({"ratio": 0.0}, ValueError, r"ratio must be in \(0, 1\] .* got 0.0"),
        ({"ratio": 1.5}, ValueError, r"ratio must be in \(0, 1\] .* got 1.5"),
        ({"ratio": float("nan")}, ValueError, r"ratio must be in \(0, 1\] .* got nan"),
        ({"ratio": True}, TypeError, r"ratio must be a number in \(0, 1\], got True"),
        ({"ratio": "0.5"}, TypeError, r"ratio must be a number in \(0, 1\], got '0.5'"),
        ({"ratio": 10**400}, TypeError, r"ratio must be a number in \(0, 1\], got 1000"),
        ({"ratio": "small"}, TypeError, r"ratio must be a number in \(0, 1\], got 'small'"),
        ({"ratio": {"stem": 1.0}}, ValueError, "ratio has no factor for the layers body.0, body.2, head"),
        (
            {"ratio": {"stem": 1, "body.0": 1, "body.2": 1, "head": 1, "tail": 1}},
            ValueError,
            "ratio has factors for layers that there are not: tail; the layers are stem, body.0, body.2, head",
        ),
        (
            {"ratio": {"stem": 1, "body.0": 1, "body.2": 1, "head": 0}},
            ValueError,
            r"the ratio of layer 'head' must be in \(0, 1\] .* got 0",
        ),
        ({"curve": "quadratic"}, ValueError, "unknown curve 'quadratic': expected one of exponential, linear, log"),
        ({"curve": 3}, TypeError, "curve must be a name or a callable .* got 3"),
        ({"layers": []}, ValueError, "layers is empty"),
        ({"layers": ["stem"]}, TypeError, r"layers must be a sequence of lerac.Layer, .* got \['stem'\]"),
        ({"layers": "stem"}, TypeError, "layers must be a sequence of lerac.Layer"),
    ],
)
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


ALL = (
    "stem.weight",
    "stem.bias",
    "body.0.weight",
    "body.0.bias",
    "body.2.weight",
    "body.2.bias",
    "head.weight",
    "head.bias",
)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([("a", ALL[:4]), ("a", ALL[4:])], "two layers have the name 'a'"),
        ([("a", ALL), ("b", ("stem.bias",))], "'stem.bias' is in layer 'a' and again in 'b'"),
        ([("a", ALL), ("b", ("tail.bias",))], "'b' has the parameter 'tail.bias', which this Net has not"),
        ([("a", ALL[:6])], "2 parameters of the optimizer are in no layer of the curriculum: head.weight; head.bias"),
    ],
)
def test_layers_that_do_not_fit_are_named(layers, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(layers=[lerac.Layer(name, depth, names) for depth, (name, names) in enumerate(layers)])


def test_wrong_objects_are_named():
    model = make_net()
    layers = layers_of(model)
    for optimizer, module, error, message in [
        ("sgd", model, TypeError, "optimizer must be a torch.optim.Optimizer, got str"),
        (sgd(model), [model], TypeError, "model must be a torch.nn.Module, got list"),
        (optim.lr_scheduler.StepLR(sgd(model), 1), model, TypeError, "got the scheduler StepLR"),
        (NoRate(model.parameters()), model, TypeError, "NoRate has no learning rate 'lr' in its param groups"),
        (optim.LBFGS(model.parameters()), model, TypeError, "LBFGS cannot have one learning rate per layer"),
        (optim.Rprop(model.parameters()), model, TypeError, "Rprop cannot have one learning rate per layer"),
        (
            Unhooked(model.parameters()),
            model,
            TypeError,
            r"Unhooked.step\(\) runs no step hooks, because Unhooked.__init__",
        ),
        (sgd(Net()), model, ValueError, "none of the optimizer's 8 parameters is a parameter of this Net"),
    ]:
        with pytest.raises(error, match=message):
            lerac.LeRaC(optimizer, module, k=K, layers=layers)


def test_parameters_of_a_loss_are_named_with_the_way_out():
    model, loss = make_net(), nn.Linear(3, 3)
    optimizer = optim.SGD([*model.named_parameters(), *((f"loss.{n}", p) for n, p in loss.named_parameters())], lr=0.1)
    with pytest.raises(
        ValueError,
        match=r"2 of the optimizer's 10 parameters are not the model's: 'loss.weight', .*"
        r"pass nn.ModuleList\(\[model, loss\]\)",
    ):
        lerac.LeRaC(optimizer, model, k=K, layers=layers_of(model))
    both = nn.ModuleList([model, loss])
    layers = lerac.find_layers(nn.Sequential(model, loss), torch.zeros(1, 6))  # which has the names of the list
    curriculum = lerac.LeRaC(optimizer, both, k=K, layers=layers)
    assert len(curriculum.lrs()) == 10


def test_a_second_curriculum_on_one_optimizer_is_refused_even_after_the_first():
    model, optimizer, _ = make()
    with pytest.raises(ValueError, match="this SGD has a curriculum already"):
        make(model, optimizer)
    train(model, optimizer, range(K))
    with pytest.raises(ValueError, match="this SGD has a curriculum already"):
        make(model, optimizer)


def test_a_refused_curriculum_leaves_the_optimizer_alone():
    model = make_net()
    optimizer = sgd(model)
    with pytest.raises(ValueError, match="two layers"):
        make(model, optimizer, layers=[lerac.Layer("a", 0, ALL), lerac.Layer("a", 0, ALL)])
    assert not optimizer._optimizer_step_pre_hooks
    assert "lerac_step" not in optimizer.param_groups[0]
    make(model, optimizer)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1, None, "fast", 1j])
def test_curves_must_give_a_rate(bad):
    model, optimizer, curriculum = make(curve=lambda progress, ratio: bad)
    with pytest.raises(ValueError, match=re.escape(f"the curve gave {bad!r} at progress 0.0 and ratio 1.0")):
        train(model, optimizer, range(1))
    with pytest.raises(ValueError, match="the curve gave"):
        curriculum.lrs()


def test_curves_may_give_tensors():
    model, optimizer, curriculum = make(curve=lambda progress, ratio: torch.tensor(ratio ** (1 - progress)))
    train(model, optimizer, range(K))
    assert curriculum.finished


def test_a_compiled_step_applies_the_curriculum():
    model, hand = make_net(), make_net()
    _, optimizer, curriculum = make(model, optim.SGD(model.parameters(), lr=torch.tensor(0.1)))
    _, plain, _ = make(hand, optim.SGD(hand.parameters(), lr=torch.tensor(0.1)))
    torch._dynamo.reset()
    step = torch.compile(optimizer.step, backend="eager")
    for at in range(K + 2):
        optimizer.zero_grad()
        loss_of(model, at).backward()
        step()
    train(hand, plain, range(K + 2))
    for ours, theirs in zip(model.parameters(), hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)  # torch itself rounds otherwise when it compiles
    assert not torch.allclose(model.head.weight, conventional(K + 2).head.weight, atol=1e-2)
    assert curriculum.finished


def conventional(steps):
    model = make_net()
    train(model, sgd(model), range(steps))
    return model
