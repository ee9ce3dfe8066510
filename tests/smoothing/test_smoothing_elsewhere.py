"""`lerac.CBS` in compiled, copied, pickled and checkpointed models, and together with `lerac.LeRaC`."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

import lerac
from lerac.study.models import MODELS


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 3))


def images(seed=1):
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def step(cbs, times=1):
    for _ in range(times):
        cbs.step()


# torch.compile


@pytest.fixture
def counter():
    torch.compiler.reset()
    yield CompileCounter()
    torch.compiler.reset()


@pytest.mark.parametrize("first", ["compile", "CBS"])
def test_a_compiled_model_is_compiled_once_and_again_at_the_end(first, counter):
    model, x = network(), images()
    if first == "compile":
        compiled = torch.compile(model, backend=counter, fullgraph=True)
        cbs = lerac.CBS(compiled, every=1)
    else:
        cbs = lerac.CBS(model, every=1)
        compiled = torch.compile(model, backend=counter, fullgraph=True)
    while not cbs.finished:
        assert torch.allclose(compiled(x), model(x), atol=1e-6)
        cbs.step()
    assert cbs.steps == 18
    assert counter.frame_count == 1
    assert torch.equal(compiled(x), model(x))
    assert counter.frame_count == 2  # without the filter
    early = cbs.state_dict() | {"steps": 3}
    cbs.load_state_dict(early)
    assert cbs.sigma == 0.9**3
    assert torch.allclose(compiled(x), model(x), atol=1e-6)
    assert not torch.allclose(compiled(x), network()(x), atol=1e-3)
    assert counter.frame_count == 2
    cbs.remove()
    assert hooks(model) == 0
    assert torch.equal(compiled(x), model(x))


def test_compiled_training_takes_the_same_steps():
    torch.compiler.reset()
    nets = [network(), network()]
    curricula = [lerac.CBS(net, every=1) for net in nets]
    compiled = torch.compile(nets[1], backend="aot_eager")
    for called, net, cbs in zip((nets[0], compiled), nets, curricula, strict=True):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for i in range(4):
            optimizer.zero_grad()
            called(images(i)).square().sum().backward()
            optimizer.step()
            cbs.step()
    for ours, theirs in zip(nets[1].parameters(), nets[0].parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    torch.compiler.reset()


def test_compiled_tokens(counter):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).double()
    cbs = lerac.CBS(model, every=1)
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    x, mask = torch.randn(2, 5, 8, dtype=torch.float64), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    masks = {"mask": torch.eye(5).bool(), "src_key_padding_mask": mask, "is_causal": False}
    for _ in range(4):
        assert torch.allclose(compiled(x, **masks), model(x, **masks), atol=1e-12)
        cbs.step()
    assert counter.frame_count == 1


def test_a_model_that_ran_compiled_before_is_not_smoothed_in_silence(counter):
    compiled = torch.compile(network(), backend=counter)
    compiled(images())
    cbs = lerac.CBS(compiled, every=1)
    compiled(images())
    with pytest.warns(UserWarning, match="A compiled model that ran before does not see CBS: build CBS first"):
        cbs.step()
    cbs.step()  # once is enough


# Copies


def test_a_copy_of_the_model_is_smoothed_as_the_model_is():
    model, x = network(), images()
    cbs = lerac.CBS(model, every=1)
    early = cbs.state_dict()
    average = AveragedModel(model)
    assert torch.equal(average(x), model(x))
    step(cbs, 3)
    assert torch.equal(average(x), model(x))
    step(cbs, 20)
    assert cbs.finished
    assert torch.equal(average(x), model(x))
    cbs.load_state_dict(early)
    assert torch.equal(average(x), model(x))
    cbs.remove()
    assert torch.equal(average(x), model(x))
    assert torch.equal(model(x), network()(x))


def test_a_new_cbs_takes_over_a_copy():
    model, x = network(), images()
    cbs = lerac.CBS(model, every=1)
    other = copy.deepcopy(model)
    own = lerac.CBS(other, every=1)
    assert hooks(other) == 2
    step_with(model, cbs, x)
    assert not torch.equal(other(x), model(x))
    own.remove()
    assert hooks(other) == 0
    assert hooks(model) == 2


def test_nothing_of_an_earlier_copy_stays_where_a_new_cbs_does_not_smooth():
    model = network()
    lerac.CBS(model, every=1)
    other = copy.deepcopy(model)
    own = lerac.CBS(other, every=1, modules=list(lerac.CBS(network(), every=1).state_dict()["modules"][:1]))
    assert hooks(other) == 1
    own.remove()
    assert hooks(other) == 0


def through_pickle(objects):
    return pickle.loads(pickle.dumps(objects))


def through_torch(objects):
    file = io.BytesIO()
    torch.save(objects, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle, through_torch])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_model_and_cbs_copied_together_are_on_their_own(copied, order):
    model, x = network(), images()
    cbs = lerac.CBS(model, every=1)
    model(x)
    step(cbs, 2)
    pair = (model, cbs)
    twins = copied(tuple(pair[i] for i in order))
    twin, its = (twins[i] for i in order)
    assert torch.equal(twin(x), model(x))
    assert its.sigma == cbs.sigma
    step(its, 2)
    assert not torch.equal(twin(x), model(x))
    step(cbs, 2)
    assert torch.equal(twin(x), model(x))
    its.remove()
    assert hooks(twin) == 0
    assert hooks(model) == 2
    assert torch.equal(twin(x), network()(x))


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network()
        self.cbs = lerac.CBS(self, every=1)

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])
def test_a_model_that_keeps_its_own_cbs(copied):
    model, x = Own(), images()
    twin = copied(model)
    assert torch.equal(twin(x), model(x))
    twin.cbs.step()
    assert not torch.equal(twin(x), model(x))
    twin.cbs.remove()
    assert hooks(twin) == 0
    assert hooks(model) == 2


@pytest.mark.parametrize("copied", [through_pickle, through_torch])
def test_a_pickled_model_keeps_its_sigma(copied):
    model, x = network(), images()
    cbs = lerac.CBS(model, every=1)
    step_with(model, cbs, x)
    twin, expected = copied(model), model(x)
    step(cbs, 3)
    assert torch.equal(twin(x), expected)
    lerac.CBS(twin, every=1).remove()
    assert torch.equal(twin(x), network()(x))


def step_with(model, cbs, x):
    model(x)
    cbs.step()


def test_checkpoints_are_those_of_the_plain_model():
    model = network()
    lerac.CBS(model, every=1)
    network(seed=5).load_state_dict(model.state_dict())
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    assert torch.load(file).keys() == network().state_dict().keys()


# Elsewhere


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_activation_checkpointing(use_reentrant):
    model, x = network(), images().requires_grad_()
    lerac.CBS(model, every=1)
    (expected,) = torch.autograd.grad(model(x).square().sum(), x)
    checkpoint(model, x, use_reentrant=use_reentrant).square().sum().backward()
    assert torch.allclose(x.grad, expected)


def test_a_step_between_forward_and_backward_is_an_error():
    model = network()
    cbs = lerac.CBS(model, every=1)
    loss = model(images()).sum()
    cbs.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_fake_tensors_leave_nothing_behind():
    from torch._subclasses.fake_tensor import FakeTensorMode

    model, x = network(), images()
    lerac.CBS(model, every=1)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert model(mode.from_tensor(x)).shape == (2, 3)
    assert model(x).isfinite().all()


def test_export():
    model, x = network().eval(), images()
    lerac.CBS(model, every=1)
    exported = torch.export.export(model, (x,)).module()
    assert torch.allclose(exported(x), model(x), atol=1e-6)


def test_together_with_lerac():
    """Layers are those of the plain network, and the steps are those of one smoothed and rated by hand."""
    model, reference = MODELS["small-cnn"](1, 10), MODELS["small-cnn"](1, 10)
    reference.load_state_dict(model.state_dict())
    x = torch.randn(4, 1, 8, 8)
    layers = lerac.find_layers(model, x)
    for net, given in ((model, None), (reference, layers)):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        cbs = lerac.CBS(net, every=2)
        curriculum = lerac.LeRaC(optimizer, net, k=4, ratio=1e-3, layers=given)
        for _ in range(5):
            optimizer.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()
            cbs.step()
        assert curriculum.finished
        assert curriculum.layers == layers
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(ours, theirs)
