"""Optimizers that write a rate into their groups: the one they were shown, in any form, or one of their own."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import by_layer, layers_of, make_net, same, train

import lerac

K, RATIO = 4, 1e-3

# From the rate of a group, before and during the step, to what is there after it, with the same number:
SAME = {
    "another float": lambda lr: lr + 0.0,
    "a sum that rounds": lambda lr: math.nextafter(lr, 1.0) - (math.nextafter(lr, 1.0) - lr),
    "by way of float32": lambda lr: torch.tensor(float(lr), dtype=torch.float32).item(),
    "a float32 tensor": lambda lr: torch.tensor(float(lr), dtype=torch.float32),
    "a tensor of one element": lambda lr: torch.tensor([float(lr)], dtype=torch.float64),
    "put back in place": lambda lr: lr.mul_(4).div_(4) if isinstance(lr, torch.Tensor) else lr * 4 / 4,
}
OTHER = {
    "a ten-thousandth more": lambda lr: lr * 1.0001,
    "more, in place": lambda lr: lr.mul_(1.01) if isinstance(lr, torch.Tensor) else lr * 1.01,
    "zero": lambda lr: lr * 0,
    "one for each row": lambda lr: torch.full((2,), float(lr)),
    "nothing": lambda lr: None,
}


class Writes(torch.optim.SGD):
    """Has a rate of its own while it updates, as heavyball has, and then leaves what `after` gives of the old one."""

    after = None

    def step(self, closure=None):
        for group in self.param_groups:
            group["base_lr"] = group["lr"] if isinstance(group["lr"], float) else group["lr"].clone()
            group["lr"] = group["base_lr"] * 2
        super().step(closure)
        for group in self.param_groups:
            group["lr"] = self.after(group["base_lr"])


def trained(model, groups, lr, after, momentum, curriculum):
    optimizer = Writes(groups, lr=lr, momentum=momentum)
    optimizer.after = after
    if curriculum:
        built = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers_of(model))
        train(model, optimizer, range(K))
        assert built.finished
        assert "lr" not in built.state_dict()
        return

    def by_hand(step):
        for group, (_, r) in zip(optimizer.param_groups, by_layer(model, RATIO), strict=True):
            group["lr"] = lr * r ** (1 - step / K)

    train(model, optimizer, range(K), by_hand)


RATES = st.floats(1e-30, 0.5) | st.floats(1e-30, 0.5).map(torch.tensor)
RATES |= st.floats(1e-30, 0.5).map(lambda lr: torch.tensor(lr, dtype=torch.float64))
KEEPS = "ignore:.*keeps .* in its param groups, with other values for each layer:UserWarning"


@pytest.mark.filterwarnings(KEEPS)
@settings(max_examples=40, deadline=None)
@given(lr=RATES, how=st.sampled_from([*SAME]), momentum=st.sampled_from([0.0, 0.9]))
def test_the_same_rate_written_back_is_no_rate_of_its_own(lr, how, momentum):
    model, hand = make_net(), make_net()
    trained(model, model.parameters(), lr, SAME[how], momentum, curriculum=True)
    trained(hand, [{"params": p} for p, _ in by_layer(hand, RATIO)], lr, SAME[how], momentum, curriculum=False)
    assert same(model, hand)


@settings(max_examples=20, deadline=None)
@given(lr=RATES, how=st.sampled_from([*OTHER]))
def test_another_rate_written_back_is_refused(lr, how):
    model = make_net()
    with pytest.raises(RuntimeError, match=r"Writes.step\(\) sets its own learning rate"):
        trained(model, model.parameters(), lr, OTHER[how], 0.0, curriculum=True)


class InPlace(torch.optim.SGD):
    """Changes the tensor that it was shown, and puts it back or not."""

    back = 1.0

    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"].mul_(2)
        super().step(closure)
        for group in self.param_groups:
            group["lr"].div_(2 * self.back)


@pytest.mark.parametrize("back", [1.0, 1.001])
def test_a_tensor_that_was_changed_in_place_is_compared_with_what_was_shown(back):
    model = make_net()
    optimizer = InPlace(model.parameters(), lr=(lr := torch.tensor(0.1)))
    optimizer.back = back
    curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers_of(model))
    if back == 1:
        train(model, optimizer, range(K - 1))
        assert curriculum.steps == K - 1
    else:
        with pytest.raises(RuntimeError, match="sets its own learning rate"):
            train(model, optimizer, range(1))
    assert lr == torch.tensor(0.1)
