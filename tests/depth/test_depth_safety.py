"""What measuring must leave alone, and what it says when it cannot be done."""

import random
import threading
from functools import partial

import pytest
import torch
from torch import nn

import lerac
import lerac.depth
from lerac.depth import example_of, find_layers, measure_depths
from lerac.layers import registration_layers

numpy = pytest.importorskip("numpy")


class Normalised(nn.Module):
    """Everything that a forward pass may change: statistics, caches, counters, random states."""

    def __init__(self, fails=False):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.norm = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        self.head = nn.Linear(4, 2).requires_grad_(False)
        self.cache, self.calls, self.fails = {}, 0, fails
        self.lock, self.library = None, numpy

    def forward(self, x):
        self.calls += 1
        torch.nn.init.zeros_(self.body[0].bias)
        x = self.body(x + torch.rand_like(x) * random.random() * numpy.random.rand())
        self.cache["x"] = x
        if self.fails:
            raise RuntimeError("halfway")
        return self.head(self.norm(x.mean((2, 3))))


def snapshot(model):
    state = {name: (id(t), t._version, t.clone()) for name, t in model.state_dict(keep_vars=True).items()}
    flags = {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()}
    hooks = {n: [list(m._forward_hooks), list(m._forward_pre_hooks)] for n, m in model.named_modules()}
    modes = {name: module.training for name, module in model.named_modules()}
    random_state = torch.get_rng_state(), random.getstate(), numpy.random.get_state()
    grad_mode = torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled()
    return state, flags, hooks, modes, random_state, grad_mode, dict(model.cache), model.calls


def same(a, b):
    if isinstance(a, torch.Tensor | numpy.ndarray):
        return bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a is b or a == b


def model_with_everything(**options):
    model = Normalised(**options)
    model.body[1].eval()
    model.body[0].weight.grad = torch.ones_like(model.body[0].weight)
    model.norm.register_forward_hook(lambda module, args, result: result + 1)
    return model


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_stays_as_it_is(real, fails, monkeypatch):
    if real:
        trace = lerac.depth.trace
        monkeypatch.setattr(lerac.depth, "trace", lambda *a, **k: trace(*a, **{**k, "real": True}))
    model = model_with_everything(fails=fails)
    before = snapshot(model)
    x = torch.ones(2, 3, 8, 8)
    if fails:
        with pytest.raises(ValueError, match="halfway"):
            measure_depths(model, x)
    else:
        assert len(measure_depths(model, x)) == 3
    assert same(before, snapshot(model))
    assert x.eq(1).all()


class Hooked(nn.Module):
    """Takes from hooks what it needs, as nets do that collect features from a backbone."""

    def __init__(self):
        super().__init__()
        self.head, self.body, self.features = nn.Linear(4, 2), nn.Linear(4, 4), {}
        self.body.register_forward_hook(partial(self.collect, "body"))
        self.body.register_forward_pre_hook(lambda module, args: (self.scaled(args[0]),))
        self.body.register_forward_hook(lambda module, args, result: result + 1)

    def collect(self, name, module, args, result):
        self.features[name] = result

    def scaled(self, x):
        return 2 * x

    def forward(self, x):
        self.features.clear()
        self.body(x)
        return self.head(self.features["body"])


def test_hooks_that_belong_to_the_model_act_on_the_copy():
    model = Hooked()
    model(torch.zeros(1, 4))
    before = model.features["body"]
    assert [layer.name for layer in measure_depths(model, torch.zeros(3, 4))] == ["body", "head"]
    assert model.features["body"] is before


def test_hooks_from_outside_see_nothing():
    class Recorder:
        def __init__(self):
            self.seen, self.lock, self.dataset = [], threading.Lock(), object()

        def __call__(self, module, args, result):
            self.seen.append(result)

        def method(self, module, args):
            self.seen.append(args)

        def __deepcopy__(self, memo):
            raise AssertionError("it may be large")

    seen, recorder, model = [], Recorder(), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].register_forward_hook(lambda module, args, result: seen.append(result))
    model[0].register_forward_pre_hook(recorder.method)
    model[1].register_forward_hook(recorder)
    model[1].register_forward_hook(partial(recorder, None))
    assert len(measure_depths(model, torch.zeros(1, 4))) == 2
    assert not seen
    assert not recorder.seen


def test_large_models_cost_nothing(monkeypatch):
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(10**6, 10**6), nn.Linear(10**6, 10**6))
    assert [layer.name for layer in find_layers(model, torch.zeros(4, 10**6, device="meta"))] == ["0", "1"]


def test_the_same_result_every_time():
    model = Normalised()
    assert measure_depths(model, torch.ones(1, 3, 8, 8)) == measure_depths(model, torch.ones(5, 3, 9, 9))


def test_an_example_has_shapes_but_not_the_batch():
    batch = {"image": torch.rand(64, 3, 32, 32), "mask": torch.ones(64, dtype=torch.bool), "scale": 3}
    with torch.autocast("cpu", torch.bfloat16):
        example = example_of((batch["image"],), batch)
    image, mask = example.args[0], example.kwargs["mask"]
    assert image is example.kwargs["image"]
    assert (image.shape, image.dtype, image.stride()) == ((64, 3, 32, 32), torch.float32, (3072, 1024, 32, 1))
    assert image.untyped_storage().device.type == "meta"
    assert mask.all()
    assert mask is not batch["mask"]
    assert example.kwargs["scale"] == 3
    assert example.autocast is torch.bfloat16


def test_layers_from_an_example_are_those_from_the_batch():
    model, x = Normalised(), torch.rand(2, 3, 64, 64)
    assert find_layers(model, example_of((x,), {})) == find_layers(model, x)
    assert find_layers(model, example_of((), {"x": x})) == find_layers(model, x=x)


class DataDependent(nn.Module):
    """Needs values, so an example's have to be made up."""

    def __init__(self):
        super().__init__()
        self.second, self.first = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        y = self.first(x)
        return self.second(y[y.sum(1) != 0])


@pytest.mark.parametrize("describe", [False, True])
def test_a_real_forward_pass_where_values_decide(describe):
    x = torch.rand(2000, 4)
    model, state = DataDependent(), torch.get_rng_state()
    layers = find_layers(model, example_of((x,), {}) if describe else x)
    assert torch.equal(state, torch.get_rng_state())
    assert [layer.name for layer in layers] == ["first", "second"]


def test_what_cannot_be_traced_is_refused_with_the_way_out():
    """Its second layer is registered first: any guess would turn the curriculum round."""
    model, x = DataDependent().to("meta"), torch.zeros(2, 4, device="meta")
    for measure in (measure_depths, find_layers):
        with pytest.raises(ValueError, match=r"of DataDependent could not be measured: Dynamic.*nonzero.*layers=") as e:
            measure(model, x)
        assert "lerac.registration_layers(model)" in str(e.value)
    assert [layer.name for layer in registration_layers(model)] == ["second", "first"]


class RoundTrip(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(torch.from_numpy(x.numpy().copy()))


def test_a_lost_trail_is_told():
    with pytest.raises(ValueError, match="no parameter meets the input"):
        find_layers(RoundTrip(), torch.zeros(1, 4))


@pytest.mark.filterwarnings("ignore:LeRaC can tell a single layer apart")
def test_the_curriculum_refuses_too_and_takes_the_order_of_registration_where_it_is_given():
    model = RoundTrip()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    curriculum = lerac.LeRaC(optimizer, model, k=2)
    model(torch.ones(1, 4))
    with pytest.raises(ValueError, match=r"RoundTrip could not be measured.*layers=.*registration_layers"):
        optimizer.step()
    assert optimizer.param_groups[0]["lerac_step"] == 0
    curriculum.remove()
    lerac.LeRaC(optimizer, model, k=2, layers=lerac.registration_layers(model))
    optimizer.step()
    assert optimizer.param_groups[0]["lerac_step"] == 1


def test_a_model_without_parameters():
    with pytest.raises(ValueError, match="ReLU has no parameters, so it has no layers"):
        find_layers(nn.ReLU(), torch.zeros(1))


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "Sequential.forward does not take these .*: missing a required argument: 'input'"),
        ((1,), {"y": 2}, "unexpected keyword argument 'y'"),
    ],
)
def test_inputs_that_forward_does_not_take(args, kwargs, message):
    with pytest.raises(TypeError, match=message):
        find_layers(nn.Sequential(nn.Linear(4, 4)), *args, **kwargs)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_inputs_of_the_wrong_shape(device):
    model = nn.Sequential(nn.Linear(4, 4)).to(device)
    with pytest.raises(ValueError, match=r"Sequential.forward fails on these example inputs, RuntimeError: .*5") as e:
        find_layers(model, torch.zeros(1, 5))
    assert isinstance(e.value.__cause__, RuntimeError)


def test_lazy_modules_need_a_forward_pass_first():
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(ValueError, match=r"parameters without a shape \(0\.weight, 0\.bias\).*Run one"):
        find_layers(model, torch.zeros(1, 4))
    model(torch.zeros(1, 4))
    assert len(find_layers(model, torch.zeros(1, 4))) == 1


@pytest.mark.filterwarnings("ignore")  # gloo resolves host names, DTensor warns of its own internals
def test_sharded_models_are_refused(tmp_path):
    from torch.distributed.fsdp import fully_shard

    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        model = nn.Sequential(nn.Linear(4, 4))
        layers = find_layers(model, torch.zeros(1, 4))
        fully_shard(model, mesh=mesh)
        with pytest.raises(ValueError, match=r"are sharded \(0\.weight, 0\.bias\).* before sharding.*layers="):
            find_layers(model, torch.zeros(1, 4))
        assert layers[0].parameters == ("0.weight", "0.bias")
    finally:
        torch.distributed.destroy_process_group()
