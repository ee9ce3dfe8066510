"""Modules that only share a list: their layers are those of one module whose forward does what the loop does."""

import collections
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.curriculum.listed import (
    WIDTH,
    Chain,
    Does,
    Holder,
    Prompt,
    chains,
    expected,
    found,
    make,
)
from torch import nn
from torch.utils.checkpoint import checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:LeRaC can tell a single layer apart")


class Pair(nn.Module):
    """Takes two, gives two of different depth."""

    def __init__(self, length):
        super().__init__()
        self.first, self.rest = nn.Linear(WIDTH, WIDTH), Chain(length)

    def forward(self, x, *, other):
        early = self.first(x)
        return {"early": early, "late": [self.rest(early + other)]}


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


def written(a, b):
    place = torch.empty(2, *a.shape)
    place[0] = a
    place[1].copy_(b)
    place[1] += 1
    return place.mean(0)


def without_gradients(a):
    with torch.no_grad():
        return a * 2


ONE = {
    "as it is": lambda a: a,
    "sum": lambda a: a * 2 + 1,
    "index": lambda a: a[:, torch.tensor([3, 2, 1, 0])],
    "reshape": lambda a: a.reshape(-1).view(a.shape),
    "cat": lambda a: torch.cat([a[:, 2:], a[:, :2]], dim=1),
    "stack": lambda a: torch.stack([a, a]).mean(0),
    "detach": lambda a: a.detach(),
    "detach and on": lambda a: a.detach().relu(),
    "data": lambda a: a.data * 2,
    "without gradients": without_gradients,
    "not differentiable": lambda a: a.argsort().float(),
    "to": lambda a: a.to(torch.float64).to(torch.float32),
    "custom": lambda a: Double.apply(a),
    "in place": lambda a: a.clone().add_(1).mul_(2),
    "normalised": lambda a: F.normalize(a),
    "dropout": lambda a: F.dropout(a, 0.5),
}
TWO = {
    "sum": lambda a, b: a + b,
    "sum with detached": lambda a, b: a + b.detach(),
    "both detached": lambda a, b: a.detach() * b.detach(),
    "cat": lambda a, b: torch.cat([a, b], dim=1)[:, 2:6],
    "where": lambda a, b: torch.where(a > 0, b, 0.0),
    "written": written,
    "scores": lambda a, b: (a @ b.T).softmax(-1) @ b,
    "shape of the other": lambda a, b: a + torch.ones_like(b) + b.new_zeros(b.shape),
    "as the other": lambda a, b: a.to(b).expand_as(b),
    "einsum": lambda a, b: torch.einsum("ij,ij->ij", a, b),
    "stack": lambda a, b: torch.stack((a, b)).amax(0),
}


def run(program, parts, inputs):
    """Do what the program says; gives all values, inputs first."""
    values = list(inputs)
    for kind, what, *of in program:
        if kind == "part":
            a, b = values[of[0] % len(values)], values[of[1] % len(values)]
            part = parts[what]
            if isinstance(part, Pair):
                given = part(a, other=b)
                values += [given["early"], *given["late"]]
            else:
                values.append(part(a))
        elif kind == "one":
            values.append(ONE[what](values[of[0] % len(values)]))
        else:
            values.append(TWO[what](values[of[0] % len(values)], values[of[1] % len(values)]))
    return values


class Whole(nn.Module):
    def __init__(self, program, parts):
        super().__init__()
        self.program, self.inner = program, parts

    def forward(self, *inputs):
        return run(self.program, self.inner, inputs)


PLACES = st.integers(0, 40)
RECENT = st.integers(-3, -1)
STEPS = st.one_of(
    st.tuples(st.just("part"), st.integers(0, 3), PLACES | RECENT, PLACES | RECENT),
    st.tuples(st.just("one"), st.sampled_from(sorted(ONE)), PLACES | RECENT),
    st.tuples(st.just("two"), st.sampled_from(sorted(TWO)), PLACES | RECENT, PLACES | RECENT),
)
PARTS = st.lists(st.tuples(st.sampled_from([Chain, Pair]), st.integers(1, 3)), min_size=4, max_size=4)


def loss_of(values):
    return sum(value.sum() for value in values if value.requires_grad)


def any_graph(program, kinds, twice):
    called = sorted({step[1] for step in program if step[0] == "part"})
    if not called:
        return
    parts = nn.ModuleList(kind(length) for kind, length in kinds)
    listed = nn.ModuleList(parts[i] for i in reversed(called))  # the order in the list says nothing
    optimizer, curriculum = make(listed)
    for _ in range(1 + twice):
        inputs = torch.randn(3, WIDTH), torch.randn(3, WIDTH)
        loss_of(run(program, parts, inputs)).backward()
    whole = Whole(program, parts)
    ours = set(map(id, listed.parameters()))
    assert found(optimizer, curriculum, listed) == {
        key: depth for key, depth in expected(whole, *inputs).items() if key in ours
    }
    assert not torch._C._len_torch_function_stack()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in parts)


GRAPHS = given(st.lists(STEPS, min_size=2, max_size=12), PARTS, st.booleans())


@settings(deadline=None, max_examples=20)
@GRAPHS
def test_the_layers_of_any_graph_of_parts_are_those_of_one_module_that_does_the_same(program, kinds, twice):
    any_graph(program, kinds, twice)


@pytest.mark.wide
@settings(deadline=None, max_examples=400)
@GRAPHS
def test_the_layers_of_many_graphs_of_parts_are_those_of_one_module_that_does_the_same(program, kinds, twice):
    any_graph(program, kinds, twice)


class Loss(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Linear(WIDTH, 3)

    def forward(self, features, labels):
        return F.cross_entropy(self.weight(features), labels)


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(WIDTH, WIDTH)

    def forward(self, x, state):
        return self.cell(x, state)


class Keeps(nn.Module):
    """Leaves its result in what it was given."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x, place):
        if isinstance(place, dict):
            place["result"] = self.layer(x).detach()
        else:
            place.copy_(self.layer(x).detach())


class Applies(nn.Module):
    """Is given the module that it calls."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, module, x):
        return self.layer(module(x))


@dataclasses.dataclass
class Record:
    early: torch.Tensor
    late: torch.Tensor


Named = collections.namedtuple("Named", ["early", "late"])


class Gives(nn.Module):
    """Gives two tensors of different depth in some container."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.first, self.rest = kind, nn.Linear(WIDTH, WIDTH), Chain(2)

    def forward(self, x):
        early = self.first(x)
        return self.kind(early, self.rest(early))


def siamese(parts, x, y):
    one, other = parts[0](x), parts[0](x * 2)
    return parts[1](torch.cat([one, other])).sum()


def around(parts, x, y):
    return parts[0](parts[1](parts[0](x))).sum()


def recurrent(parts, x, y):
    state = y
    for _ in range(3):
        state = parts[0](x, state)
    return parts[1](state).sum()


def teacher(parts, x, y):
    with torch.no_grad():
        target = parts[0](x).softmax(1)
    return F.mse_loss(parts[1](x), target)


def teacher_in_inference_mode(parts, x, y):
    with torch.inference_mode():
        target = parts[0](x)
    return F.mse_loss(parts[1](x), target.clone())


def adversaries(parts, x, y):
    generator, critic = parts
    real = critic(x).mean()
    real.item()  # logged
    fake = generator(y)
    return real + critic(fake.detach()).mean() + critic(fake).mean()


def fields(parts, x, y):
    given = parts[0](x)
    fields = given.__dict__ if dataclasses.is_dataclass(given) else given
    early, late = fields.values() if isinstance(fields, dict) else fields
    return parts[1](early).sum() + parts[2](late).sum()


def left_in_a_dictionary(parts, x, y):
    state = {}
    parts[0](x, state)
    return parts[1](state["result"]).sum()


def left_in_a_buffer(parts, x, y):
    place = torch.zeros(3, WIDTH)
    parts[0](x, place)
    return parts[1](place).sum()


def holder(parts, x, y):
    features = parts.encoder(x) * parts.scale.exp()
    return (parts.heads["a"](features) + parts.heads["b"](features)).sum()


def weighted(parts, x, y):
    features = parts.encoder(x)
    return ((parts.heads["a"](features) + parts.heads["b"](features)) * parts.scale.exp()).sum()


def anchored(parts, x, y):
    anchors = [parameter.detach().clone() for parameter in parts.parameters()]
    pairs = zip(parts.parameters(), anchors, strict=True)
    return parts[1](parts[0](x)).sum() + sum(((parameter - anchor) ** 2).sum() for parameter, anchor in pairs)


def checkpointed(*, both, reentrant):
    def loop(parts, x, y):
        x = x.clone().requires_grad_()
        if both:
            return checkpoint(
                lambda x: parts[1](parts[0](x).detach() * 2) + parts[0](x), x, use_reentrant=reentrant
            ).sum()
        hidden = checkpoint(parts[0], x, use_reentrant=reentrant)
        return checkpoint(parts[1], hidden * 2, use_reentrant=reentrant).sum()

    return loop


def sampled(parts, x, y):
    shared = torch.distributions.Normal(parts[0](x), torch.ones_like(x))
    return parts[1](shared.sample()).sum() + parts[2](shared.rsample()).sum()


def frozen(part):
    return part.requires_grad_(False)


def in_autocast(parts, x, y):
    with torch.autocast("cpu", torch.bfloat16):
        return parts[1](parts[0](x)).sum()


def functional(parts, x, y):
    return parts[1](torch.func.functional_call(parts[0], dict(parts[0].named_parameters()), (x,))).sum()


def evaluated(parts, x, y):
    parts[0].eval()  # as those do who keep the statistics of its norms
    return parts[1](parts[0](x)).sum()


SAME = nn.Linear(WIDTH, WIDTH)
RIGHT = {
    "chain": (lambda: chains(2, 2), lambda parts, x, y: parts[1](parts[0](x)).sum()),
    "side by side": (lambda: chains(1, 3), lambda parts, x, y: (parts[0](x) + parts[1](x)).sum()),
    "siamese": (lambda: chains(2, 2), siamese),
    "around": (lambda: chains(1, 2), around),
    "recurrent": (lambda: nn.ModuleList([Cell(), Chain(1)]), recurrent),
    "loss with labels": (
        lambda: nn.ModuleList([Loss(), Chain(2)]), lambda parts, x, y: parts[0](parts[1](x), y.argmax(1) % 3),
    ),
    "frozen teacher": (lambda: nn.ModuleList([frozen(Chain(2)), Chain(1)]), teacher),
    "teacher": (lambda: chains(2, 1), teacher),
    "teacher in inference mode": (lambda: chains(2, 1), teacher_in_inference_mode),
    "adversaries": (lambda: chains(2, 1), adversaries),
    "dictionary": (lambda: nn.ModuleList([Gives(lambda a, b: {"a": a, "b": b}), Chain(1), Chain(1)]), fields),
    "nested": (lambda: nn.ModuleList([Gives(lambda a, b: (a, b)), Chain(1), Chain(1)]), fields),
    "named tuple": (lambda: nn.ModuleList([Gives(Named), Chain(1), Chain(1)]), fields),
    "dataclass": (lambda: nn.ModuleList([Gives(Record), Chain(1), Chain(1)]), fields),
    "distribution": (lambda: chains(2, 1, 1), sampled),
    "left in a dictionary": (lambda: nn.ModuleList([Keeps(), Chain(1)]), left_in_a_dictionary),
    "left in a buffer": (lambda: nn.ModuleList([Keeps(), Chain(1)]), left_in_a_buffer),
    "given": (lambda: nn.ModuleList([Chain(2), Applies()]), lambda parts, x, y: parts[1](parts[0], x).sum()),
    "no forward": (Holder, holder),
    "no forward, weighted": (Holder, weighted),
    "anchored": (lambda: chains(2, 2), anchored),
    "shared": (
        lambda: nn.ModuleList([nn.Sequential(SAME, Chain(1)), nn.Sequential(SAME, Chain(1))]),
        lambda parts, x, y: parts[1](parts[0](x)).sum(),
    ),
    "list in a list": (
        lambda: nn.ModuleList([chains(1, 2), nn.ModuleDict({"head": Chain(1)})]),
        lambda parts, x, y: parts[1]["head"](parts[0][1](parts[0][0](x))).sum(),
    ),
    "prompt": (
        lambda: nn.ModuleList([Prompt(), Chain(1), Chain(1)]),
        lambda parts, x, y: parts[2](parts[1](x) + parts[0]()).sum(),
    ),
    "positions": (
        lambda: nn.ModuleList([Prompt(), Chain(1)]), lambda parts, x, y: parts[1](x + parts[0](x)).sum(),
    ),
    "checkpointed": (lambda: chains(1, 2), checkpointed(both=False, reentrant=False)),
    "checkpointed, reentrant": (lambda: chains(1, 2), checkpointed(both=False, reentrant=True)),
    "checkpointed together": (lambda: chains(1, 2), checkpointed(both=True, reentrant=False)),
    "checkpointed together, reentrant": (lambda: chains(1, 2), checkpointed(both=True, reentrant=True)),
    "autocast": (lambda: chains(1, 2), in_autocast),
    "functional call": (lambda: chains(1, 2), functional),
    "in evaluation mode": (lambda: chains(1, 2), evaluated),
}  # fmt: skip


@pytest.mark.parametrize(("parts", "loop"), RIGHT.values(), ids=RIGHT)
def test_layers_are_right_in(parts, loop):
    parts = parts()
    optimizer, curriculum = make(parts)
    x, y = torch.randn(3, WIDTH), torch.randn(3, WIDTH)
    for _ in range(2):
        loop(parts, x, y).backward()
    assert found(optimizer, curriculum, parts) == expected(Does(loop, parts), x, y)
