"""Modules that only share a list: where nobody can know their order, it is refused with what to pass."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.conftest import same
from tests.curriculum.listed import NOT_CALLED, WIDTH, Chain, Does, Holder, Methods, Prompt, by_name, chains, make, two
from torch import nn, optim

import lerac


class Remembers(Methods):
    def forward(self, x):
        self.features = self.net(x)
        return self.features.tanh()


class KeepsDetached(Methods):
    """For whoever asks later, as memories of features and recurrent states do."""

    def forward(self, x):
        self.box = {"features": [self.net(x).detach() * 2]}
        return self.net(x)


def kept(parts, x):
    hidden = parts[0](x)
    return parts[1](parts[0].box["features"][0]).sum() + hidden.sum()


def over_numpy(parts, x):
    hidden = parts[0](x)
    return parts[1](torch.from_numpy(hidden.detach().numpy() * 2)).sum() + hidden.sum()


def over_lists(parts, x):
    hidden = parts[0](x)
    return parts[1](torch.tensor(hidden.tolist())).sum() + hidden.sum()


def over_numbers(parts, x):
    hidden = parts[0](x)
    tokens = torch.tensor([row.argmax().item() for row in hidden])
    return parts[1](F.one_hot(tokens, WIDTH).float()).sum() + hidden.sum()


def over_gradients(parts, x):
    x = x.clone().requires_grad_()
    parts[0](x).sum().backward()
    return parts[1](x.detach() + x.grad.sign()).sum()


def remembered(parts, x):
    parts[0](x)
    return parts[1](parts[0].features).sum()


def only_evaluated(parts, x):
    with torch.no_grad():
        target = parts[1].eval()(x)
    return F.mse_loss(parts[0](x), target)


def scaled_before(parts, x):
    features = parts.encoder(x * parts.scale)
    return (parts.heads["a"](features) + parts.heads["b"](features)).sum()


def with_prompt(parts, x):
    return parts[1](x + parts[0]()).sum()


def compiled_after(parts, x):
    parts[1].compile(backend="eager", fullgraph=True)
    return parts[1](parts[0](x)).sum()


def compiled_step(parts, x):
    step = torch.compile(lambda x: parts[1](parts[0](x)).sum(), backend="eager", fullgraph=True)
    return step(x)


def compiled_between(parts, x):
    between = torch.compile(lambda x: x * 2, backend="eager", fullgraph=True)
    hidden = parts[0](x)
    there = between(hidden.detach())
    return parts[1](torch.from_numpy(np.asarray(there))).sum() + hidden.sum()


UNCLEAR = "cannot tell what '{}' was called with: {}"
LEFT = UNCLEAR.format(1, "what another module gave was taken out of torch")
COMPILED = "does not see what is called inside of torch.compile, as {} of this ModuleList is"
REFUSED = {
    "a method": (two, lambda p, x: p[1](p[0].encode(x)).sum(), NOT_CALLED.format(0)),
    "a method afterwards": (two, lambda p, x: p[0].encode(p[1](x)).sum(), NOT_CALLED.format(0)),
    "a method and a call": (two, lambda p, x: p[1](p[0].encode(x)).sum() + p[0](x).sum(), UNCLEAR.format(1, "0.net.")),
    "forward itself": (two, lambda p, x: p[1].forward(p[0](x)).sum(), NOT_CALLED.format(1)),
    "not called": (two, lambda p, x: p[0].loss(x), NOT_CALLED.format(1)),
    "evaluated only": (two, only_evaluated, NOT_CALLED.format(1)),
    "remembered": (lambda: two(Remembers), remembered, UNCLEAR.format(1, "0.net.layers.")),
    "kept": (lambda: two(KeepsDetached), kept, UNCLEAR.format(1, "'0' keeps it in an attribute")),
    "numpy": (two, over_numpy, LEFT),
    "lists": (two, over_lists, LEFT),
    "numbers": (two, over_numbers, LEFT),
    "gradients": (two, over_gradients, UNCLEAR.format(1, "it was made of a gradient")),
    "a parameter before": (Holder, scaled_before, UNCLEAR.format("encoder", "scale was used outside of any forward")),
    "a prompt before": (lambda: two(Prompt), with_prompt, UNCLEAR.format(1, "0.weight met other tensors")),
    "compiled in place": (two, compiled_after, COMPILED.format("'1'")),
    "compiled together": (two, compiled_step, COMPILED.format("'0', '1'")),
    "compiled between, without gradients": (two, compiled_between, LEFT),
    "not reached": (Holder, lambda p, x: (p.heads["a"](p.encoder(x)) + p.heads["b"](x)).sum(), "does not meet scale"),
}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # the compiler looks at it
@pytest.mark.parametrize(("parts", "loop", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_told_is_refused_with_what_to_pass(parts, loop, message):
    torch._dynamo.reset()
    parts = parts()
    optimizer, curriculum = make(parts)
    before = copy.deepcopy(parts)
    loop(parts, torch.randn(3, WIDTH)).backward()
    with pytest.raises((RuntimeError, ValueError), match=message) as refusal:
        optimizer.step()
    assert "layers=lerac.find_layers(wrapper, *example_inputs)" in str(refusal.value)
    assert same(parts, before)
    assert curriculum.steps == 0


def test_what_the_refusal_says_to_do_works():
    parts = two()
    x = torch.randn(3, WIDTH)

    def loop(parts, x):
        return parts[1](parts[0].encode(x)).sum()

    wrapper = Does(loop, parts)
    optimizer = optim.SGD(parts.parameters(), lr=0.1)
    curriculum = lerac.LeRaC(optimizer, wrapper, k=10, layers=lerac.find_layers(wrapper, x))
    loop(parts, x).backward()
    optimizer.step()
    assert list(by_name(curriculum)) == [
        "parts.0.net.layers.0.weight",
        "parts.0.net.layers.1.weight",
        "parts.1.layers.0.weight",
    ]


def test_example_inputs_do_not_say_how_several_modules_follow_each_other():
    parts, x = chains(2, 2), torch.ones(3, WIDTH)
    message = r"no forward, .* how its 2 modules \(0, 1\) follow each other.*find_layers\(wrapper.*without layers="
    with pytest.raises(ValueError, match=message):
        lerac.find_layers(parts, x)
    alone = nn.ModuleList([nn.ReLU(), nn.ModuleDict({"only": parts[0]})])
    assert [layer.depth for layer in lerac.find_layers(alone, x)] == [0, 1]
    with pytest.raises(ValueError, match="no forward and holds no module that has one"):
        lerac.find_layers(nn.ParameterList([torch.ones(1)]), x)


def test_modules_of_torchscript_are_refused():
    with pytest.warns(FutureWarning):
        scripted = torch.jit.script(nn.Linear(WIDTH, WIDTH))
    with pytest.raises(TypeError, match=r"'0' was compiled by torch.jit, .*pass layers="):
        make(nn.ModuleList([scripted, Chain(1)]))
