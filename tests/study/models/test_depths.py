"""The depths of our own networks, on which every published number rests, are those with which it was made."""

import hashlib
from collections import defaultdict

import pytest

from lerac.depth import measure_depths
from lerac.layers import Layer, group_layers, registration_layers
from lerac.study.models import MODELS

# Number of depths, and a digest of the depth of every parameter, before and after grouping.
SIGNALS = (("bidirectional", True), ("columns", 1), ("layers", 1), ("steps", 40), ("width", 6))
SMALL = {
    ("cnn1d", ()): (4, "c4522b145ccfb65f"),
    ("gru", SIGNALS): (4, "6cde99758e285491"),
    ("linear", ()): (1, "f99d571cea166303"),
    ("mlp", ()): (3, "b2d9b737db9a2f94"),
    ("gru", ()): (6, "62d4258e6fea2ca7"),
    ("gru", (("layers", 1),)): (4, "6873f289180f8407"),
    ("gru", (("layers", 3), ("width", 32))): (8, "18ea919397a0659f"),
    ("lenet", ()): (5, "2b28336442cc28f9"),
    ("lstm", ()): (5, "fa3d0d8024f47e62"),
    ("lstm", (("layers", 3),)): (6, "67230b3d8ba3e0d0"),
    ("resnet18", ()): (35, "6420abef9af86e21"),
    ("septr", ()): (42, "143a7f5ae4ffa92f"),
    ("small-cnn", ()): (15, "bb1944895f7b1953"),
    ("small-vit", ()): (29, "f6ddc456ba3bb0db"),
    ("wrn52-2", ()): (99, "0e09c1a1750ae6b4"),
}
LARGE = {
    ("bert-large", ()): (149, "b000ea3d8fc373b9"),
    ("cvt13", ()): (113, "47269a60c0f83f18"),
    ("cvt13-pretrained", ()): (113, "47269a60c0f83f18"),
    ("densenet121", ()): (242, "a2dea3dbc4e2a144"),
    ("wide-resnet50", ()): (99, "af7d116fa5481c6b"),
    ("yolov5", ()): (103, "c2bbf8cf586a0c4a"),
}


def measured(name, options):
    network = MODELS[name]
    layers = measure_depths(network.skeleton(**dict(options)), network.example_batch(**dict(options)))
    fine, coarse = ({p: x.depth for x in found for p in x.parameters} for found in (layers, group_layers(layers)))
    text = "".join(f"{name} {fine[name]} {coarse[name]}\n" for name in sorted(fine))
    return len(layers), hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_depths_stay(name, options):
    assert measured(name, options) == SMALL[name, options]


@pytest.mark.wide
@pytest.mark.parametrize(("name", "options"), LARGE)
def test_depths_of_large_networks_stay(name, options):
    assert measured(name, options) == LARGE[name, options]


@pytest.mark.parametrize("name", sorted({name for name, _ in SMALL}))
def test_registered_layers_are_those_of_the_published_evidence(name):
    members = defaultdict(list)
    for parameter, _ in (network := MODELS[name].skeleton()).named_parameters():
        members[parameter.rpartition(".")[0] or parameter].append(parameter)
    modules = [Layer(owner, depth, tuple(inside)) for depth, (owner, inside) in enumerate(members.items())]
    assert registration_layers(network) == group_layers(modules)


def test_all_networks_are_here():
    assert {name for name, _ in (*SMALL, *LARGE)} == set(MODELS)
