"""`lerac.CBS` against a plain transcription of its formula; its schedule, its state, and its errors."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.smoothing.smoothed import kernel, with_modules
from torch import nn

import lerac
from lerac.smoothing.filters import Filter, gaussian, is_identity
from lerac.study.models import MODELS

RESNET_SITES = ["conv1", "layer1.0.conv1", "layer1.0.conv2"] + [
    f"layer{n}.0.conv{i}" for n in (2, 3) for i in (1, 2)
]  # without the 1×1 shortcuts


def close(ours, theirs, tolerance=1e-12):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def outcome(model, x):
    """Output, gradient of the input and gradients of the parameters, in the order of registration."""
    model.zero_grad()
    x = x.clone().requires_grad_()
    y = model(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)).sum().backward()
    return [y.detach(), x.grad, *[p.grad for p in model.parameters()]]


def agree(model, names, x, tolerance=1e-12, **arguments):
    """Compare with the authors' modules in a copy."""
    theirs = with_modules(copy.deepcopy(model), names, 0.8, arguments.get("kernel_size", 3))
    cbs = lerac.CBS(model, sigma=0.8, every=1, **arguments)
    assert cbs.state_dict()["modules"] == names
    for ours, reference in zip(outcome(model, x), outcome(theirs, x), strict=True):
        close(ours, reference, tolerance)
    return cbs


def test_the_layout_of_the_authors_resnet():
    model = MODELS["small-cnn"](3, 10).double()
    agree(model, RESNET_SITES, torch.randn(2, 3, 16, 16, dtype=torch.float64))


def test_in_single_precision_to_1e_6():
    model = MODELS["small-cnn"](3, 10).eval()
    agree(model, RESNET_SITES, torch.randn(2, 3, 16, 16), tolerance=5e-6)


@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Tanh(), nn.Conv2d(8, 8, 5, groups=8)), (2, 4, 12, 13)),
        (nn.Sequential(nn.Conv2d(4, 8, 3, stride=2), nn.Tanh(), nn.Conv2d(8, 6, (1, 3), dilation=2)), (2, 4, 12, 13)),
        (nn.Sequential(nn.Conv1d(4, 8, 3, bias=True), nn.Tanh(), nn.Conv1d(8, 8, 3)), (2, 4, 20)),
        (nn.Sequential(nn.Conv3d(2, 3, 3), nn.Tanh(), nn.Conv3d(3, 3, 2)), (2, 2, 6, 7, 8)),
        (nn.Sequential(nn.ConvTranspose2d(2, 3, 4, stride=2), nn.Tanh(), nn.Conv2d(3, 3, 3)), (2, 2, 6, 7)),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 3, 3)), (2, 9, 9)),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 3, 3)), (0, 2, 9, 9)),
    ],
    ids=["grouped", "strided", "1-D", "3-D", "transposed", "unbatched", "empty"],
)
def test_convolutions_of_all_kinds(net, shape, size):
    net = copy.deepcopy(net).double()
    if shape[0] == 0:
        theirs = copy.deepcopy(net)
        lerac.CBS(net, every=1)
        assert net(torch.zeros(shape, dtype=torch.float64)).shape == theirs(torch.zeros(shape).double()).shape
    else:
        agree(net, ["0", "2"], torch.randn(shape, dtype=torch.float64), kernel_size=size)


def test_a_module_that_is_called_twice_is_smoothed_twice():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.Sequential(shared, nn.Tanh(), shared).double()
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    smooth = with_modules(nn.Sequential(copy.deepcopy(shared)), ["0"], 1.0)
    expected = smooth(smooth(x).tanh())
    cbs = lerac.CBS(model, every=1)
    close(model(x), expected)
    assert cbs.state_dict()["modules"] == ["0"]


def test_channels_last_gives_the_same_and_stays_channels_last():
    model = MODELS["small-cnn"](3, 10).double()
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    for net in (model, last):
        lerac.CBS(net, every=1)
    for ours, reference in zip(
        outcome(last, x.contiguous(memory_format=torch.channels_last)), outcome(model, x), strict=True
    ):
        close(ours, reference)
    assert last.conv1(x.contiguous(memory_format=torch.channels_last)).is_contiguous(memory_format=torch.channels_last)


def test_training_and_evaluation_are_both_smoothed():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1))
    x = torch.randn(1, 1, 6, 6)
    plain = model(x)
    lerac.CBS(model, every=1)
    assert torch.equal(model.train()(x), model.eval()(x))
    assert not torch.allclose(model(x), plain, atol=1e-2)
    with torch.inference_mode():
        evaluated = model(x)
    assert torch.equal(evaluated, model(x))
    model(x).sum().backward()  # what was built for inference does not get in the way


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # within torch
def test_second_derivatives_and_transforms():
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh()).double()
    lerac.CBS(model, every=1)
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, (x,))
    assert torch.autograd.gradgradcheck(model, (x,))
    close(torch.func.vmap(model)(x[:, None]).detach(), model(x)[:, None].detach())
    gradient = torch.func.grad(lambda x: model(x).sum())(x)
    close(gradient, torch.autograd.grad(model(x).sum(), x)[0])
    _, tangent = torch.func.jvp(model, (x,), (torch.ones_like(x),))
    assert torch.isclose(tangent.sum(), gradient.sum())


# The filter


@given(st.floats(1e-3, 1e3), st.sampled_from([3, 5, 7, 9]))
def test_weights_add_up_to_1_are_symmetric_and_fall_from_the_centre(sigma, size):
    weights = gaussian(sigma, size)
    assert math.isclose(sum(weights), 1, rel_tol=1e-14)
    assert weights == weights[::-1]
    assert weights[: size // 2 + 1] == sorted(weights[: size // 2 + 1])
    torch.testing.assert_close(torch.tensor(weights, dtype=torch.float64), kernel(sigma, 1, size))


@given(st.floats(0.05, 1), st.sampled_from([3, 5]), st.integers(1, 3))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_identity_is_what_rounding_cannot_tell(dtype, sigma, size, dims):
    off_centre = kernel(sigma, dims, size)
    off_centre[(size // 2,) * dims] = 0
    expected = off_centre.sum().item() <= torch.finfo(dtype).eps / 2
    assert is_identity(sigma, size, dims, dtype) == expected


def test_the_limits_of_sigma():
    assert gaussian(0.0, 3) == gaussian(1e-200, 3) == [0, 1, 0]
    assert gaussian(1e200, 5) == [0.2] * 5


def test_half_precision_keeps_the_mean():
    for dtype in (torch.bfloat16, torch.float16):
        applied = Filter(3)
        applied.set(1.0, on=True)
        smoothed = applied.smooth_channels(torch.ones(1, 2, 9, 9, dtype=dtype), 2)
        assert smoothed.dtype == dtype
        assert (smoothed[..., 1:-1, 1:-1].float() - 1).abs().max() <= torch.finfo(dtype).eps


# The schedule


def one_convolution():
    return nn.Sequential(nn.Conv2d(1, 1, 3))


def run(cbs, model, steps):
    for _ in range(steps):
        model(torch.zeros(1, 1, 5, 5))
        cbs.step()


def test_sigma_is_computed_from_the_steps():
    model = one_convolution()
    cbs = lerac.CBS(model, sigma=0.8, decay=0.7, every=3)
    for step in range(12):
        assert cbs.steps == step
        assert cbs.sigma == 0.8 * 0.7 ** (step // 3)
        run(cbs, model, 1)


def test_each_sigma_is_what_is_applied():
    model = one_convolution().double()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    plain = model(x).detach()
    cbs = lerac.CBS(model, every=2)
    for step in range(8):
        reference = nn.functional.conv2d(plain, kernel(0.9 ** (step // 2), 2)[None, None], padding=1)
        close(model(x).detach(), reference)
        cbs.step()


@pytest.mark.parametrize(("dtype", "updates"), [(torch.float64, 21), (torch.float32, 18), (torch.bfloat16, 13)])
def test_the_hooks_are_gone_once_it_is_the_identity(dtype, updates):
    model = one_convolution().to(dtype)
    x = torch.randn(1, 1, 5, 5, dtype=dtype)
    plain = model(x)
    cbs = lerac.CBS(model, every=1)
    for _ in range(updates - 1):
        model(x)
        cbs.step()
    assert model[0]._forward_hooks
    assert not cbs.finished
    last = model(x)
    cbs.step()
    assert cbs.finished
    assert not model[0]._forward_hooks
    assert torch.equal(model(x), plain)
    assert (last.double() - plain.double()).abs().max() < 0.05 * plain.abs().max()


def test_decay_1_never_ends():
    model = one_convolution()
    cbs = lerac.CBS(model, decay=1, every=1)
    run(cbs, model, 500)
    assert cbs.sigma == 1
    assert model[0]._forward_hooks


def test_the_finest_type_decides():
    model = nn.Sequential(nn.Conv2d(1, 1, 3).bfloat16(), nn.Conv2d(1, 1, 3))
    cbs = lerac.CBS(model, every=1)
    with pytest.warns(UserWarning, match=r"none of the selected modules has been called.*build CBS first"):
        cbs.step()
    for _ in range(16):
        cbs.step()
    assert not cbs.finished
    cbs.step()
    assert cbs.finished


def test_save_and_load():
    model, again = one_convolution(), one_convolution()
    again.load_state_dict(model.state_dict())
    cbs = lerac.CBS(model, every=2)
    run(cbs, model, 7)
    state = cbs.state_dict()
    assert state == {
        "version": 1,
        "steps": 7,
        "sigma": 1.0,
        "decay": 0.9,
        "every": 2,
        "kernel_size": 3,
        "modules": ["0"],
    }
    other = lerac.CBS(again, every=2)
    other.load_state_dict(state)
    x = torch.randn(1, 1, 7, 7)
    for _ in range(6):
        assert other.sigma == cbs.sigma
        assert torch.equal(model(x), again(x))
        cbs.step()
        other.step()


def test_an_earlier_state_brings_the_hooks_back():
    model = one_convolution()
    x = torch.randn(1, 1, 7, 7)
    cbs = lerac.CBS(model, every=1)
    early, smoothed = cbs.state_dict(), model(x)
    run(cbs, model, 40)
    assert cbs.finished
    assert not torch.equal(model(x), smoothed)
    cbs.load_state_dict(early)
    assert torch.equal(model(x), smoothed)
    cbs.load_state_dict(early | {"steps": 100})
    assert not model[0]._forward_hooks


def test_a_state_that_cannot_be_taken_changes_nothing():
    model = one_convolution()
    first = lerac.CBS(model, every=1)
    early = first.state_dict()
    run(first, model, 30)
    second = lerac.CBS(model, every=1)
    with pytest.raises(ValueError, match="smoothed by another CBS already"):
        first.load_state_dict(early)
    assert first.steps == 30
    assert first.finished
    assert second.steps == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sigma": 2.0}, "sigma 2.0, this one 1.0"),
        ({"decay": 0.5}, "decay 0.5, this one 0.9"),
        ({"every": 3}, "every 3, this one 2"),
        ({"kernel_size": 5}, "kernel_size 5, this one 3"),
        ({"modules": ["0", "1"]}, r"modules \['0', '1'\], this one \['0'\]"),
        ({"version": 2}, "version 2, this lerac reads 1"),
        ({"steps": -1}, "a count of 0 or more, got -1"),
        ({"steps": True}, "a count of 0 or more, got True"),
    ],
)
def test_the_state_of_another_cbs_is_refused(changed, message):
    cbs = lerac.CBS(one_convolution(), every=2)
    with pytest.raises(ValueError, match=message):
        cbs.load_state_dict(cbs.state_dict() | changed)
    assert cbs.steps == 0


def test_a_damaged_state_is_refused():
    cbs = lerac.CBS(one_convolution(), every=2)
    with pytest.raises(ValueError, match="lacks steps"):
        cbs.load_state_dict({k: v for k, v in cbs.state_dict().items() if k != "steps"})
    with pytest.raises(TypeError, match="is a dict, as state_dict"):
        cbs.load_state_dict([1])


# Being attached


def test_nothing_of_the_model_changes_and_remove_leaves_no_trace():
    model = MODELS["small-cnn"](3, 10)
    x = torch.randn(2, 3, 16, 16)
    model.eval()
    plain, keys = model(x), list(model.state_dict())

    def traces():
        return [{k: dict(v) if isinstance(v, dict) else v for k, v in vars(m).items()} for m in model.modules()]

    before = traces()
    cbs = lerac.CBS(model, every=1)
    assert not torch.equal(model(x), plain)
    assert list(model.state_dict()) == keys
    assert [name for name, _ in model.named_modules()] == [name for name, _ in copy.deepcopy(model).named_modules()]
    cbs.remove()
    cbs.remove()
    assert traces() == before
    assert torch.equal(model(x), plain)
    assert "removed" in repr(cbs)
    cbs.step()
    assert traces() == before
    with pytest.raises(RuntimeError, match="was removed from its model: build a new one"):
        cbs.load_state_dict(cbs.state_dict())
    lerac.CBS(model, every=1)  # there is room for another


def test_one_at_a_time():
    model = one_convolution()
    lerac.CBS(model, every=1)
    with pytest.raises(ValueError, match=r"'0' is smoothed by another CBS already.*remove\(\) first"):
        lerac.CBS(model, every=1)


def test_other_hooks_stay_and_see_the_smoothed_output():
    model, seen = one_convolution(), []
    cbs = lerac.CBS(model, every=1)
    model[0].register_forward_hook(lambda m, a, output: seen.append(output))
    output = model(torch.randn(1, 1, 5, 5))
    assert torch.equal(seen[0], output)
    cbs.remove()
    assert len(model[0]._forward_hooks) == 1


def test_type_changes_and_autocast():
    model = one_convolution()
    x = torch.randn(1, 1, 8, 8)
    plain = model(x)
    cbs = lerac.CBS(model, every=1)
    with torch.autocast("cpu", torch.bfloat16):
        smoothed = model(x)
    assert smoothed.dtype == torch.bfloat16
    reference = nn.functional.conv2d(plain.double(), kernel(1.0, 2)[None, None], padding=1)
    assert (smoothed - reference).abs().max() < 0.02 * reference.abs().max()
    smoothed.sum().backward()
    close(model.double()(x.double()), reference, 1e-6)
    run(cbs, one_convolution(), 0)
    for _ in range(20):
        cbs.step()
    assert not cbs.finished  # 21 in double precision


def test_autocast_leaves_a_float32_output_in_float32():
    class Careful(nn.Conv2d):
        def forward(self, x):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())

    model = nn.Sequential(Careful(1, 1, 3))
    lerac.CBS(model, every=1)
    x = torch.randn(1, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        smoothed = model(x)
    assert torch.equal(smoothed, model(x))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sigma": 0}, ValueError, r"sigma must be a finite number above 0 .*got 0"),
        ({"sigma": math.inf}, ValueError, "got inf"),
        ({"sigma": math.nan}, ValueError, "got nan"),
        ({"sigma": "1"}, TypeError, "sigma must be a number above 0, got '1'"),
        ({"decay": 0}, ValueError, r"decay must be in \(0, 1\].*got 0"),
        ({"decay": 1.1}, ValueError, r"decay must be in \(0, 1\].*got 1.1"),
        ({"decay": None}, TypeError, "got None"),
        ({"every": 0}, ValueError, "every must be at least 1 call of step"),
        ({"every": 1.5}, TypeError, "every must be a whole number of calls of step.*got 1.5"),
        ({"every": True}, TypeError, "got True"),
        ({"kernel_size": 4}, ValueError, "kernel_size must be 3, 5, 7, …: odd.*got 4"),
        ({"kernel_size": 1}, ValueError, "got 1"),
        ({"kernel_size": "3"}, TypeError, "kernel_size must be a whole number, got '3'"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        lerac.CBS(one_convolution(), **({"every": 1} | arguments))


def test_a_model_is_needed():
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got list"):
        lerac.CBS([1], every=1)
