"""Tensors whose subclass has rules of its own, as those of torchao: their parameters are found, or it is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_map_only

from lerac.depth import measure_depths

X = torch.zeros(3, 2, 4).transpose(0, 1)


class Wrapped(torch.Tensor):
    """Around another tensor, as a float8 tensor is around its data: operations are those of what is inside."""

    @staticmethod
    def __new__(cls, data):
        return torch.Tensor._make_wrapper_subclass(cls, data.size(), strides=data.stride(), dtype=data.dtype)

    def __init__(self, data):
        self._data = data

    @classmethod
    def __torch_dispatch__(cls, func, types, args, kwargs=None):
        args, kwargs = tree_map_only(Wrapped, lambda t: t._data, (args, kwargs or {}))
        out = func(*args, **kwargs)
        # What is multiplied is no longer of this kind; what is only turned or copied is.
        return cls(out) if func in KEEP else out


KEEP = {torch.ops.aten.t.default, torch.ops.aten.detach.default, torch.ops.aten.clone.default}


class Flat(Wrapped):
    """Says what it is made of, as `torch.compile` wants it."""

    def __tensor_flatten__(self):
        return ["_data"], None

    @staticmethod
    def __tensor_unflatten__(tensors, meta, size, stride):
        return Flat(tensors["_data"])


class Slotted(Wrapped):
    """Adds to that a tensor which is not content: its scale."""

    def __init__(self, data):
        super().__init__(data)
        self.scale = data.abs().max()


class Multiply(torch.autograd.Function):
    """As torchao's matmul for float8: both factors are converted inside."""

    kind = Wrapped

    @staticmethod
    def forward(ctx, x, weight):
        kind = Multiply.kind
        return kind(x.reshape(-1, x.shape[-1])).mm(kind(weight).t()).reshape(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError


class Converting(nn.Linear):
    def forward(self, x):
        return Multiply.apply(x, self.weight) + self.bias


class HeadFirst(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.head, self.body = linear(), linear()

    def forward(self, x):
        return self.head(self.body(x))


def names(layers):
    assert not any(layer.placed for layer in layers)
    return [layer.name for layer in layers]


@pytest.mark.parametrize("kind", [Wrapped, Flat, Slotted])
@pytest.mark.parametrize("real", [False, True])
def test_data_that_is_converted_on_the_way(kind, real, monkeypatch):
    monkeypatch.setattr(Multiply, "kind", kind)
    model = HeadFirst(lambda: Converting(4, 4)).to("cpu" if real else "meta")
    assert names(measure_depths(model, X)) == ["body.weight", "body.bias", "head.weight", "head.bias"]


@pytest.mark.parametrize("kind", [Wrapped, Flat, Slotted])
def test_parameters_that_are_of_such_a_kind(kind):
    def linear():
        module = nn.Linear(4, 4)
        module.weight = nn.Parameter(kind(module.weight.detach()), requires_grad=False)
        return module

    model = HeadFirst(linear)
    assert names(measure_depths(model, X)) == ["body", "head"]
    assert type(model.body.weight) is kind


class Overriding(torch.Tensor):
    """Has its own linear layer, above autograd, as torchao's quantised weights do."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            if func is F.linear:
                return torch.matmul(args[0], args[1].t()) + args[2]
            return func(*args, **(kwargs or {}))


def test_parameters_with_functions_of_their_own():
    class Linear(nn.Linear):
        def forward(self, x):
            return F.linear(x, self.weight.as_subclass(Overriding), self.bias)

    assert names(measure_depths(HeadFirst(lambda: Linear(4, 4)), X)) == ["body", "head"]


class Opaque(Wrapped):
    """Computes where torch cannot be watched."""

    @classmethod
    def __torch_dispatch__(cls, func, types, args, kwargs=None):
        args, kwargs = tree_map_only(Wrapped, lambda t: t._data, (args, kwargs or {}))
        if func is torch.ops.aten.mm.default:
            return torch.from_numpy(np.matmul(*(a.detach().numpy() for a in args)))
        out = func(*args, **kwargs)
        return cls(out) if func in KEEP else out


def test_computing_out_of_sight_is_still_one_operation(monkeypatch):
    monkeypatch.setattr(Multiply, "kind", Opaque)

    class Linear(nn.Linear):
        def forward(self, x):
            return x + Multiply.apply(x, self.weight)

    assert names(measure_depths(HeadFirst(lambda: Linear(4, 4, bias=False)), X)) == ["body", "head"]


def test_computing_beyond_torch_is_refused():
    class Linear(nn.Linear):
        def forward(self, x):
            return torch.from_numpy(x.detach().numpy() @ self.weight.detach().numpy().T)

    with pytest.raises(ValueError, match=r"could not be measured: .*no parameter meets the input.*registration_layers"):
        measure_depths(HeadFirst(lambda: Linear(4, 4, bias=False)), X)
