"""What the adapters share."""

import subprocess
import sys

import pytest
import torch
from tests.conftest import layers_of, make_net

import lerac
from lerac.integrations import layer_rates


def make(**options):
    net = make_net()
    groups = [{"params": net.body.parameters(), "lr": 0.1}, {"params": net.stem.parameters(), "lr": 0.2}]
    optimizer = torch.optim.SGD([*groups, {"params": [net.head.bias], "lr": 0.3}], lr=1.0)
    return net, lerac.LeRaC(optimizer, net, k=2, ratio=1e-2, **options)


def test_a_layer_has_its_largest_rate_and_one_without_parameters_in_the_optimizer_none():
    net = make_net()
    groups = [{"params": [net.stem.weight], "lr": 0.2}, {"params": [net.stem.bias], "lr": 0.4}]
    optimizer = torch.optim.SGD([*groups, {"params": net.head.parameters()}], lr=1.0)
    curriculum = lerac.LeRaC(optimizer, net, k=2, ratio=1e-2, layers=layers_of(net))
    assert layer_rates(curriculum, "rate of ") == {"rate of stem": 0.4, "rate of head": pytest.approx(0.01)}


def test_there_are_no_rates_before_the_layers_are_found_and_after_the_curriculum():
    net, curriculum = make()
    assert layer_rates(curriculum) == {}
    for _ in range(2):
        net(torch.ones(1, 6)).sum().backward()
        curriculum._optimizer.step()
        given = layer_rates(curriculum)
    assert curriculum.finished
    assert given == {}


def test_lerac_imports_no_framework():
    frameworks = "lightning", "pytorch_lightning", "transformers", "accelerate", "timm"
    code = f"import sys, lerac, lerac.integrations; print(*set({frameworks}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
