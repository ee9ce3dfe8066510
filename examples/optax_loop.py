"""LeRaC in a training loop of JAX and optax, on scikit-learn's handwritten digits.

Run it: python examples/optax_loop.py    (needs pip install 'lerac[optax]' scikit-learn)
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from lerac.optax import scale_by_lerac

Params = dict[str, dict[str, jax.Array]]

random = np.random.default_rng(0)
digits = load_digits()
order = random.permutation(len(digits.target))
images, targets = digits.images[order].reshape(-1, 64).astype("float32") / 16, digits.target[order]  # in [0, 1]
widths = {"stem": (64, 128), "block_0": (128, 128), "block_1": (128, 128), "head": (128, 10)}
params = {
    name: {"kernel": jnp.asarray(random.normal(0, n**-0.5, (n, m)), "float32"), "bias": jnp.zeros(m)}
    for name, (n, m) in widths.items()
}


def apply(params: Params, x: jax.Array) -> jax.Array:
    """Give the logits of a small residual network."""
    x = jax.nn.relu(x @ params["stem"]["kernel"] + params["stem"]["bias"])
    for name in ("block_0", "block_1"):
        x = x + jax.nn.relu(x @ params[name]["kernel"] + params[name]["bias"])
    return x @ params["head"]["kernel"] + params["head"]["bias"]


def loss(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    """Give the mean cross-entropy of a batch."""
    return optax.softmax_cross_entropy_with_integer_labels(apply(params, x), y).mean()


epochs, batches = 10, np.array_split(np.arange(1200), 19)
optimizer = optax.chain(
    optax.adamw(optax.cosine_decay_schedule(3e-3, epochs * len(batches)), weight_decay=0.05),
    scale_by_lerac(["stem", "block_0", "block_1", "head"], k=3 * len(batches)),  # <- the only line that is about LeRaC
)


@jax.jit
def train_step(params: Params, state: optax.OptState, x: jax.Array, y: jax.Array) -> tuple[Params, optax.OptState]:
    """Take one step of the optimizer, compiled once."""
    updates, state = optimizer.update(jax.grad(loss)(params, x, y), state, params)
    return optax.apply_updates(params, updates), state


state = optimizer.init(params)
for _ in range(epochs):
    for batch in batches:
        params, state = train_step(params, state, images[batch], targets[batch])

accuracy = (apply(params, images[1200:]).argmax(1) == targets[1200:]).mean()
print(f"test accuracy after {epochs} epochs: {accuracy:.3f}")
