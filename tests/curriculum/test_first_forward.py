"""`LeRaC(optimizer, model, k=…)` finds the layers by itself, however the model is called, or says what to pass."""

import collections
import copy
import dataclasses
import gc
import pickle
import weakref

import pytest
import torch
from tests.conftest import Net, layers_of, loss_of, make_net, same, train
from torch import nn, optim
from torch.utils.checkpoint import checkpoint

import lerac

K, RATIO = 6, 1e-3
NAMES = ["stem", "body.0", "body.2", "head"]


def make(model, **options):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    return optimizer, lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, **options)


def found(curriculum):
    return None if curriculum.layers is None else [layer.name for layer in curriculum.layers]


def test_the_first_training_step_is_already_the_curriculums():
    model, told = make_net(), make_net()
    optimizer, curriculum = make(model)
    reference, _ = make(told, layers=layers_of(told))
    assert curriculum.layers is None
    train(model, optimizer, range(1))
    train(told, reference, range(1))
    assert found(curriculum) == NAMES
    assert same(model, told)
    assert not model._forward_pre_hooks
    train(model, optimizer, range(1, 2 * K))
    train(told, reference, range(1, 2 * K))
    assert same(model, told)


class HeadFirst(Net):
    """Registers its head first."""

    def __init__(self):
        super().__init__()
        head = self.head
        del self.head
        self._modules = {"head": head, **self._modules}


def test_layers_follow_the_data_and_not_the_registration():
    model = HeadFirst()
    assert next(iter(dict(model.named_parameters()))) == "head.weight"
    optimizer, curriculum = make(model)
    train(model, optimizer, range(1))
    assert found(curriculum) == NAMES


def test_until_then_it_says_so():
    model = make_net()
    _, curriculum = make(model)
    with pytest.raises(RuntimeError, match=r"not found yet.*pass layers=lerac.find_layers\(model, example_input\)"):
        curriculum.lrs()
    assert str(curriculum) == "LeRaC(step 0 of 6, ratio 0.001, exponential, layers not found yet)"
    assert curriculum.state_dict()["layers"] is None


def test_evaluation_does_not_count():
    model = make_net()
    optimizer, curriculum = make(model)
    with torch.no_grad():
        model.eval()(torch.zeros(5, 6))
    model.train()
    with pytest.raises(RuntimeError, match="LeRaC has seen no forward pass of Net in training mode"):
        optimizer.step()
    assert curriculum.steps == 0
    train(model, optimizer, range(1))
    assert found(curriculum) == NAMES


class OtherMethod(Net):
    def forward(self, x):
        raise AssertionError("never called")

    def training_step(self, x):
        return self.head(self.body(self.stem(x)))


@pytest.mark.parametrize("call", [lambda m, x: m.training_step(x), lambda m, x: m.stem(x)], ids=["method", "submodule"])
def test_a_model_whose_forward_is_not_called_says_what_to_pass(call):
    model = OtherMethod()
    optimizer, curriculum = make(model)
    before = copy.deepcopy(model)
    call(model, torch.zeros(2, 6)).sum().backward()
    with pytest.raises(RuntimeError, match=r"no forward pass of OtherMethod .*pass layers=lerac.find_layers\("):
        optimizer.step()
    assert same(model, before)  # and never trained in silence without a curriculum
    assert curriculum.steps == 0


def test_a_forward_inside_the_closure_is_seen():
    """As Lightning does it: the whole forward and backward pass happen inside `step(closure)`."""
    model, told = make_net(), make_net()
    optimizer, curriculum = make(model)
    reference, _ = make(told, layers=layers_of(told))

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    optimizer.step(closure)
    train(told, reference, range(1))
    assert found(curriculum) == NAMES
    assert same(model, told)


@pytest.mark.parametrize("given", ["model", "wrapped"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_data_parallel(given, order):
    model = make_net()
    wrapped = nn.DataParallel(model) if order == "before" else None
    given_before = model if wrapped is None or given == "model" else wrapped
    optimizer, curriculum = make(given_before)
    wrapped = wrapped or nn.DataParallel(model)
    train(wrapped, optimizer, range(1))
    assert found(curriculum) == NAMES


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("how", ["wrapper given", "model given", "in place"])
def test_compiled_models_keep_one_full_graph(how, order):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def compiled(model):
        if how == "in place":
            model.compile(backend=backend, fullgraph=True)
            return model
        return torch.compile(model, backend=backend, fullgraph=True)

    torch._dynamo.reset()
    model = HeadFirst()
    told = copy.deepcopy(model)
    called = compiled(model) if order == "before" else model
    optimizer, curriculum = make(called if how == "wrapper given" else model)
    called = compiled(model) if order == "after" else called
    reference, _ = make(told, layers=layers_of(told))
    train(called, optimizer, range(2 * K))
    train(told, reference, range(2 * K))
    assert found(curriculum) == NAMES
    assert len(graphs) == 1  # finding the layers neither breaks the graph nor compiles it again
    assert not [node for node in graphs[0].graph.nodes if node.op == "call_function" and "empty" in str(node.target)]
    for ours, theirs in zip(model.parameters(), told.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_compiled_step_finds_them_too():
    torch._dynamo.reset()
    model = HeadFirst()
    told = copy.deepcopy(model)
    optimizer, curriculum = make(model)
    reference, _ = make(told, layers=layers_of(told))
    step = torch.compile(optimizer.step, backend="eager")
    for at in range(3):
        optimizer.zero_grad()
        loss_of(model, at).backward()
        step()
    train(told, reference, range(3))
    assert found(curriculum) == NAMES
    for ours, theirs in zip(model.parameters(), told.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_under_autocast():
    model = make_net()
    optimizer, curriculum = make(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(model, 0)
    loss.backward()
    optimizer.step()
    assert found(curriculum) == NAMES


class Checkpointed(Net):
    def forward(self, x):
        x = checkpoint(lambda y: self.stem(y).tanh(), x, use_reentrant=False)
        return self.head(checkpoint(self.body, x, use_reentrant=False).tanh())


def test_with_activation_checkpointing():
    model = Checkpointed()
    optimizer, curriculum = make(model)
    train(model, optimizer, range(2))
    assert found(curriculum) == NAMES


class Loss(nn.Module):
    """A loss with parameters, as metric learning has them."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Linear(3, 3)

    def forward(self, x):
        return self.scale(x)


@pytest.mark.parametrize(
    "wrap",
    [lambda m: m, nn.DataParallel, lambda m: torch.compile(m, backend="eager")],
    ids=["plain", "DataParallel", "compiled"],
)
@pytest.mark.parametrize("order", ["model first", "loss first"])
def test_of_a_list_the_module_that_is_called_with_what_another_gave_comes_after_it(order, wrap):
    model, loss = HeadFirst(), Loss()
    called = wrap(model)
    both = nn.ModuleList([called, loss] if order == "model first" else [loss, called])
    optimizer = optim.SGD(both.parameters(), lr=0.1)
    curriculum = lerac.LeRaC(optimizer, both, k=K, ratio=RATIO)
    loss(called(torch.ones(2, 6))).sum().backward()
    optimizer.step()
    prefix = "0" if order == "model first" else "1"
    depth = {name: layer.depth for layer in curriculum.layers for name in layer.parameters}
    parts = [depth[f"{prefix}.{name}.weight"] for name in NAMES]
    assert parts == [0, 1, 2, 3]
    assert depth[f"{1 - int(prefix)}.scale.weight"] == 4


Pair = collections.namedtuple("Pair", ["x", "y"])


@dataclasses.dataclass
class Record:
    x: torch.Tensor
    y: torch.Tensor


class Structured(Net):
    def forward(self, batch, scale=1.0):
        x = batch["x"] if isinstance(batch, dict) else batch[0] if isinstance(batch, list) else batch.x
        return super().forward(x) * scale


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize(
    "pack",
    [lambda x: {"x": x, "y": x}, lambda x: [x, x], lambda x: Pair(x, x), lambda x: Record(x, x)],
    ids=["dict", "list", "namedtuple", "dataclass"],
)
def test_inputs_of_any_structure_are_understood_and_let_go(pack, compiled):
    torch._dynamo.reset()
    model = Structured()
    called = torch.compile(model, backend="eager", fullgraph=True) if compiled else model
    optimizer, curriculum = make(model)
    for _ in range(2):
        batch = torch.randn(5000, 6)
        alive = weakref.ref(batch)
        called(pack(batch), scale=2.0).sum().backward()
        del batch
        optimizer.step()
    gc.collect()
    assert alive() is None
    assert found(curriculum) == NAMES


def test_the_batch_is_not_kept():
    model = make_net()
    optimizer, curriculum = make(model)
    batch = torch.randn(5000, 6)
    alive = weakref.ref(batch)
    model(batch).sum().backward()
    del batch
    gc.collect()
    assert alive() is None
    optimizer.step()
    assert found(curriculum) == NAMES


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_of_the_model_bring_no_curriculum_along(copier):
    """Moving averages of the weights are made this way, often before the first step."""
    model = make_net()
    optimizer, curriculum = make(model)
    average = copier(model)
    average(torch.zeros(1, 6))
    [hook] = average._forward_pre_hooks.values()
    assert vars(hook) == {"path": "", "eager": None, "compiled": None}
    with pytest.raises(RuntimeError, match="no forward pass of Net"):
        optimizer.step()
    train(model, optimizer, range(1))
    assert found(curriculum) == NAMES


def test_a_copy_of_everything_finds_its_own_layers():
    model = make_net()
    optimizer, curriculum = make(model)
    model2, optimizer2, curriculum2 = copy.deepcopy((model, optimizer, curriculum))
    train(model2, optimizer2, range(1))
    assert (found(curriculum), found(curriculum2)) == (None, NAMES)
    train(model, optimizer, range(1))
    assert same(model, model2)


def test_a_ratio_for_layers_that_there_are_not_is_named_when_they_are_found():
    model = make_net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, k=K, ratio={"stem": 1.0, "tail": 0.1})
    with pytest.raises(ValueError, match=r"ratio has no factor for the layers body\.0, body\.2, head"):
        train(model, optimizer, range(1))


def test_removing_before_anything_was_found_leaves_no_trace():
    model = make_net()
    optimizer, curriculum = make(model)
    curriculum.remove()
    assert not model._forward_pre_hooks
    assert set(curriculum.lrs().values()) == {0.1}
    train(model, optimizer, range(1))


def test_a_finished_curriculum_needs_no_layers():
    model = make_net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["lerac_step"] = K
    curriculum = lerac.LeRaC(optimizer, model, k=K)
    assert not model._forward_pre_hooks
    assert list(curriculum.lrs().values()) == [0.1] * 8
    train(model, optimizer, range(1))
    assert curriculum.layers is None
