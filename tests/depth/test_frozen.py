"""A frozen copy of a model beside it, such as a moving average of its weights, changes nothing for what is trained."""

import copy
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lerac.depth import find_layers, measure_depths
from lerac.layers import group_layers


class Residual(nn.Module):
    """Blocks of different length, a shortcut around each, and a parameter that nothing uses."""

    def __init__(self, blocks):
        super().__init__()
        self.head, self.unused, self.stem = nn.Linear(4, 2), nn.Parameter(torch.ones(3)), nn.Linear(4, 4)
        self.blocks = nn.ModuleList(nn.Sequential(*(nn.Linear(4, 4) for _ in range(n))) for n in blocks)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Student(nn.Module):
    """A model that may hold a frozen copy of itself; its own forward pass takes nothing from it."""

    def __init__(self, blocks, teacher, first):
        super().__init__()
        net = Residual(blocks)
        self.teacher, self.temperature = teacher, nn.Parameter(torch.ones(()))
        if teacher and first:
            self.average = copy.deepcopy(net).requires_grad_(False)
        self.net = net
        if teacher and not first:
            self.average = copy.deepcopy(net).requires_grad_(False)

    def forward(self, x):
        out = self.net(x)
        with torch.no_grad():
            return TEACHERS[self.teacher](self, x, out) if self.teacher else out


def updated(model, x, out):
    for average, weight in zip(model.average.parameters(), model.net.parameters(), strict=True):
        average.lerp_(weight, 0.1)
    return out, model.average(x)


TEACHERS = {
    "not called": lambda model, x, out: out,
    "same input": lambda model, x, out: (out, model.average(x)),
    "instead, in evaluation": lambda model, x, out: out if model.training else model.average(x),
    "in the loss": lambda model, x, out: F.mse_loss(out, model.average(x)),
    "updated in the forward pass": updated,
    "deeper than the model": lambda model, x, out: (out, model.average(out.repeat(1, 2))),
    "of parts out of step": lambda model, x, out: (out, model.average(model.average.stem(model.average.blocks[0](x)))),
}


def trained(model, layers):
    return {
        name: layer.depth
        for layer in layers
        for name in layer.parameters
        if model.get_parameter(name).requires_grad
    }  # fmt: skip


def measured_and_grouped(model, x):
    """What `measure_depths` and `find_layers` give, measured once."""
    measured = measure_depths(model, x)
    with patch("lerac.depth._measured", return_value=measured):
        return measured, find_layers(model, x)


@pytest.mark.parametrize("teacher", TEACHERS)
@settings(max_examples=3, deadline=None)
@given(blocks=st.lists(st.integers(1, 4), min_size=1, max_size=14), first=st.booleans())
def test_a_moving_average_changes_no_depth(teacher, blocks, first):
    x, alone, model = torch.zeros(2, 4), Student(blocks, None, False), Student(blocks, teacher, first)
    (ours, our_groups), (expected, their_groups) = (measured_and_grouped(net, x) for net in (model, alone))
    assert trained(model, ours) == trained(alone, expected)
    assert trained(model, our_groups) == trained(alone, their_groups)


def test_a_teacher_before_the_model_is_a_frozen_part_of_it():
    """What takes a teacher's output has the teacher's layers before it, like those of any frozen backbone."""

    class Taught(nn.Module):
        def __init__(self):
            super().__init__()
            self.beside, self.after, self.end = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
            self.teacher = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3))).requires_grad_(False)

        def forward(self, x):
            return self.end(self.beside(x) + self.after(self.teacher(x)))

    found = [layer.name for layer in measure_depths(Taught(), torch.zeros(1, 4))]
    assert [name.partition("…")[0] for name in found] == ["beside", "after", "end"]


def test_grouping_leaves_out_what_is_frozen():
    model = Residual([2] * 16)
    names = {name for name, _ in model.named_parameters()}
    layers = measure_depths(model, torch.zeros(1, 4))
    assert group_layers(layers, 8, frozen={"unused"}) == group_layers(layers, 8)
    assert group_layers(layers, 8, frozen=names) == group_layers(layers, 8), "nothing is trained: all count"
