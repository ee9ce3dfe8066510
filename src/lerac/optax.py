"""LeRaC for JAX, as a gradient transformation of optax. Needs `pip install 'lerac[optax]'`."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lerac.arguments import check_curve, check_factor, check_k, check_ratio, some
from lerac.curriculum.state import curve_name
from lerac.curves import Curve
from lerac.layers import Layer, start_ratios

try:
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
except ImportError as error:
    raise ImportError("lerac.optax needs optax and jax: pip install 'lerac[optax]'") from error

__all__ = ["LeRaCState", "scale_by_lerac"]


class LeRaCState(NamedTuple):
    """All that a curriculum keeps: an int32 scalar, which every kind of checkpoint carries with the optimizer's state.

    `optax.tree_utils.tree_get(opt_state, "lerac_step")` reads it from the state of a whole chain.
    """

    lerac_step: jax.Array
    """Steps taken."""


def scale_by_lerac(
    layers: Sequence[str],
    *,
    k: int,
    ratio: float | Mapping[str, float] = 1e-6,
    curve: str | Curve = "exponential",
) -> optax.GradientTransformation:
    """Learning Rate Curriculum for any optax optimizer: put it last in `optax.chain`.

    The update of layer j at step l < k is multiplied by m_j(l) = r_j^(1 − l/k) (Eq. 8 of the paper, divided by the full
    rate), as if its learning rate were. From step k on every factor is 1, and updates pass as they are. Moments,
    weight decay and schedule belong before it: a factor before Adam would be undone by it, and decay that comes after
    would act at the full rate.

    A parameter's path is the keys that lead to it, joined with slashes as `jax.tree_util.keystr` gives them: keys of
    dicts, positions in lists and tuples, names of fields; `params/Dense_0/kernel`, `blocks/1/weight`. A pattern matches
    whole keys: `Dense_1` is found in `params/Dense_1/kernel`, not in `params/Dense_10/kernel`.

    Args:
        layers: for each layer a regular expression of Python's `re` that is found in the paths of its parameters, the
            layer nearest to the input first; depths are 0, 1, 2, …. Parts of equal depth share one, as in
            `"block_1|shortcut"`. Each parameter must be in exactly one layer.
        k: how many optimizer steps the curriculum lasts, at least 1, and a Python int. Steps that
            `optax.MultiSteps` and `optax.apply_if_finite` do not take are not counted.
        ratio: start of the last layer relative to the full rate, in (0, 1]. Layers in between start at
            `ratio ** (depth / largest depth)`, and a single layer at 1. Or a mapping from every pattern to its r_j.
        curve: a name in `lerac.curves.CURVES`, the result of `lerac.curves.staircase`, or any callable (progress,
            ratio) → factor. It is called here for each step and layer, not while training, and takes 4 · k bytes
            for each layer in the compiled program; the curves that have a name take none.

    Returns:
        An `optax.GradientTransformation` whose state is a `LeRaCState`. Its `init` reads the paths only.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument is out of range; in `init` and `update` if a parameter is in no layer or in several;
            in `init` if a layer is empty, unless `optax.masked` or `optax.partition` hides parameters.

    Examples:
        >>> import jax.numpy as jnp, optax, lerac.optax
        >>> params = {"stem": jnp.ones(1), "blocks": [jnp.ones(1), jnp.ones(1)], "head": jnp.ones(1)}
        >>> layers = ["stem", "blocks/0", "blocks/1", "head"]
        >>> optimizer = optax.chain(optax.sgd(1.0), lerac.optax.scale_by_lerac(layers, k=2, ratio=1e-6))
        >>> state = optimizer.init(params)
        >>> for _ in range(3):
        ...     updates, state = optimizer.update(params, state, params)
        ...     print([f"{float(updates[name][0]):.0e}" for name in ("stem", "head")])
        ['-1e+00', '-1e-06']
        ['-1e+00', '-1e-03']
        ['-1e+00', '-1e+00']

    Source: Croitoru, Ristea, Ionescu, Sebe, "Learning Rate Curriculum", IJCV 2024, arXiv 2205.09180, Eq. 6 to 8.
    """
    patterns = _check_patterns(layers)
    starts = start_ratios([Layer(name, depth, (name,)) for depth, name in enumerate(patterns)], check_ratio(ratio))
    factors = _factors(check_curve(curve), check_k(k), np.array([starts[name] for name in patterns]))

    def init(params: Any) -> LeRaCState:
        matched = _matched(params, patterns)
        used = {depth for _, depth in matched}
        empty = [f"layer {name!r}" for depth, name in enumerate(patterns) if depth not in used]
        partial = any(_is_hidden(x) for x in jax.tree.leaves(params, is_leaf=_is_hidden))
        if empty and matched and not partial:  # optax itself, in tree_map_params, comes without any parameter
            raise ValueError(
                f"no parameter is in {', '.join(empty)}. A pattern matches whole keys of a path. The parameters are: "
                f"{some([path for path, _ in matched])}"
            )
        return LeRaCState(jnp.zeros([], jnp.int32))

    def update(updates: Any, state: LeRaCState, params: Any = None) -> tuple[Any, LeRaCState]:
        depths = [depth for _, depth in _matched(updates, patterns)]
        leaves, tree = jax.tree.flatten(updates)
        with jax.numpy_dtype_promotion("standard"):  # an update may be narrower than its factor; 1e-6 is no float16
            m = factors(state.lerac_step)
            scaled = [(u * m[depth]).astype(u.dtype) for u, depth in zip(leaves, depths, strict=True)]
        return jax.tree.unflatten(tree, scaled), LeRaCState(optax.safe_increment(state.lerac_step))

    return optax.GradientTransformation(init, update)


# The curves that have a name, of progress and the r_j of all layers, in operations that JAX can trace.
_COMPUTED: dict[str, Callable[[Any, Any], Any]] = {
    "exponential": lambda p, r: jnp.exp((1 - p) * np.log(r)),
    "linear": lambda p, r: r + (1 - r) * p,
    "logarithmic": lambda p, r: r + (1 - r) * jnp.log1p(9 * p) / math.log(10),
    "cosine": lambda p, r: r + (1 - r) * jnp.sin(math.pi / 2 * p) ** 2,
}


def _factors(curve: Curve, k: int, ratios: "np.ndarray[Any, np.dtype[np.float64]]") -> Callable[[jax.Array], jax.Array]:
    """Give the function from the step, which may be traced, to m_j of every layer.

    A curve with a name is computed, at no cost that grows with k. Any other is Python that cannot be traced, and
    becomes a table.
    """
    name = curve_name(curve)
    if name is not None:
        return lambda step: jnp.where(step < k, _COMPUTED[name](jnp.minimum(step, k).astype(float) / k, ratios), 1.0)
    once = {r: [check_factor(curve(step / k, r), step / k, r) for step in range(k)] for r in set(ratios.tolist())}
    table = np.array([[*once[r], 1.0] for r in ratios.tolist()]).T
    return lambda step: jnp.asarray(table)[jnp.minimum(step, k)]


def _check_patterns(layers: Any) -> dict[str, re.Pattern[str]]:
    if isinstance(layers, str) or not isinstance(layers, Sequence) or not all(isinstance(x, str) for x in layers):
        raise TypeError(
            "layers must be a sequence of regular expressions, one for each layer, the nearest to the input first, got "
            f"{layers!r}"
        )
    if not layers:
        raise ValueError("layers is empty: a curriculum needs at least one layer")
    patterns: dict[str, re.Pattern[str]] = {}
    for pattern in layers:
        if pattern in patterns:
            raise ValueError(f"two layers have the pattern {pattern!r}")
        try:
            re.compile(pattern)  # alone first: ")(" would be valid in what follows
            patterns[pattern] = re.compile(rf"(?<![^/])(?:{pattern})(?![^/])")
        except re.error as error:
            raise ValueError(f"layer {pattern!r} is not a regular expression: {error}") from None
    return patterns


def _matched(tree: Any, patterns: Mapping[str, re.Pattern[str]]) -> list[tuple[str, int]]:
    """Give path and depth of every leaf, in the order of the leaves."""
    paths = [
        jax.tree_util.keystr(keys, simple=True, separator="/")
        for keys, _ in jax.tree_util.tree_flatten_with_path(tree)[0]
    ]
    found = [[name for name, pattern in patterns.items() if pattern.search(path)] for path in paths]
    if lost := [path for path, names in zip(paths, found, strict=True) if not names]:
        raise ValueError(
            f"{len(lost)} of {len(paths)} parameters are in no layer: {some(lost)}. A pattern matches whole keys of a "
            f"path. The layers are: {some([*patterns])}"
        )
    if torn := [(path, names) for path, names in zip(paths, found, strict=True) if len(names) > 1]:
        described = [f"{path} in {' and '.join(map(repr, names))}" for path, names in torn]
        raise ValueError(f"{len(torn)} of {len(paths)} parameters are in several layers: {some(described)}")
    depths = {name: depth for depth, name in enumerate(patterns)}
    return [(path, depths[name]) for path, [name] in zip(paths, found, strict=True)]


def _is_hidden(x: Any) -> bool:
    return isinstance(x, optax.MaskedNode)
