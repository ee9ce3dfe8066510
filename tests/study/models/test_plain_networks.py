"""Networks of one-dimensional signals: the published ones by default, and what smoothing does to them."""

import math

import pytest
import torch
from torch.nn import functional

import lerac
from lerac.study.errors import StudyError
from lerac.study.models import MODELS

PUBLISHED_GRU = {"columns": 1, "width": 6, "layers": 1, "bidirectional": True, "steps": 40}
SIGNALS = torch.rand(3, 1, 40, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "options", "weights"),
    # Greydanus and Kobak's notebook of the benchmark prints these counts.
    [("linear", {}, 410), ("mlp", {}, 15_210), ("cnn1d", {}, 5_210), ("gru", PUBLISHED_GRU, 5_134)],
)
def test_sizes_are_those_of_the_data_sets_authors(name, options, weights):
    assert sum(p.numel() for p in MODELS[name].skeleton(10, 1, **options).parameters()) == weights


def weights_of(network):
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def convolved(x, w, number):
    return functional.conv1d(x, w[f"conv{number}.weight"], w[f"conv{number}.bias"], stride=2, padding=1)


def test_networks_are_what_they_say():
    w = weights_of(network := MODELS["linear"](1, 10))
    torch.testing.assert_close(network(SIGNALS), SIGNALS[:, 0] @ w["fc.weight"].T + w["fc.bias"])
    w = weights_of(network := MODELS["mlp"](1, 10))
    first = (SIGNALS[:, 0] @ w["fc1.weight"].T + w["fc1.bias"]).relu()
    second = first + (first @ w["fc2.weight"].T + w["fc2.bias"]).relu()
    torch.testing.assert_close(network(SIGNALS), second @ w["fc3.weight"].T + w["fc3.bias"])
    w, x = weights_of(network := MODELS["cnn1d"](1, 10)), SIGNALS
    for number in (1, 2, 3):
        x = convolved(x, w, number).relu()
    torch.testing.assert_close(network(SIGNALS), x.flatten(1) @ w["fc.weight"].T + w["fc.bias"])


def test_dropout_is_in_training_only():
    for name in ("mlp", "cnn1d"):
        network = MODELS[name](1, 10, dropout=0.5)
        assert not torch.equal(network(SIGNALS), network(SIGNALS))
        network.eval()
        assert torch.equal(network(SIGNALS), network(SIGNALS))


@pytest.mark.parametrize("channels", [1, 2])
def test_a_gru_of_signals_classifies_all_states_of_both_directions(channels):
    network = MODELS["gru"](channels, 10, **PUBLISHED_GRU)
    signals = torch.rand(3, channels, 40)
    cells = [torch.nn.GRUCell(channels, 6), torch.nn.GRUCell(channels, 6)]
    for cell, suffix in zip(cells, ("", "_reverse"), strict=True):
        cell.load_state_dict({k: getattr(network.gru, f"{k}_l0{suffix}").detach() for k in cell.state_dict()})
    states = torch.zeros(3, 40, 12)
    for cell, order, columns in ((cells[0], range(40), slice(0, 6)), (cells[1], range(39, -1, -1), slice(6, 12))):
        state = torch.zeros(3, 6)
        for step in order:
            states[:, step, columns] = state = cell(signals[:, :, step], state)
    torch.testing.assert_close(network(signals), network.fc(states.flatten(1)))
    with pytest.raises(StudyError, match=r"gru classifies the states of 40 steps, got images \(3, 1, 41, 1\)"):
        MODELS["gru"](1, 10, **PUBLISHED_GRU)(torch.rand(3, 1, 41))
    with pytest.raises(StudyError, match=r"gru reads rows of 8 columns, got images \(3, 1, 40, 1\): set network.col"):
        MODELS["gru"](1, 10)(SIGNALS)


def test_smoothing_is_by_a_gaussian_of_one_dimension():
    w = weights_of(network := MODELS["cnn1d"](1, 10))
    lerac.CBS(network, sigma=0.8, every=1)
    beside = math.exp(-1 / (2 * 0.8**2))
    kernel = torch.tensor([beside, 1, beside]) / (1 + 2 * beside)
    x = SIGNALS
    for number in (1, 2, 3):
        y = functional.pad(convolved(x, w, number), (1, 1))
        x = sum(kernel[i] * y[..., i : y.shape[-1] - 2 + i] for i in range(3)).relu()
    torch.testing.assert_close(network(SIGNALS), x.flatten(1) @ w["fc.weight"].T + w["fc.bias"])


def test_what_cannot_be_smoothed_is_refused():
    for name in ("linear", "mlp"):
        with pytest.raises(ValueError, match="CBS found nothing to smooth in this"):
            lerac.CBS(MODELS[name](1, 10), every=1)
