"""Signal-to-noise ratios: the estimator, weight noise and Theorem 1."""

import copy
import csv
import math
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import make_net
from torch import nn
from torch.nn.utils import parametrizations

import lerac
from lerac.snr import LayerSNR, layer_snr, product_snr, with_weight_noise


def convolutional():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)
    )


IMAGES = torch.randn(24, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def by_hand(model, reference, x):
    """The linear layers of `Net` in NumPy, in float64 from the start."""
    ratios = []
    values = [np.asarray(x, np.float64)] * 2
    for name in ("stem", "body.0", "body.2", "head"):
        values = [
            v @ net.get_submodule(name).weight.detach().numpy().astype(np.float64).T
            + net.get_submodule(name).bias.detach().numpy().astype(np.float64)
            for v, net in zip(values, (reference, model), strict=True)
        ]
        signal, features = values
        ratios.append(10 * np.log10((signal**2).sum() / ((features - signal) ** 2).sum()))
        values = [np.tanh(v) for v in values]
    return ratios


def test_agrees_with_numpy():
    model, reference, x = make_net(1), make_net(2), torch.randn(40, 6)
    found = layer_snr(model, [x], reference)
    assert [(r.name, r.depth, r.count) for r in found] == [
        ("stem", 0, 320), ("body.0", 1, 320), ("body.2", 2, 320), ("head", 3, 120)
    ]  # fmt: skip
    assert [r.snr_db for r in found] == pytest.approx(by_hand(model, reference, x), abs=1e-4)
    exact = layer_snr(model.double(), [x.double()], reference.double())
    assert [r.snr_db for r in exact] == pytest.approx(by_hand(model, reference, x), abs=1e-10)


def test_means_are_part_of_the_power_and_channels_are_pooled():
    reference = nn.Linear(1, 2, bias=False).requires_grad_(False)
    reference.weight.copy_(torch.tensor([[3.0], [0.0]]))
    model = copy.deepcopy(reference)
    model.weight.copy_(torch.tensor([[3.0], [0.3]]))
    [layer] = layer_snr(model, [torch.ones(7, 1)], reference)
    assert layer == LayerSNR("Linear", 0, pytest.approx(20.0, abs=1e-6), 14)


def test_batch_by_batch_is_one_big_batch():
    reference = convolutional()
    model = with_weight_noise(reference, 0.2, seed=0)
    whole = layer_snr(model, [IMAGES], reference)
    parts = layer_snr(model, (part for part in IMAGES.split(7)), reference)
    assert [(r.name, r.depth, r.count) for r in parts] == [(r.name, r.depth, r.count) for r in whole]
    # Float32 features of a batch depend on its size; those of single images repeated do not.
    single = layer_snr(model, [IMAGES[:1]] * 500, reference)
    once = layer_snr(model, [IMAGES[:1]], reference)
    assert [r.snr_db for r in single] == pytest.approx([r.snr_db for r in once], rel=1e-12)
    double = [net.double() for net in (model, reference)]
    whole, parts = (layer_snr(double[0], b, double[1]) for b in ([IMAGES.double()], IMAGES.double().split(5)))
    assert [r.snr_db for r in parts] == pytest.approx([r.snr_db for r in whole], rel=1e-12)


def test_one_batch_of_features_is_held_at_a_time():
    alive, most = set(), 0

    class Counted(nn.Linear):
        def forward(self, x):
            nonlocal most
            y = super().forward(x)
            import weakref

            alive.add(id(y))
            weakref.finalize(y, alive.discard, id(y))
            most = max(most, len(alive))
            return y

    model = nn.Sequential(*(Counted(4, 4) for _ in range(3)))
    layer_snr(model, (torch.randn(2, 4) for _ in range(50)), with_weight_noise(model, 0.1, seed=0))
    assert 1 <= most <= 2 * 3


def state(*nets):
    return [
        ([m.training for m in net.modules()], {k: v.clone() for k, v in net.state_dict().items()},
         [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()], [p.grad for p in net.parameters()])
        for net in nets
    ]  # fmt: skip


def assert_same_state(before, after):
    for (modes, tensors, hooks, grads), (modes_, tensors_, hooks_, grads_) in zip(before, after, strict=True):
        assert (modes, hooks, grads) == (modes_, hooks_, grads_)
        assert all(torch.equal(tensors[name], tensors_[name]) for name in tensors)


class Unquiet(nn.Module):
    """Changes a buffer in any mode, draws random numbers, and may raise."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("other", torch.zeros(2))
        self.register_buffer("cache", None)
        self.fails = False

    def forward(self, x):
        self.calls += 1
        self.other = self.other + 1
        self.cache = x.clone()
        self.register_buffer("late", x.clone(), persistent=False)
        random.random()
        np.random.rand()
        y = self.fc(x + torch.randn_like(x))
        if self.fails and x.shape[0] == 1:
            raise RuntimeError("as told")
        return y


def test_nothing_changes():
    reference = convolutional()
    model = with_weight_noise(reference, 0.2, seed=0)
    reference[1].eval()
    before, numbers = state(model, reference), torch.get_rng_state()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(IMAGES), batch_size=8, shuffle=True)
    assert len(layer_snr(model, loader, reference)) == 2
    assert_same_state(before, state(model, reference))
    assert torch.equal(numbers, torch.get_rng_state())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_changes_in_a_model_that_changes_itself_nor_after_an_error(fails):
    model = Unquiet()
    reference = copy.deepcopy(model)
    model.fails = fails
    buffers = dict(model.named_buffers())
    before = state(model, reference)
    x = torch.randn(3, 4)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    if fails:
        with pytest.raises(RuntimeError, match="as told"):
            layer_snr(model, [x, x[:1]], reference)
    else:
        # The same random numbers in both: no noise.
        assert [r.snr_db for r in layer_snr(model, [x, x], reference)] == [math.inf]
    assert_same_state(before, state(model, reference))
    assert [*dict(model.named_buffers())] == [*buffers] == ["calls", "other"]
    assert all(buffer is buffers[name] for name, buffer in model.named_buffers())
    assert model.cache is None
    assert not hasattr(model, "late")
    assert not model._non_persistent_buffers_set
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()
    assert torch.backends.mha.get_fastpath_enabled()


def test_between_forward_and_backward():
    model = convolutional()
    loss = model(IMAGES).square().sum()
    layer_snr(with_weight_noise(model, 0.1, seed=0), [IMAGES], model)
    loss.backward()


def test_a_curriculum_that_waits_for_its_first_batch_goes_on_waiting():
    model = make_net()
    curriculum = lerac.LeRaC(torch.optim.SGD(model.parameters(), lr=0.1), model, k=3)
    layer_snr(model, [torch.randn(2, 6)], make_net(1))
    assert curriculum.layers is None


def test_features_of_smoothed_networks_are_smoothed_and_a_copy_with_noise_follows():
    reference = convolutional()
    plain = copy.deepcopy(reference)
    cbs = lerac.CBS(reference, every=1, modules=[nn.Conv2d])
    model = with_weight_noise(reference, 0.3, seed=0)
    for sigma in (1.0, 0.9):
        assert cbs.sigma == pytest.approx(sigma)
        weights = [math.exp(-(i**2 + j**2) / (2 * sigma**2)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        kernel = (np.array(weights) / sum(weights)).reshape(3, 3)
        signal, features = (
            blurred(net[0](IMAGES).detach().double().numpy(), kernel)
            for net in (plain, with_weight_noise(plain, 0.3, seed=0))
        )
        expected = 10 * math.log10((signal**2).sum() / ((features - signal) ** 2).sum())
        assert layer_snr(model, [IMAGES], reference)[0].snr_db == pytest.approx(expected, abs=1e-4)
        cbs.step()
    cbs.remove()
    after = layer_snr(model, [IMAGES], reference)
    assert [r.snr_db for r in after] == [
        r.snr_db for r in layer_snr(with_weight_noise(plain, 0.3, seed=0), [IMAGES], plain)
    ]


def blurred(images, kernel):
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = images.shape[2:]
    return sum(kernel[i, j] * padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3))


def test_a_scripted_part_keeps_its_buffers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TorchScript itself
        scripted = torch.jit.script(nn.BatchNorm1d(3))
    model = nn.Sequential(nn.Linear(6, 3), scripted)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    reference = nn.Sequential(nn.Linear(6, 3), scripted)
    assert [r.name for r in layer_snr(model, [torch.ones(2, 6)], reference)] == ["0"]
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    assert scripted.training


def test_in_place_operations_do_not_reach_the_features_or_the_batch():
    reference = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 3, bias=False), nn.ReLU(inplace=True)).requires_grad_(
        False
    )
    reference[1].weight.copy_(-torch.eye(3))
    model = copy.deepcopy(reference)
    model[1].weight.mul_(2)
    x = torch.tensor([[1.0, 2.0, -3.0]])
    assert [r.snr_db for r in layer_snr(model, [x], reference)] == [0.0]
    assert x.tolist() == [[1.0, 2.0, -3.0]]


def test_equal_features_zero_signal_and_neither():
    net = nn.Linear(2, 2, bias=False)
    zero = copy.deepcopy(net)
    nn.init.zeros_(zero.weight)
    x = torch.ones(1, 2)
    assert layer_snr(net, [x], net)[0].snr_db == math.inf
    assert layer_snr(net, [x], zero)[0].snr_db == -math.inf
    assert math.isnan(layer_snr(zero, [x], zero)[0].snr_db)


class Shared(nn.Module):
    """One layer, called twice with inputs of different sizes; takes what batches may hold."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.act = nn.Tanh()

    def forward(self, x, scale=1.0, *, mask=None):
        y = self.fc(self.act(self.fc(x[:2]))) * scale
        return y if mask is None else y * mask


def test_a_layer_that_is_called_twice_counts_both():
    model = Shared()
    reference = with_weight_noise(model, 0.1, seed=0)
    x = torch.randn(4, 3)
    [layer] = layer_snr(model, [x], reference)
    with torch.no_grad():
        first = [net.fc(x[:2]) for net in (reference, model)]
        values = [torch.cat([f, net.fc(f.tanh())]) for f, net in zip(first, (reference, model), strict=True)]
    power, noise = values[0].square().sum(), (values[1] - values[0]).square().sum()
    assert layer.count == 12
    assert layer.snr_db == pytest.approx(10 * math.log10(power / noise), abs=1e-4)


@pytest.mark.parametrize(
    "batch",
    [torch.ones(2, 3), (torch.ones(2, 3), 2.0), [torch.ones(2, 3)], {"x": torch.ones(2, 3), "mask": torch.ones(2, 3)}],
)
def test_batches(batch):
    model = Shared()
    assert layer_snr(model, [batch], with_weight_noise(model, 0.1, seed=0))[0].count == 12


def test_recurrent_attention_and_parametrized_layers():
    lstm = nn.LSTM(3, 4, num_layers=2)
    [layer] = layer_snr(with_weight_noise(lstm, 0.1, seed=0), [torch.randn(5, 2, 3)], lstm)
    assert (layer.depth, layer.count) == (1, 5 * 2 * 4)
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    found = layer_snr(with_weight_noise(block, 0.1, seed=0), [torch.randn(2, 5, 8)], block)
    assert [r.name for r in found] == ["self_attn", "linear1", "linear2"]
    norm = nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 3)), nn.LayerNorm([2, 3]))
    assert [r.name for r in layer_snr(norm, [torch.randn(4, 2, 3)], with_weight_noise(norm, 0.1, seed=0))] == ["0"]


def test_a_module_that_holds_a_weight_and_layers_is_left_out():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.randn(1, 4))
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return {"logits": self.fc(x + self.token)}

    net = Tokens()
    assert [r.name for r in layer_snr(net, [torch.ones(1, 4)], with_weight_noise(net, 0.1, seed=0))] == ["fc"]


def test_chosen_modules_and_their_depth():
    model = convolutional()
    noisy = with_weight_noise(model, 0.1, seed=0)

    def chosen(modules):
        return [(r.name, r.depth) for r in layer_snr(noisy, [IMAGES], model, modules=modules)]

    depths = {n: layer.depth for layer in lerac.find_layers(model, IMAGES) for n in layer.parameters}
    assert chosen(None) == [("0", depths["0.weight"]), ("5", depths["5.weight"])] == [("0", 0), ("5", 2)]
    assert chosen("2") == [("2", 1)]
    assert chosen(["5", nn.Flatten]) == [("4", 1), ("5", 2)]
    assert chosen(name for name in ("0", "1")) == [("0", 0), ("1", 1)]
    assert chosen(nn.BatchNorm2d) == [("1", 1)]
    assert chosen(lambda name, module: isinstance(module, nn.Sequential)) == [("Sequential", 2)]


class Odd(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.fc, self.unused, self.answer = nn.Linear(2, 2), nn.Linear(2, 2), answer

    def forward(self, x):
        self.fc(x)
        return self.answer


def wide(width):
    return nn.Sequential(nn.Linear(6, width), nn.Linear(width, 2))


X = torch.ones(1, 6)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: layer_snr(wide(3), [], wide(3)), ValueError, "batches is empty"),
        (lambda: layer_snr(wide(3), X, wide(3)), TypeError, "got one Tensor: put it in a list"),
        (lambda: layer_snr(wide(3), {"x": X}, wide(3)), TypeError, "got one dict: put it in a list"),
        (lambda: layer_snr(wide(3), [3], wide(3)), TypeError, "a batch must be a tensor, .* got int"),
        (lambda: layer_snr(wide(3), [(X, X)], wide(3)), TypeError, "inputs only; leave labels out"),
        (lambda: layer_snr(3, [X], wide(3)), TypeError, r"model must be a torch.nn.Module, got int"),
        (lambda: layer_snr(wide(3), [X], None), TypeError, "reference must be a torch.nn.Module, got NoneType"),
        (
            lambda: layer_snr(wide(3), [X], wide(4)),
            ValueError,
            r"differs from the model at module '0': .* weight \(3, 6\), .* weight \(4, 6\)",
        ),
        (
            lambda: layer_snr(wide(3), [X], wide(3)[:1]),
            ValueError,
            r"at module '1': the model has Linear .* the reference has no such module",
        ),
        (lambda: layer_snr(wide(3), [X], nn.Sequential(nn.Linear(6, 3), nn.ReLU())), ValueError, "at module '1'"),
        (lambda: layer_snr(nn.ReLU(), [X], nn.ReLU()), ValueError, "no module of ReLU holds a weight matrix"),
        (lambda: layer_snr(wide(3), [X], wide(3), modules="2"), ValueError, "no module '2'; there are "),
        (lambda: layer_snr(wide(3), [X], wide(3), modules=nn.Conv2d), ValueError, "chooses no module of Sequential"),
        (lambda: layer_snr(wide(3), [X], wide(3), modules=3), TypeError, "modules must be names, types"),
        (lambda: layer_snr(wide(3), [X], wide(3), modules=[int]), TypeError, "modules must be names, types"),
        (lambda: layer_snr(wide(3).to("meta"), [X], wide(3)), ValueError, "'0.weight' of the model has no values"),
        (
            lambda: layer_snr(wide(3), [X], nn.Sequential(nn.LazyLinear(3))),
            ValueError,
            "of the reference has no values",
        ),
        (
            lambda: layer_snr(Odd(1), [X[:, :2]], Odd(1), modules=["unused"]),
            ValueError,
            "does not call unused",
        ),
        (
            lambda: layer_snr(Odd("a"), [X[:, :2]], Odd("a"), modules="Odd"),
            ValueError,
            "layer 'Odd' returns str, in which there is no floating-point tensor",
        ),
        (lambda: with_weight_noise(3, 0.1, seed=0), TypeError, "model must be a torch.nn.Module, got int"),
        (lambda: with_weight_noise(wide(3), -1.0, seed=0), ValueError, "size must be a finite number, 0 or more"),
        (lambda: with_weight_noise(wide(3), math.nan, seed=0), ValueError, "got nan"),
        (lambda: with_weight_noise(wide(3), 1.0, seed=-1), ValueError, "seed must be 0 or more, got -1"),
        (lambda: with_weight_noise(wide(3).to("meta"), 1.0, seed=0), ValueError, "'0.weight' has no values"),
        (lambda: product_snr(math.nan, 1), ValueError, "must be numbers in dB, got nan, 1"),
    ],
)
def test_errors(call, error, says):
    with pytest.raises(error, match=says):
        call()


@pytest.mark.parametrize("broken", ["model", "reference"])
def test_features_that_are_not_finite(broken):
    nets = {"model": wide(3), "reference": wide(3)}
    nets[broken][1].weight.data[0] = torch.inf
    with pytest.raises(ValueError, match=rf"layer '1' has features that are not finite in the {broken} \(1 of them\)"):
        layer_snr(nets["model"], [X, X], nets["reference"])


def test_features_of_another_shape_or_number():
    class Net(nn.Module):
        def __init__(self, calls, rows):
            super().__init__()
            self.fc, self.calls, self.rows = nn.Linear(2, 2), calls, rows

        def forward(self, x):
            for _ in range(self.calls):
                self.fc(x[: self.rows])
            return self.fc(x)

    x = torch.ones(3, 2)
    with pytest.raises(ValueError, match=r"layer 'fc' have the shapes \(2, 2\) in the model and \(3, 2\)"):
        layer_snr(Net(1, 2), [x], Net(1, 3))
    with pytest.raises(ValueError, match="layer 'fc' is called more often in the model"):
        layer_snr(Net(2, 3), [x], Net(1, 3))
    with pytest.raises(ValueError, match="layer 'fc' is called more often in the reference"):
        layer_snr(Net(1, 3), [x], Net(2, 3))


def test_weight_noise_has_the_stated_size_and_touches_nothing():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(200, 300), nn.Linear(300, 200), nn.BatchNorm1d(200))
    net[1].weight = nn.Parameter(3 * net[1].weight.detach())
    original, numbers = copy.deepcopy(net), torch.get_rng_state()
    noisy = with_weight_noise(net, 0.1, seed=0)
    assert torch.equal(numbers, torch.get_rng_state())
    for (name, before), now, after in zip(
        original.named_parameters(), net.parameters(), noisy.parameters(), strict=True
    ):
        assert torch.equal(before, now)
        before, after = before.detach(), after.detach()
        ratio = ((after - before).square().mean() / before.square().mean()).sqrt() if before.any() else 0.1
        # Relative standard error of a standard deviation of n values: 1 / sqrt(2 n).
        assert float(ratio) == pytest.approx(0.1, rel=5 / math.sqrt(2 * before.numel())), name
    again, other = with_weight_noise(net, 0.1, seed=0), with_weight_noise(net, 0.1, seed=1)
    assert torch.equal(again[0].weight, noisy[0].weight)
    assert not torch.equal(other[0].weight, noisy[0].weight)
    assert torch.equal(with_weight_noise(net, 0.0, seed=0)[0].weight, net[0].weight)
    assert torch.equal(noisy[2].bias, net[2].bias)  # all zero


def test_tied_weights_stay_tied():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    noisy = with_weight_noise(net, 0.1, seed=0)
    assert noisy[0].weight is noisy[1].weight
    assert not torch.equal(noisy[0].weight, net[0].weight)


RATIOS = st.floats(-60, 60)


def linear(db):
    return 10 ** (db / 10)


@given(RATIOS, RATIOS)
def test_theorem_1(first, second):
    product = product_snr(first, second)
    assert product < min(first, second)
    by_definition = 1 / (1 / linear(first) + 1 / linear(second) + 1 / linear(first) / linear(second))
    assert linear(product) == pytest.approx(by_definition, rel=1e-12)
    assert product_snr(second, first) == product


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_no_ratio_is_too_large(first, second, third):
    assert -4e6 < product_snr(first, second, third) <= min(first, second, third)
    in_steps = product_snr(product_snr(first, second), third)
    assert product_snr(first, second, third) == pytest.approx(in_steps, rel=1e-12, abs=1e-12)
    assert product_snr(first, math.inf) == first
    assert product_snr(first, -math.inf, math.inf) == -math.inf


def test_no_noise_at_all():
    assert product_snr(math.inf, math.inf) == math.inf


def powers(signal, noisy):
    return signal**2, (noisy - signal) ** 2


@pytest.mark.parametrize(("first", "second"), [(20, 20), (10, 0), (-3, 6)])
def test_theorem_1_by_drawing(first, second):
    n = 400_000
    rng = np.random.default_rng(0)
    # The clean parts need no zero mean, the noises need no normal distribution.
    u = rng.normal(1, 1, n), rng.uniform(-1, 2, n)
    sizes = [math.sqrt(p / linear(db)) for p, db in zip((2.0, 1.0), (first, second), strict=True)]  # E[u²] = 2 and 1
    z = sizes[0] * rng.normal(0, 1, n), sizes[1] * rng.uniform(-math.sqrt(3), math.sqrt(3), n)
    signal, noise = powers(u[0] * u[1], (u[0] + z[0]) * (u[1] + z[1]))
    # Standard error of a ratio of two means, to first order, from the sample itself.
    ratio = signal.mean() / noise.mean()
    error = ratio * (signal / signal.mean() - noise / noise.mean()).std() / math.sqrt(n)
    assert error < 0.02 * ratio
    assert abs(ratio - linear(product_snr(first, second))) < 4 * error


def test_where_the_noises_depend_on_each_other_the_theorem_does_not_hold():
    a = 0.1
    noise = a * np.array([-1.0, 1.0])  # each with probability ½
    ratios = []
    for clean in (1.0, -1.0):
        signal, power = powers(np.full(2, clean), clean + noise)
        ratios.append(10 * math.log10(signal.mean() / power.mean()))
    signal, power = powers(np.full(2, -1.0), (1 + noise) * (-1 + noise))
    product = 10 * math.log10(signal.mean() / power.mean())
    assert ratios == pytest.approx([20, 20])
    assert product == pytest.approx(40)
    assert product > product_snr(*ratios) + 20


def test_where_the_noises_depend_on_the_signals_the_theorem_does_not_hold():
    rng = np.random.default_rng(0)
    u, sign = rng.normal(size=(2, 1000)), rng.choice([-1, 1], size=1000)
    for clean in u:
        signal, power = powers(clean, sign * clean)
        assert 10 * math.log10(signal.mean() / power.mean()) == pytest.approx(-3.01, abs=0.5)
    assert ((sign * u[0]) * (sign * u[1]) == u[0] * u[1]).all()


def test_weight_noise_in_a_chain_of_products_is_theorem_1():
    """A diagonal network multiplies independent signals: layer j has the ratio of j noisy factors."""
    rng = torch.Generator().manual_seed(0)
    n, s = 40_000, 0.3

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(1, n, generator=rng, dtype=torch.float64))

        def forward(self, x):
            return x * self.weight

    net = nn.Sequential(Scale(), Scale(), Scale())
    found = layer_snr(with_weight_noise(net, s, seed=1), [torch.ones(1, n, dtype=torch.float64)], net)
    factor = -20 * math.log10(s)
    expected = [factor, product_snr(factor, factor), product_snr(factor, factor, factor)]
    # Relative variances of the sums of u² and of the noise's square over n weights are below 3^3 · 4 / n.
    assert [r.snr_db for r in found] == pytest.approx(expected, abs=10 * math.log10(1 + 4 * math.sqrt(108 / n)))
    assert [r.depth for r in found] == [0, 1, 2]


DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("size", "row"), [(0.1, "Theorem 1, weight noise 0.1"), (1.0, "Theorem 1, weight noise 1*")])
def test_the_rows_of_theorem_1_in_the_docs(size, row):
    [line] = [line for line in (DOCS / "snr.md").read_text().splitlines() if f"*{row}" in line]
    factor = -20 * math.log10(size)
    chain = [factor]
    while len(chain) < 5:
        chain.append(product_snr(chain[-1], factor))
    shown = [float(cell.strip(" *").replace("−", "-")) for cell in line.split("|")[2:-1]]
    assert shown == pytest.approx([*chain, chain[-1] - chain[0]], abs=0.006)


@pytest.mark.parametrize(
    ("reference", "regime", "layer", "shown"),
    [
        ("final", "lerac", "fc2", -1.14),
        ("final", "lerac", "fc3", -1.01),
        ("weight noise 0.1", "lerac", "fc3", -6.71),
        ("weight noise 0.1", "warmup", "fc2", -2.64),
        ("final", "warmup(curve=exponential)", "fc3", -1.05),
    ],
)
def test_the_means_of_early_epochs_in_the_docs_are_those_of_the_table_beside_them(reference, regime, layer, shown):
    assert f"{shown:+.2f} [".replace("-", "−") in (DOCS / "snr.md").read_text()
    early = {"conventional": 0.0, regime: 0.0}
    for row in csv.DictReader((DOCS / "snr-during-training.csv").read_text().splitlines()):
        if (row["reference"], row["layer"]) == (reference, layer) and row["regime"] in early:
            early[row["regime"]] += float(row["mean_db"]) / 7 if 1 <= int(row["epoch"]) <= 7 else 0.0
    assert early[regime] - early["conventional"] == pytest.approx(shown, abs=0.006)
