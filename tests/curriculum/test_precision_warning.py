"""LeRaC warns, once, where its small updates would be rounded away: parameters of bfloat16 or float16."""

import copy
import warnings

import pytest
import torch
from tests.conftest import layers_of, loss_of, make_net, train
from torch import nn

import lerac

K = 4
LOW = [torch.bfloat16, torch.float16]
ROUNDED = r"docs/effects\.md"


def low_net(dtype):
    return make_net().to(dtype)


def step(model, optimizer, number=0):
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(number)).to(next(model.parameters()).dtype)
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("known", [True, False], ids=["layers given", "layers found"])
def test_warns_once_and_in_the_first_step(dtype, known):
    model = low_net(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    layers = layers_of(make_net()) if known else None
    lerac.LeRaC(optimizer, model, k=K, ratio=1e-4, layers=layers)
    with pytest.warns(UserWarning, match=ROUNDED) as caught:
        step(model, optimizer)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    for number in range(1, K + 2):
        step(model, optimizer, number)  # a second warning would be an error


@pytest.mark.parametrize(("dtype", "part"), [(torch.bfloat16, "0.002"), (torch.float16, "0.0002")])
def test_the_message_says_what_happens_and_what_to_do(dtype, part):
    model = low_net(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, k=K, ratio=1e-4)
    with pytest.warns(UserWarning, match=ROUNDED) as caught:
        step(model, optimizer)
    name = str(dtype).removeprefix("torch.")
    assert str(caught[0].message) == (
        f"8 of the optimizer's 8 trained parameters are {name}, in which an update of less than {part} of a weight is "
        "rounded away. At rates down to 0.0001 of the full one, layers near the output can stay exactly as they are "
        "for most of the curriculum. Keep the parameters in float32 and compute with torch.autocast; or choose a "
        "larger ratio; or, if this optimizer keeps float32 copies of the weights, ignore this. What was measured: "
        "docs/effects.md"
    )


@pytest.mark.parametrize("dtype", LOW)
def test_an_update_of_less_than_the_part_it_names_is_rounded_away(dtype):
    weights = torch.linspace(0.5, 2, 1001, dtype=torch.float64).to(dtype)
    part = torch.finfo(dtype).eps / 4
    assert torch.equal((weights.double() * (1 + 0.99 * part)).to(dtype), weights)
    assert not torch.equal((weights.double() * (1 + 2.01 * part)).to(dtype), weights)


def test_one_low_precision_parameter_is_enough():
    model = make_net()
    model.head.to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, k=K, layers=layers_of(make_net()))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    with pytest.warns(UserWarning, match="2 of the optimizer's 8 trained parameters are bfloat16"):
        optimizer.step()


def test_warns_after_parameters_were_converted_later():
    model = make_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, k=K)
    model.to(torch.bfloat16)
    with pytest.warns(UserWarning, match=ROUNDED):
        step(model, optimizer)


def test_a_copy_of_a_curriculum_that_warned_does_not_warn_again():
    model = low_net(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    curriculum = lerac.LeRaC(optimizer, model, k=K)
    with pytest.warns(UserWarning, match=ROUNDED):
        step(model, optimizer)
    model, optimizer, curriculum = copy.deepcopy((model, optimizer, curriculum))
    step(model, optimizer, 1)
    assert curriculum.steps == 2


# No warning: pytest turns every warning into an error.


def test_float32_is_silent():
    model = make_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, k=K)
    train(model, optimizer, range(K + 1))


def test_autocast_is_silent():
    model = make_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    curriculum = lerac.LeRaC(optimizer, model, k=K)
    for number in range(K + 1):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(model, number)
        loss.backward()
        optimizer.step()
    assert curriculum.finished


def test_float32_masters_are_silent():
    masters, model = make_net(), low_net(torch.bfloat16)
    optimizer = torch.optim.SGD(masters.parameters(), lr=0.1)
    curriculum = lerac.LeRaC(optimizer, masters, k=K, layers=layers_of(masters))
    for number in range(K + 1):
        x = torch.randn(4, 6, generator=torch.Generator().manual_seed(number)).to(torch.bfloat16)
        model(x).square().mean().backward()
        for master, p in zip(masters.parameters(), model.parameters(), strict=True):
            master.grad, p.grad = p.grad.float(), None
        optimizer.step()
        with torch.no_grad():
            for master, p in zip(masters.parameters(), model.parameters(), strict=True):
                p.copy_(master)
    assert curriculum.finished


@pytest.mark.parametrize("ratio", [1.0, {"stem": 1.0, "body.0": 1.0, "body.2": 1.0, "head": 1.0}])
def test_equal_rates_are_silent(ratio):
    model = low_net(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, k=K, ratio=ratio)
    step(model, optimizer)


@pytest.mark.filterwarnings("ignore:LeRaC can tell a single layer apart")
def test_a_single_layer_is_silent():
    model = nn.Linear(6, 3).to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, k=K, layers=lerac.find_layers(nn.Linear(6, 3), torch.zeros(1, 6)))
    step(model, optimizer)


def test_frozen_low_precision_weights_are_silent():
    model = make_net()
    model.stem.to(torch.bfloat16).requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, k=K, layers=layers_of(make_net()))
    for p in model.parameters():
        if p.requires_grad:
            p.grad = torch.ones_like(p)
    optimizer.step()


def test_a_finished_curriculum_is_silent():
    model = low_net(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["lerac_step"] = K
    lerac.LeRaC(optimizer, model, k=K)
    step(model, optimizer)


def test_as_an_error_it_comes_before_the_step():
    model = low_net(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    curriculum = lerac.LeRaC(optimizer, model, k=K)
    before = copy.deepcopy(model.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match=ROUNDED):
            step(model, optimizer)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert curriculum.steps == 0
