"""What one call into torch brings to the data is one level, however tensors lie and whatever torch makes of it."""

from collections import OrderedDict
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lerac.depth import example_of, measure_depths


def by_depth(layers):
    assert not any(layer.placed for layer in layers)
    return [set(layer.parameters) for layer in layers]


class Chain(nn.Module):
    """An operation between two linear layers, or what stands in for them: each is one level."""

    def __init__(self, operation):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))
        self.operation = operation

    def forward(self, *args):
        out = self.operation(args[0] * self.scale, *args[1:])
        return (out[0] if isinstance(out, tuple) else out) * self.shift


class Functional(nn.Module):
    """Calls a function with parameters of its own, or as `functional_call` and `vmap` do."""

    def __init__(self, call, *shapes):
        super().__init__()
        self.call = call
        self.w = nn.ParameterList(torch.ones(shape) for shape in shapes)

    def forward(self, *x):
        return self.call(*x, *self.w)


class Attention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, **options)

    def forward(self, x):
        return self.inner(x, x[..., : self.inner.kdim], x[..., : self.inner.vdim])


def functional_call(x, w, b):
    return torch.func.functional_call(nn.Linear(4, 4), {"weight": w, "bias": b}, (x,))


def mapped(x, w, b):
    return torch.vmap(torch.vmap(F.linear, in_dims=(0, None, None)), in_dims=(0, None, None))(x, w, b)


# One level each: (module, shape of the input).
ONE = {
    "linear": (partial(nn.Linear, 4, 4), (2, 3, 4)),
    "linear of 4 dimensions": (partial(nn.Linear, 4, 4), (2, 3, 2, 4)),
    "F.linear": (partial(Functional, F.linear, (4, 4), (4,)), (2, 3, 4)),
    "aten linear": (partial(Functional, torch.ops.aten.linear.default, (4, 4), (4,)), (2, 3, 4)),
    "functional_call": (partial(Functional, functional_call, (4, 4), (4,)), (2, 3, 4)),
    "vmap": (partial(Functional, mapped, (4, 4), (4,)), (2, 3, 4)),
    "addmm": (partial(Functional, lambda x, w, b: torch.addmm(b, x, w), (4, 4), (4,)), (3, 4)),
    "bilinear": (partial(Functional, lambda x, w, b: F.bilinear(x, x, w, b), (2, 4, 4), (2,)), (2, 3, 4)),
    "conv1d": (partial(nn.Conv1d, 4, 4, 2), (2, 4, 5)),
    "conv2d": (partial(nn.Conv2d, 4, 4, 2, padding="same"), (2, 4, 5, 5)),
    "conv3d": (partial(nn.Conv3d, 4, 4, 2), (2, 4, 3, 3, 3)),
    "transposed conv1d": (partial(nn.ConvTranspose1d, 4, 4, 2), (2, 4, 5)),
    "transposed conv2d": (partial(nn.ConvTranspose2d, 4, 4, 2), (2, 4, 5, 5)),
    "transposed conv3d": (partial(nn.ConvTranspose3d, 4, 4, 2), (2, 4, 3, 3, 3)),
    "batch norm": (partial(nn.BatchNorm2d, 4), (2, 4, 3, 3)),
    "instance norm": (partial(nn.InstanceNorm1d, 4, affine=True), (2, 4, 3)),
    "group norm": (partial(nn.GroupNorm, 2, 4), (2, 4, 3, 3)),
    "layer norm": (partial(nn.LayerNorm, (3, 4)), (2, 3, 4)),
    "rms norm": (partial(nn.RMSNorm, 4), (2, 3, 4)),
    "cosine similarity": (partial(Functional, F.cosine_similarity, (4,)), (2, 3, 4)),
    "rnn": (partial(nn.RNN, 4, 4, batch_first=True), (2, 3, 4)),
    "gru": (partial(nn.GRU, 4, 4, batch_first=True), (2, 3, 4)),
    "lstm": (partial(nn.LSTM, 4, 4, batch_first=True, proj_size=2), (2, 3, 4)),
    "bidirectional gru": (partial(nn.GRU, 4, 4, bidirectional=True), (2, 3, 4)),
    "gru cell": (partial(nn.GRUCell, 4, 4), (2, 4)),
    "lstm cell": (partial(nn.LSTMCell, 4, 4), (2, 4)),
}  # fmt: skip

# Two levels: in-projection and out-projection.
ATTENTION = {
    "attention": {},
    "attention, batch first": {"batch_first": True},
    "attention, own weights": {"kdim": 3, "vdim": 2},
    "attention, biases of keys and values": {"add_bias_kv": True, "add_zero_attn": True},
}


@st.composite
def laid_out(draw, shape):
    """Zeros of this shape, in any order of dimensions, with gaps between the elements, or the same ones many times."""
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.integers(1, 2)) for _ in shape]
    repeated = [draw(st.booleans()) for _ in shape]
    stored = [1 if again else size * step for size, step, again in zip(shape, steps, repeated, strict=True)]
    base = torch.zeros([stored[i] for i in order]).permute([order.index(i) for i in range(len(shape))])
    sliced = base[tuple(slice(None, None, 1 if again else step) for step, again in zip(steps, repeated, strict=True))]
    return sliced.expand(shape)


def measured(operation, x, autocast, described):
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        return by_depth(measure_depths(Chain(operation), example_of((x,), {}) if described else x))


@pytest.mark.parametrize("kind", ONE)
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_an_operation_is_one_level_in_any_layout(kind, data):
    make, shape = ONE[kind]
    x = data.draw(laid_out(shape))
    operation = make()
    names = {f"operation.{name}" for name, _ in operation.named_parameters()}
    assert measured(operation, x, data.draw(st.booleans()), data.draw(st.booleans())) == [{"scale"}, names, {"shift"}]


@pytest.mark.parametrize("kind", ATTENTION)
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_attention_is_two_levels_in_any_layout(kind, data):
    x = data.draw(laid_out((2, 3, 4)))
    operation = Attention(**ATTENTION[kind])
    names = {f"operation.{name}" for name, _ in operation.named_parameters()}
    out = {name for name in names if "out_proj" in name}
    found = measured(operation, x, data.draw(st.booleans()), data.draw(st.booleans()))
    assert found == [{"scale"}, names - out, out, {"shift"}]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_data_types_and_devices(dtype, device):
    model = Chain(nn.Linear(4, 4)).to(device, dtype)
    x = torch.zeros(3, 2, 4, device=device, dtype=dtype).transpose(0, 1)
    assert by_depth(measure_depths(model, x)) == [{"scale"}, {"operation.weight", "operation.bias"}, {"shift"}]


@pytest.mark.parametrize("wrap", [torch.compile, nn.utils.parametrizations.weight_norm])
def test_operations_of_wrapped_modules(wrap):
    model = Chain(wrap(nn.Linear(4, 4)))
    x = torch.zeros(3, 2, 4).transpose(0, 1)
    inside = len(list(model.operation.parameters()))
    assert [len(layer) for layer in by_depth(measure_depths(model, x))] == [1, inside, 1]


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning", "ignore:.*deprecated:DeprecationWarning")
def test_layers_of_scripted_modules():
    inner = nn.Sequential(OrderedDict(first=nn.Linear(4, 4), second=nn.LayerNorm(4)))
    found = by_depth(measure_depths(Chain(torch.jit.script(inner)), torch.zeros(3, 2, 4).transpose(0, 1)))
    assert [len(layer) for layer in found] == [1, 2, 2, 1]


def test_operations_with_real_values():
    """Where fake tensors give up, torch does other things, of which one operation is one level too."""

    class Selecting(Chain):
        def forward(self, x):
            return super().forward(x[x.sum((1, 2)) >= 0].transpose(0, 1))

    model = Selecting(nn.Sequential(OrderedDict(first=nn.Linear(4, 4), second=nn.GRU(4, 4, 2))))
    x = torch.zeros(3000, 2, 4)  # too large to keep its values in a fake trace
    assert [len(layer) for layer in by_depth(measure_depths(model, x))] == [1, 2, 4, 4, 1]


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize(("bidirectional", "length"), [(False, 1), (False, 5), (True, 3)])
def test_stacked_recurrent_layers_stay_apart_whatever_the_length(kind, bidirectional, length):
    """A branch beside them is as deep as the layers that it has, not as the steps that they take."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = kind(4, 4, num_layers=3, bidirectional=bidirectional, batch_first=True)
            self.linear = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
            self.head = nn.Linear(8 if bidirectional else 4, 2)

        def forward(self, x):
            return self.linear(x), self.head(self.rnn(x)[0])

    x = torch.zeros(length, 2, 4).transpose(0, 1)
    found = by_depth(measure_depths(Branches(), x))
    for i, layer in enumerate(found[:3]):
        assert {name for name in layer if name.startswith("rnn")} == {
            f"rnn.{name}" for name, _ in Branches().rnn.named_parameters() if f"_l{i}" in name
        }
        assert f"linear.{i}.weight" in layer
    assert found[3] == {"linear.3.weight", "linear.3.bias", "head.weight", "head.bias"}


def test_a_transformer_has_the_same_layers_batch_first_or_not():
    def layers(batch_first):
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        return measure_depths(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.zeros(3, 5, 8))

    assert layers(True) == layers(False)
    assert len(layers(True)) == 12


def test_decoding_attention_has_one_in_projection():
    """Queries are deeper than keys: without a module around it, the in-projection is one level above both."""

    class Decoder(nn.Module):
        def __init__(self, kdim):
            super().__init__()
            self.attention, self.deeper = nn.MultiheadAttention(4, 2, kdim=kdim), nn.Linear(4, 4)

        def forward(self, x):
            a, q, k = self.attention, self.deeper(x), x[..., : self.attention.kdim]
            return F.multi_head_attention_forward(
                q, k, x, 4, 2, a.in_proj_weight, a.in_proj_bias, a.bias_k, a.bias_v, False, 0.0, a.out_proj.weight,
                a.out_proj.bias, use_separate_proj_weight=a.in_proj_weight is None, q_proj_weight=a.q_proj_weight,
                k_proj_weight=a.k_proj_weight, v_proj_weight=a.v_proj_weight,
            )[0]  # fmt: skip

    for kdim, size in ((4, 2), (3, 4)):
        found = by_depth(measure_depths(Decoder(kdim), torch.zeros(3, 2, 4)))
        assert [len(layer) for layer in found] == [2, size, 2]


def test_parameters_used_one_after_the_other_stay_apart():
    class Raw(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d, self.e = (nn.Parameter(torch.ones(4, 4)) for _ in range(5))

        def forward(self, x):
            x = torch.matmul(x, self.a) + self.b
            return torch.linalg.multi_dot([torch.einsum("ij,jk,kl->il", x, self.c, self.d), self.e])

    assert by_depth(measure_depths(Raw(), torch.zeros(4, 4))) == [{"a"}, {"b"}, {"c"}, {"d"}, {"e"}]
