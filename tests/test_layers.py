"""Names, groups and overrides of layers, and layers that come from elsewhere."""

import sys
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lerac.layers import (
    Layer,
    group_layers,
    layers_from_timm,
    named_parameters,
    override_layers,
    plain_name,
    ranked_layers,
    registration_layers,
)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (("a", -1, ("w",)), ValueError, "depth of layer 'a' must be 0 or more, got -1"),
        (("a", 1.0, ("w",)), TypeError, r"depth of layer 'a' must be an int, got 1\.0"),
        (("a", True, ("w",)), TypeError, "must be an int, got True"),
        (("a", 0, ()), ValueError, "layer 'a' has no parameters"),
        (("a", 0, "weight"), TypeError, "must be a sequence of names, got one string"),
        (("a", 0, ("w", "v", "w")), ValueError, "names a parameter twice: w, v, w"),
    ],
)
def test_a_layer_refuses_what_makes_no_sense(fields, error, message):
    with pytest.raises(error, match=message):
        Layer(*fields)


def test_layers_compare_and_hash_by_value():
    assert Layer("a", 0, ["w"]) == Layer("a", 0, ("w",))
    assert len({Layer("a", 0, ("w",), {"w": "deepest"}), Layer("a", 0, ("w",), {"w": "deepest"})}) == 1


class Two(nn.Module):
    """Two children, one of which happens to be called `module`: the name says something here."""

    def __init__(self):
        super().__init__()
        self.module, self.other = nn.Linear(2, 2), nn.Linear(2, 2)


def net():
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))


@pytest.mark.parametrize(
    "wrapped",
    [
        nn.DataParallel(net()),
        nn.DataParallel(torch.compile(net(), backend="eager")),
        torch.compile(nn.DataParallel(net()), backend="eager"),
        torch.optim.swa_utils.AveragedModel(net()),
    ],
    ids=["DataParallel", "DataParallel of compiled", "compiled DataParallel", "AveragedModel"],
)
def test_wrappers_leave_the_names(wrapped):
    assert list(named_parameters(wrapped)) == list(dict(net().named_parameters()))
    inside = nn.ModuleList([wrapped, nn.Linear(2, 2)])
    assert list(named_parameters(inside)) == list(dict(nn.ModuleList([net(), nn.Linear(2, 2)]).named_parameters()))


def test_a_module_called_module_beside_others_keeps_its_name():
    assert list(named_parameters(Two())) == ["module.weight", "module.bias", "other.weight", "other.bias"]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("module._orig_mod.a.w", "a.w"),
        ("_orig_mod.module.a.w", "a.w"),
        ("a._checkpoint_wrapped_module.w", "a.w"),
        ("a._fsdp_wrapped_module.module.w", "a.module.w"),
        ("module", "module"),
    ],
)
def test_names_without_the_model(name, plain):
    assert plain_name(name) == plain


def test_tied_parameters_are_named_once():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    assert list(named_parameters(model)) == ["0.weight"]


@pytest.mark.parametrize(
    ("levels", "names"),
    [
        ({"a.w": 0, "a.b": 0, "b.w": 1}, ["a", "b"]),
        ({"net.a.w": 0, "net.b.w": 0, "net.c.w": 1}, ["net.a…b", "net.c"]),
        ({"net.a.w": 0, "net.a.b": 1, "net.b.w": 2}, ["net.a.w", "net.a.b", "net.b"]),
        ({"image.0.w": 0, "text.0.w": 0, "image.1.w": 1, "text.1.w": 1},
         ["image.0…text.0", "image.1…text.1"]),
        ({"block.attn.q.w": 0, "block.attn.k.w": 0, "block.attn.o.w": 1, "block.mlp.w": 1},
         ["block.attn.q…k", "block.attn.o…mlp"]),
        ({"token": 0, "blocks.0.w": 0, "blocks.0.b": 0, "blocks.1.w": 1}, ["token…blocks.0", "blocks.1"]),
    ],
)  # fmt: skip
def test_a_layer_is_named_after_the_modules_in_it(levels, names):
    assert [layer.name for layer in ranked_layers(levels, levels.keys())] == names


def test_frozen_parameters_take_the_nearest_trainable_depth():
    levels = {"a": 0, "b": 3, "c": 5, "d": 7, "e": 90}
    layers = ranked_layers(levels, {"b", "d"}, {"e": "deepest"})
    assert [layer.parameters for layer in layers] == [("a", "b", "c"), ("d", "e")]
    assert [dict(layer.placed) for layer in layers] == [{}, {"e": "deepest"}]


def blocks(count, depths_each=3, stem=2, head=1):
    """Layers of a net whose body is a list of blocks."""
    names = [f"stem.{i}.w" for i in range(stem)]
    names += [f"body.{i}.{j}.w" for i in range(count) for j in range(depths_each)]
    names += [f"head.{i}.w" for i in range(head)]
    return ranked_layers({name: i for i, name in enumerate(names)}, names)


def test_few_layers_stay_as_they_are():
    layers = blocks(3)
    assert group_layers(layers) == layers


def test_blocks_become_layers_where_they_fit():
    names = [layer.name for layer in group_layers(blocks(16))]
    assert names == ["stem.0", "stem.1", *(f"body.{i}" for i in range(16)), "head"]


def test_what_does_not_nest_is_divided_evenly():
    names = [f"{i}.w" for i in range(100)]
    layers = group_layers(ranked_layers({name: i for i, name in enumerate(names)}, names), at_most=10)
    assert [layer.name for layer in layers] == [f"{i}…{i + 9}" for i in range(0, 100, 10)]


def test_one_large_module_among_small_ones_is_divided():
    """The body would be one layer of 200 depths if modules alone decided."""
    names = [f"body.{i}.w" for i in range(200)] + [f"head{i}.w" for i in range(10)]
    layers = group_layers(ranked_layers({name: i for i, name in enumerate(names)}, names))
    assert max(len(layer.parameters) for layer in layers) <= 14


def test_cuts_move_to_the_borders_of_blocks():
    layers = group_layers(blocks(45, 6, 3, 1))
    assert len(layers) == 32
    assert sum("." in layer.name.partition("…")[2].removeprefix("body.") for layer in layers) == 0


@given(st.lists(st.integers(1, 4), min_size=1, max_size=150), st.integers(1, 40), st.randoms())
def test_grouping_keeps_order_and_loses_nothing(widths, at_most, rng):
    depths = [i for i, width in enumerate(widths) for _ in range(width)]
    levels = {f"{rng.choice('ab')}.{rng.randrange(9)}.{i}.w": depth for i, depth in enumerate(depths)}
    layers = ranked_layers(levels, levels)
    grouped = group_layers(layers, at_most)
    assert len(grouped) <= at_most or len(grouped) == len(layers) <= at_most
    assert [p for layer in grouped for p in layer.parameters] == [p for layer in layers for p in layer.parameters]
    assert [layer.depth for layer in grouped] == list(range(len(grouped)))
    assert len({layer.name for layer in grouped}) == len(grouped)


def test_equal_depths_are_not_torn_apart():
    layers = [Layer(f"{tower}{i}", i, (f"{tower}.{i}",)) for i in range(20) for tower in "ab"]
    grouped = group_layers(layers, 10)
    assert len(grouped) == 10
    assert all({f"a.{i}", f"b.{i}"} <= set(layer.parameters) for layer in grouped for i in [layer.depth * 2])


def test_grouping_keeps_what_is_known_of_placing():
    layers = [Layer(str(i), i, (f"w{i}",), {f"w{i}": "deepest"}) for i in range(4)]
    assert group_layers(layers, 1)[0].placed == {f"w{i}": "deepest" for i in range(4)}


@pytest.mark.parametrize("at_most", [0, -1])
def test_grouping_needs_a_number_of_layers(at_most):
    with pytest.raises(ValueError, match=f"at_most must be 1 or more, got {at_most}"):
        group_layers(blocks(3), at_most)


def test_grouping_needs_sorted_layers():
    with pytest.raises(ValueError, match="nearest to the input first"):
        group_layers(blocks(3)[::-1], 2)


THREE = (
    Layer("stem", 0, ("stem.weight", "stem.bias")),
    Layer("body", 1, ("body.weight",), {"body.weight": "deepest"}),
    Layer("head", 2, ("token", "head.weight")),
)


def test_parameters_move_by_pattern():
    moved = override_layers(THREE, {"token": "stem", "*.bias": 1})
    assert [layer.parameters for layer in moved] == [
        ("stem.weight", "token"), ("stem.bias", "body.weight"), ("head.weight",),
    ]  # fmt: skip
    assert moved[0].placed == {"token": "rule 'token'"}
    assert moved[1].placed == {"body.weight": "deepest", "stem.bias": "rule '*.bias'"}


def test_empty_layers_go_and_depths_close_up():
    moved = override_layers(THREE, {"body.*": 2})
    assert [(layer.name, layer.depth) for layer in moved] == [("stem", 0), ("head", 1)]


def test_the_first_matching_rule_decides():
    assert override_layers(THREE, {"token": 0, "*": 1})[0].parameters == ("token",)
    with pytest.raises(ValueError, match="no parameter is left for 'token'"):
        override_layers(THREE, {"*": 1, "token": 0})


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"tail.*": 0}, r"no parameter is left for 'tail\.\*'"),
        ({"token": 7}, r"no layer has the depth 7; there are stem \(0\), body \(1\), head \(2\)"),
        ({"token": "neck"}, "no layer has the name 'neck'"),
    ],
)
def test_rules_that_lead_nowhere(rules, message):
    with pytest.raises(ValueError, match=message):
        override_layers(THREE, rules)


def test_a_depth_that_two_layers_share_is_no_target():
    with pytest.raises(ValueError, match="several layers have the depth 0"):
        override_layers((Layer("a", 0, ("x",)), Layer("b", 0, ("y",))), {"x": 0})


def test_registration_layers_are_modules_in_their_order():
    model = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    assert [(layer.name, layer.depth) for layer in registration_layers(model)] == [("0", 0), ("1", 0), ("3", 1)]
    assert [layer.depth for layer in registration_layers(model.requires_grad_(False))] == [0, 1, 2]
    assert registration_layers(nn.DataParallel(model)) == registration_layers(model)
    with pytest.raises(ValueError, match="ReLU has no parameters"):
        registration_layers(nn.ReLU())


@given(blocks=st.lists(st.integers(1, 4), min_size=1, max_size=30))
def test_registration_layers_are_at_most_32_and_rise(blocks):
    model = nn.ModuleList(nn.ModuleList(nn.Linear(1, 1) for _ in range(n)) for n in blocks)
    layers = registration_layers(model)
    assert len(layers) == sum(blocks) if sum(blocks) <= 32 else len(layers) <= 32
    assert [name for layer in layers for name in layer.parameters] == [name for name, _ in model.named_parameters()]
    assert [layer.depth for layer in layers] == list(range(len(layers)))


def test_layers_from_timm_are_its_groups_stem_first(monkeypatch):
    """A stand-in for timm, so that this runs without; the wide tests use the real one."""

    class Net(nn.Sequential):
        def group_matcher(self, coarse):
            assert not coarse
            return {"2.weight": 5, "2.bias": 5, "1.weight": 2, "1.bias": 2, "0.weight": 0, "0.bias": 0}

    timm, models = ModuleType("timm"), ModuleType("timm.models")
    models.group_parameters = lambda model, matcher, reverse: matcher
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "timm.models", models)
    layers = layers_from_timm(Net(*(nn.Linear(2, 2) for _ in range(3))))
    assert [(layer.name, layer.depth) for layer in layers] == [("0", 0), ("1", 1), ("2", 2)]


def test_layers_from_timm_need_a_timm_model():
    with pytest.raises(TypeError, match=r"Linear has no group_matcher\(\)"):
        layers_from_timm(nn.Linear(2, 2))
