"""`lerac.optax`: against `lerac.LeRaC` in torch, against `lerac.curves`, and inside what JAX and optax do with it."""

import math
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import nn

import lerac
import lerac.optax
from lerac import curves
from lerac.optax import LeRaCState, scale_by_lerac
from tests.conftest import Net, make_net

jax.config.update("jax_platforms", "cpu")

ROOT = Path(__file__).parents[1]
LAYERS = ["stem", "body/0", "body/2", "head"]
RATES = dict(zip(LAYERS, (0.3, 1.0, 1e-3, 0.05), strict=True))


def batch(step):
    generator = torch.Generator().manual_seed(1000 + step)
    return torch.randn(16, 6, generator=generator).double(), torch.randint(0, 3, (16,), generator=generator)


def params_of(model: Net):
    def linear(module):
        return {"kernel": jnp.asarray(module.weight.detach().numpy().T), "bias": jnp.asarray(module.bias.detach())}

    body = {"0": linear(model.body[0]), "2": linear(model.body[2])}
    return {"params": {"stem": linear(model.stem), "body": body, "head": linear(model.head)}}


def loss(params, x, y):
    p = params["params"]
    for layer in (p["stem"], p["body"]["0"], p["body"]["2"]):
        x = jnp.tanh(x @ layer["kernel"] + layer["bias"])
    logits = x @ p["head"]["kernel"] + p["head"]["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def make_step(optimizer, traces):
    @jax.jit
    def step(params, state, x, y):
        traces.append(1)  # Python runs while JAX traces, and never again
        updates, state = optimizer.update(jax.grad(loss)(params, x, y), state, params)
        return optax.apply_updates(params, updates), state

    return lambda i, params, state: step(params, state, *(part.numpy() for part in batch(i)))


def train(optimizer, steps):
    """Give params and state before the first and after each step."""
    params = params_of(make_net())
    seen = [(params, optimizer.init(params))]
    step = make_step(optimizer, traces := [])
    for i in steps:
        seen.append(step(i, *seen[-1]))
    assert len(traces) == 1
    return seen


def small():
    """One weight per layer, whose gradient is always 1."""
    return {name: jnp.ones(1) for name in "abcd"}


def lr(step):
    return 0.05 * 0.9**step


def decayed(optimizer, decay):
    return optax.chain(optax.add_decayed_weights(decay), optimizer)


OPTIMIZERS = {
    "sgd": (lambda p: torch.optim.SGD(p, 0.05), lambda: optax.sgd(lr)),
    "momentum": (
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01),
        lambda: decayed(optax.sgd(lr, momentum=0.9), 0.01),
    ),
    "adam": (lambda p: torch.optim.Adam(p, 0.05), lambda: optax.adam(lr)),
    "adamw": (
        lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.1),
        lambda: optax.adamw(lr, weight_decay=0.1),
    ),
}
SETTINGS = {
    "default": {},
    "linear": {"curve": "linear", "ratio": 1e-2},
    "staircase": {"curve": curves.staircase(10, 3), "ratio": 1e-4},
    "callable": {"curve": lambda p, r: max(r, p), "ratio": 1e-4},
    "by layer": {"ratio": RATES},
}


@pytest.mark.parametrize(
    ("optimizer", "setting"),
    [*((name, "default") for name in OPTIMIZERS), *(("adamw", name) for name in SETTINGS if name != "default")],
)
def test_trains_as_lerac_does_in_torch(optimizer, setting):
    build_torch, build_optax = OPTIMIZERS[optimizer]
    options = SETTINGS[setting]
    model = make_net().double()
    layers = [
        lerac.Layer(name, depth, tuple(f"{name.replace('/', '.')}.{kind}" for kind in ("weight", "bias")))
        for depth, name in enumerate(LAYERS)
    ]
    theirs = build_torch(model.parameters())
    schedule = torch.optim.lr_scheduler.ExponentialLR(theirs, 0.9)
    lerac.LeRaC(theirs, model, k=6, layers=layers, **options)
    with jax.enable_x64(True):
        ours = optax.chain(build_optax(), scale_by_lerac(LAYERS, k=6, **options))
        params = params_of(model)
        state, step = ours.init(params), make_step(ours, traces := [])
        for i in range(10):
            params, state = step(i, params, state)
            x, y = batch(i)
            theirs.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            theirs.step()
            schedule.step()
            expected = params_of(model)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), params, expected)
    assert len(traces) == 1


def test_the_comparison_above_would_see_a_curriculum_that_is_not_there():
    ours, _ = train(optax.chain(optax.adam(lr), scale_by_lerac(LAYERS, k=6)), range(6))[-1]
    theirs, _ = train(optax.adam(lr), range(6))[-1]
    assert jnp.abs(ours["params"]["head"]["kernel"] - theirs["params"]["head"]["kernel"]).max() > 0.01


@pytest.mark.parametrize("curve", [*curves.CURVES, curves.staircase(10, 3), lambda p, r: 0.5 + r * p / 2])
@pytest.mark.parametrize("k", [1, 3, 400])
@pytest.mark.parametrize("x64", [False, True])
def test_every_curve_at_every_step(curve, k, x64):
    starts = {"a": 1.0, "b": 1e-2, "c": 1e-6, "d": 1e-30}
    reference = curves.CURVES[curve] if isinstance(curve, str) else curve
    with jax.enable_x64(x64):
        transform = scale_by_lerac([*starts], k=k, ratio=starts, curve=curve)
        ones = {name: jnp.ones([]) for name in starts}
        steps = jnp.arange(k + 3, dtype=jnp.int32)
        given = jax.vmap(lambda step: transform.update(ones, LeRaCState(step))[0])(steps)
        given = {name: np.float64(m) for name, m in given.items()}
    rounding = 2**-53 if x64 else 2**-24
    for name, start in starts.items():
        # A table is rounded once. What is computed is rounded a few times, for `exponential` in the exponent p · log r.
        tolerance = 8 * rounding * (1 - math.log(start)) if isinstance(curve, str) else rounding
        expected = [reference(step / k, start) if step < k else 1.0 for step in range(k + 3)]
        np.testing.assert_allclose(given[name], expected, rtol=tolerance, atol=0)
        assert (given[name][k:] == 1).all()


@pytest.mark.parametrize("name", curves.CURVES)
def test_a_named_curve_may_be_given_as_the_function(name):
    given = [scale_by_lerac([*"abcd"], k=3, curve=curve) for curve in (name, curves.CURVES[name])]
    by_name, by_function = (t.update(small(), LeRaCState(jnp.asarray(1)))[0] for t in given)
    assert by_name == by_function


def test_every_named_curve_is_computed():
    assert lerac.optax._COMPUTED.keys() == curves.CURVES.keys()


def test_a_ratio_reaches_the_last_layer_and_the_others_lie_between():
    transform = scale_by_lerac([*"abcd"], k=5, ratio=1e-3)
    updates, _ = transform.update(small(), transform.init(small()))
    assert [float(updates[name][0]) for name in "abcd"] == pytest.approx([1, 1e-1, 1e-2, 1e-3], rel=1e-6)


def test_a_single_layer_has_the_full_rate():
    transform = scale_by_lerac([".*"], k=5)
    updates, _ = transform.update(small(), transform.init(small()))
    assert updates == small()


def test_from_step_k_on_updates_pass_bit_for_bit():
    transform = scale_by_lerac([*"abcd"], k=3)
    updates = {name: jnp.asarray(np.random.default_rng(0).normal(size=50), jnp.float32) for name in "abcd"}
    for step in (3, 4, 2**31 - 1):
        passed, state = transform.update(updates, LeRaCState(jnp.asarray(step, jnp.int32)))
        jax.tree.map(np.testing.assert_array_equal, passed, updates)
    assert state.lerac_step == 2**31 - 1  # the count stops where its type ends


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "complex64"])
@pytest.mark.parametrize("promotion", ["standard", "strict"])
def test_updates_keep_their_type_and_factors_their_accuracy(dtype, promotion):
    transform = scale_by_lerac(["a", "b"], k=3, ratio=1e-6)
    updates = {"a": jnp.full(2, 1024, dtype), "b": jnp.full(2, 1024, dtype)}
    with jax.numpy_dtype_promotion(promotion):
        scaled, _ = transform.update(updates, transform.init(updates))
    assert scaled["b"].dtype == dtype
    eps = float(jnp.finfo(dtype).eps)
    assert abs(complex(scaled["b"][0])) == pytest.approx(1024e-6, rel=2 * eps)  # 1e-6 itself is 5 % off in float16


# Inside what JAX and optax do with a transformation


def test_one_trace_for_all_steps_and_a_scan_gives_the_same():
    optimizer = optax.chain(optax.adam(lr), scale_by_lerac(LAYERS, k=4))
    [start, *_, (looped, looped_state)] = train(optimizer, range(7))  # which counts the traces

    def body(carry, xy):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, *xy), state, params)
        return (optax.apply_updates(params, updates), state), None

    xs, ys = (jnp.stack([jnp.asarray(batch(i)[part].numpy()) for i in range(7)]) for part in (0, 1))
    (scanned, scanned_state), _ = jax.lax.scan(body, start, (xs, ys))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), scanned, looped)
    assert optax.tree_utils.tree_get(looped_state, "lerac_step") == 7
    assert optax.tree_utils.tree_get(scanned_state, "lerac_step") == 7


@pytest.mark.parametrize("curve", ["exponential", curves.staircase(10, 3)])
def test_continues_from_a_saved_state_as_if_it_had_never_stopped(tmp_path, curve):
    def build():
        return optax.chain(optax.adamw(lr), scale_by_lerac(LAYERS, k=4, curve=curve))

    whole = train(build(), range(7))
    anew = build()
    structure = jax.tree.structure((whole[0][0], anew.init(whole[0][0])))
    step = make_step(anew, [])
    for stop in (1, 3, 4, 6):
        np.savez(tmp_path / f"{stop}.npz", *jax.tree.leaves(whole[stop]))
        saved = np.load(tmp_path / f"{stop}.npz")
        params, state = jax.tree.unflatten(structure, [jnp.asarray(saved[name]) for name in saved.files])
        for i in range(stop, 7):
            params, state = step(i, params, state)
        jax.tree.map(np.testing.assert_array_equal, (params, state), whole[-1])


def factors_seen(optimizer, gradients):
    """The factor of layer b after an optimizer of rate 1, for each gradient."""
    params = {"a": jnp.ones(1), "b": jnp.ones(1)}
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    seen = []
    for gradient in gradients:
        updates, state = update({name: jnp.full(1, gradient) for name in params}, state, params)
        seen.append(-float(updates["b"][0]))
    return seen


def test_multi_steps_counts_optimizer_steps_not_batches():
    inner = optax.chain(optax.sgd(1.0), scale_by_lerac(["a", "b"], k=2, ratio=1e-2))
    seen = factors_seen(optax.MultiSteps(inner, 3).gradient_transformation(), [1.0] * 9)
    assert seen == pytest.approx([0, 0, 1e-2, 0, 0, 1e-1, 0, 0, 1])


def test_a_step_that_is_not_taken_is_not_counted():
    inner = optax.chain(optax.sgd(1.0), scale_by_lerac(["a", "b"], k=2, ratio=1e-2))
    seen = factors_seen(optax.apply_if_finite(inner, 5), [1.0, math.nan, math.inf, 1.0, 1.0])
    assert seen == pytest.approx([1e-2, 0, 0, 1e-1, 1])


def test_a_rate_injected_beside_or_around_it():
    def build(learning_rate):
        return optax.chain(optax.sgd(learning_rate), scale_by_lerac(["a", "b"], k=2, ratio=1e-2))

    beside = optax.chain(
        optax.inject_hyperparams(optax.sgd)(learning_rate=1.0), scale_by_lerac(["a", "b"], k=2, ratio=1e-2)
    )
    around = optax.inject_hyperparams(build)(learning_rate=1.0)
    for optimizer in (beside, around):
        assert factors_seen(optimizer, [1.0] * 3) == pytest.approx([1e-2, 1e-1, 1])


def test_parts_of_a_partition_keep_the_depths_of_the_whole():
    def part(learning_rate):
        return optax.chain(optax.sgd(learning_rate), scale_by_lerac([*"abcd"], k=2, ratio=1e-3))

    labels = {"a": "slow", "b": "fast", "c": "fast", "d": "frozen"}
    optimizer = optax.partition({"slow": part(0.5), "fast": part(1.0), "frozen": optax.set_to_zero()}, labels)
    updates, _ = optimizer.update(small(), optimizer.init(small()), small())
    assert [float(updates[name][0]) for name in "abcd"] == pytest.approx([-0.5, -1e-1, -1e-2, 0])


def test_masked_parameters_need_no_layer():
    transform = optax.masked(scale_by_lerac(["a", "b"], k=2, ratio=1e-2), {"a": True, "b": True, "c": False})
    params = {name: jnp.ones(1) for name in "abc"}
    updates, _ = transform.update(params, transform.init(params))
    assert [float(updates[name][0]) for name in "abc"] == pytest.approx([1, 1e-2, 1])


def test_what_optax_and_checkpoint_libraries_ask_of_a_state():
    optimizer = optax.chain(optax.adam(lr), scale_by_lerac([*"abcd"], k=2))
    shapes = jax.eval_shape(optimizer.init, small())
    assert optax.tree_utils.tree_get(shapes, "lerac_step").dtype == jnp.int32
    doubled = optax.tree_utils.tree_map_params(optimizer, lambda moment: moment + 1, optimizer.init(small()))
    assert doubled[0][0].mu == small()
    assert optax.tree_utils.tree_get(doubled, "lerac_step") == 0


def test_before_adam_it_would_be_undone():
    """Why the docs say that it comes last: Adam divides by the size of what it is given."""
    before = optax.chain(scale_by_lerac(["a", "b"], k=2, ratio=1e-2), optax.adam(1.0))
    after = optax.chain(optax.adam(1.0), scale_by_lerac(["a", "b"], k=2, ratio=1e-2))
    assert factors_seen(before, [1.0]) == pytest.approx([1], rel=1e-4)
    assert factors_seen(after, [1.0]) == pytest.approx([1e-2], rel=1e-4)


# Paths


class Pair(NamedTuple):
    left: jax.Array
    right: jax.Array


@jax.tree_util.register_dataclass
@dataclass
class Block:
    weight: jax.Array
    inner: tuple[jax.Array, ...]


@pytest.mark.parametrize(
    ("tree", "layers"),
    [
        ({"params": {"Dense_1": {"kernel": 0}, "Dense_10": {"kernel": 1}}}, ["Dense_1", "Dense_10"]),
        ({"params": {"Dense_1": {"kernel": 0}, "Dense_10": {"kernel": 1}}}, ["params/Dense_1/kernel", "Dense_10/.*"]),
        ({"Conv": 0, "PreConv": 1, "ConvPost": 2}, ["Conv", "PreConv", "ConvPost"]),
        ([0, [1, (2,)]], ["^0", "^1/0", "1/1/0"]),
        ({"mlp/~/linear_0": {"w": 0}, "mlp/~/linear_1": {"w": 1}}, ["linear_0", "linear_1"]),
        ({7: Pair(0, 1), 8: None}, ["left", "right"]),
        (Block(0, (1, 2)), ["weight", "inner/0", "inner/1"]),
        ({"block_1": 0, "block_2": {"shortcut": 0, "conv": 1}}, ["block_1|shortcut", "conv"]),
        ({"x": 0, "y": 0, "z": 1}, ["[xy]", "(?i:Z)"]),
        ({"x": 0, "block/x": {"y": 1}}, ["^x", "y$"]),
        (0, [".*"]),
    ],
)
def test_parameters_are_found_by_whole_keys_of_their_path(tree, layers):
    """The leaves are the depths that they must have."""
    transform = scale_by_lerac(layers, k=1, ratio=1e-2)
    params = jax.tree.map(lambda _: jnp.ones(1), tree)
    updates, _ = transform.update(params, transform.init(params))
    expected = jax.tree.map(lambda depth: jnp.full(1, 1e-2 ** (depth / max(1, len(layers) - 1))), tree)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updates, expected)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            ["Dense_0", "Dense"],
            "2 of 3 parameters are in no layer: params/Dense_1/kernel; params/Head/kernel. "
            "A pattern matches whole keys of a path. The layers are: Dense_0; Dense",
        ),
        (
            ["Dense_0", "Dense_.", "Head"],
            "1 of 3 parameters are in several layers: params/Dense_0/kernel in 'Dense_0' and 'Dense_.'",
        ),
        (
            ["Dense_0", "Dense_1", "Dense_2", "Head"],
            "no parameter is in layer 'Dense_2'. A pattern matches whole keys of a path. The parameters are: "
            "params/Dense_0/kernel; params/Dense_1/kernel; params/Head/kernel",
        ),
    ],
)
def test_layers_that_do_not_fit_the_parameters(layers, message):
    params = {"params": {name: {"kernel": jnp.ones(1)} for name in ("Dense_0", "Dense_1", "Head")}}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        scale_by_lerac(layers, k=3).init(params)


@pytest.mark.parametrize(
    ("layers", "options", "error", "message"),
    [
        ("stem", {}, TypeError, "layers must be a sequence of regular expressions, one for each layer, the nearest"),
        ([["a", "b"]], {}, TypeError, "layers must be a sequence of regular expressions, one for each layer"),
        ({"a", "b"}, {}, TypeError, "layers must be a sequence of regular expressions, one for each layer"),
        ([], {}, ValueError, "layers is empty: a curriculum needs at least one layer"),
        (["a", "b", "a"], {}, ValueError, "two layers have the pattern 'a'"),
        (["a", "b("], {}, ValueError, "layer 'b(' is not a regular expression: missing ), unterminated"),
        (["a)|(b"], {}, ValueError, "layer 'a)|(b' is not a regular expression: unbalanced parenthesis"),
        (["(?i)a"], {}, ValueError, "layer '(?i)a' is not a regular expression: global flags not at the start"),
        (["a"], {"k": 0}, ValueError, "k must be at least 1 optimizer step, got 0"),
        (["a"], {"k": 2.5}, TypeError, "k must be a whole number of optimizer steps, such as 5 * len(loader), got 2.5"),
        (["a"], {"ratio": 0}, ValueError, "ratio must be in (0, 1] (start divided by full learning rate), got 0"),
        (["a", "b"], {"ratio": {"a": 1}}, ValueError, "ratio has no factor for the layers b"),
        (["a"], {"ratio": {"a": 1, "c": 1}}, ValueError, "ratio has factors for layers that there are not: c"),
        (["a"], {"ratio": {"a": 2}}, ValueError, "the ratio of layer 'a' must be in (0, 1]"),
        (["a"], {"curve": "wavy"}, ValueError, "unknown curve 'wavy': expected one of exponential, linear"),
        (["a"], {"curve": 3}, TypeError, "curve must be a name or a callable (progress, ratio) → factor, got 3"),
        (
            ["a", "b"],
            {"curve": lambda p, r: 1.0 if p < 0.5 else math.nan},  # said at once, not in the middle of training
            ValueError,
            "the curve gave nan at progress 0.6666666666666666 and ratio",
        ),
    ],
)
def test_arguments_that_cannot_be_are_named(layers, options, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        scale_by_lerac(layers, **{"k": 3, **options})


def test_k_cannot_be_traced():
    with pytest.raises(TypeError, match=r"^k must be a whole number of optimizer steps.*got .*Tracer"):
        jax.jit(lambda k: scale_by_lerac(["a"], k=k).init({"a": jnp.ones(1)}))(3)


# Importing


def test_lerac_alone_needs_no_jax_and_lerac_optax_says_what_it_needs():
    code = """
import sys, lerac
assert not {"jax", "optax", "lerac.optax"} & sys.modules.keys()
sys.modules["optax"] = None  # as if it were not installed
import lerac.optax
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith("ImportError: lerac.optax needs optax and jax: pip install 'lerac[optax]'\n")


def test_the_docs_python_runs():
    [block] = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/optax.md").read_text(), re.DOTALL | re.MULTILINE)
    scope: dict[str, object] = {}
    exec(compile(block, "docs/optax.md", "exec"), scope)
    ones = jax.tree.map(jnp.ones_like, scope["params"])
    updates, state = scope["optimizer"].update(ones, scope["state"], scope["params"])
    sizes = {name: float(jnp.abs(layer["kernel"]).max()) for name, layer in updates["params"].items()}
    assert sizes["stem"] > sizes["block_0"] > sizes["block_1"] == sizes["shortcut"] > sizes["head"] > 0
    assert optax.tree_utils.tree_get(state, "lerac_step") == 1
