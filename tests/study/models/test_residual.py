import pytest
import torch

from lerac.study.models import MODELS


@pytest.mark.parametrize(
    ("name", "channels", "size", "weights", "tensors"),
    [("small-cnn", 1, 8, 77_754, 29), ("resnet18", 3, 32, 11_173_962, 62), ("wrn52-2", 3, 32, 3_023_306, 204)],
)
def test_sizes_are_the_published_ones(name, channels, size, weights, tensors):
    with torch.device("meta"):
        network = MODELS[name](channels, 10)
        logits = network(torch.empty(2, channels, size, size))
    parameters = list(network.parameters())
    assert (sum(p.numel() for p in parameters), len(parameters)) == (weights, tensors)
    assert logits.shape == (2, 10)


def test_every_weight_of_the_small_network_learns():
    torch.manual_seed(0)
    network = MODELS["small-cnn"](1, 10)
    network(torch.rand(4, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_a_gain_scales_the_first_weights_and_nothing_else():
    torch.manual_seed(0)
    whole = dict(MODELS["small-cnn"](1, 10).named_parameters())
    torch.manual_seed(0)
    tenth = dict(MODELS["small-cnn"](1, 10, gain=0.1).named_parameters())
    for name, weight in whole.items():
        scaled = weight.ndim > 1
        torch.testing.assert_close(tenth[name], weight * 0.1 if scaled else weight)


def test_dropout_of_the_wide_network_is_for_training_only():
    torch.manual_seed(0)
    network = MODELS["wrn52-2"](1, 10, depth=10, widening=1, dropout=0.3)
    images = torch.rand(4, 1, 8, 8)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_wide_network_refuses_a_depth_without_whole_blocks():
    with pytest.raises(ValueError, match=r"depth must be 6 · blocks \+ 4 .* got 50"):
        MODELS["wrn52-2"](3, 10, depth=50)
