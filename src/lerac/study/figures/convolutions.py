"""Figure 2: an image under repeated random convolutions, and how much of it is left when there is noise.

Construction, fixed before it was run: the image is grey, averaged over squares of 6 × 6 pixels, and brought to mean
0 and variance 1. A draw has one 3 × 3 filter of standard normal weights per layer; layer by layer the features are
convolved with it, without padding, bias or nonlinearity. That is the signal. The noisy features are made
the same way from the image plus white Gaussian noise (20 dB), from filters each of which has white Gaussian noise
on its weights (10 dB, relative to that filter's own power), or from both. Noise is what they differ by from the signal:

    SNR = 10 · log10(Σ signal² / Σ (features − signal)²)

Averages over draws are averages of dB. The paper's own construction is not known to us beyond its idea: an
image, random filters, again and again.
"""

import math
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from lerac.regimes.drawing import derive
from lerac.snr import product_snr
from lerac.study.figures.style import PALETTE, STYLE
from lerac.study.statistics import paired_difference

__all__ = ["CONSTRUCTIONS", "Draw", "draw_convolutions", "example_image", "repeated_convolutions"]

DEPTH = 6  # convolutions
SHOWN = (0, 1, 2, 4, 6)  # after so many
IMAGE_SNR, FILTER_SNR = 20.0, 10.0  # dB
CONSTRUCTIONS = {
    "noisy image, clean filters": (IMAGE_SNR, math.inf),
    "clean image, noisy filters": (math.inf, FILTER_SNR),
    "noisy image, noisy filters": (IMAGE_SNR, FILTER_SNR),
}
"""Name → SNR of the image and of each filter, in dB."""
BOTH = "noisy image, noisy filters"


@dataclass(frozen=True)
class Draw:
    """Features after 0, 1, … convolutions.

    Args:
        clean: the signal, one map (height, width) per depth.
        noisy: the same with noise.
        snr_db: of each depth, in dB; infinite without noise.
    """

    clean: list[Tensor]
    noisy: list[Tensor]
    snr_db: list[float]


def example_image() -> Tensor:
    """Give china.jpg of scikit-learn as (71, 106) float64, grey, mean 0 and variance 1."""
    from sklearn.datasets import load_sample_image  # here, because it takes long to load

    grey = torch.tensor(load_sample_image("china.jpg"), dtype=torch.float64).mean(dim=2)
    small = functional.avg_pool2d(grey[None, None], 6)[0, 0]
    return (small - small.mean()) / small.std(correction=0)


def repeated_convolutions(image: Tensor, seed: int, image_db: float, filter_db: float) -> Draw:
    """Convolve an image with `DEPTH` random filters in a row, with and without noise.

    Args:
        image: (height, width), larger than 2 · `DEPTH`.
        seed: of filters and noise; filters, and the noise up to its size, are the same whatever the other arguments.
        image_db: signal-to-noise ratio of the image in dB, infinite for no noise.
        filter_db: of each filter.
    """
    generator = torch.Generator().manual_seed(derive(seed, "random convolutions"))
    clean, noisy = [image], [_with_noise(image, image_db, generator)]
    for _ in range(DEPTH):
        kernel = torch.randn(3, 3, generator=generator, dtype=torch.float64)
        clean.append(_convolved(clean[-1], kernel))
        noisy.append(_convolved(noisy[-1], _with_noise(kernel, filter_db, generator)))
    return Draw(clean, noisy, [_snr(signal, features) for signal, features in zip(clean, noisy, strict=True)])


def draw_convolutions(draws: int) -> tuple[Figure, dict[str, Any]]:
    """Draw the features of the first draw, with noise in image and filters, and the SNR of all draws by depth.

    Args:
        draws: how many, 1 or more.

    Returns:
        The figure, and what it shows: for each construction the mean SNR by depth in dB, with its 95 % interval,
        and how often the SNR fell from one depth to the next.
    """
    image = example_image()
    made = {
        name: [repeated_convolutions(image, seed, *noise) for seed in range(draws)]
        for name, noise in CONSTRUCTIONS.items()
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 5.6), layout="constrained")
        rows = figure.add_gridspec(2, 1, height_ratios=(1, 1.2))
        pictures, graph = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
        _draw_maps(pictures, made[BOTH][0])
        _draw_graph(graph.add_subplot(), made)
    return figure, {
        "draws": draws,
        "image_db": IMAGE_SNR,
        "filter_db": FILTER_SNR,
        "constructions": {name: _statistics(all_draws) for name, all_draws in made.items()},
    }


def _with_noise(signal: Tensor, db: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn(signal.shape, generator=generator, dtype=signal.dtype)
    return signal + noise * signal.square().mean().sqrt() * 10 ** (-db / 20)


def _convolved(features: Tensor, kernel: Tensor) -> Tensor:
    return functional.conv2d(features[None, None], kernel[None, None])[0, 0]


def _snr(signal: Tensor, features: Tensor) -> float:
    noise = (features - signal).square().sum().item()
    return 10 * math.log10(signal.square().sum().item() / noise) if noise else math.inf


def _statistics(draws: list[Draw]) -> dict[str, Any]:
    """Depths whose noise is none are left out of the means, as None."""
    by_depth = [_interval([draw.snr_db[depth] for draw in draws]) for depth in range(DEPTH + 1)]
    steps = [(a, b) for draw in draws for a, b in zip(draw.snr_db, draw.snr_db[1:], strict=False)]
    return {"snr_db": by_depth, "fell": sum(b < a for a, b in steps), "of": len(steps)}


def _interval(values: list[float]) -> dict[str, float | None] | None:
    if not all(map(math.isfinite, values)):
        return None
    difference = paired_difference(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))
    return {"mean": difference.mean, "low": difference.low, "high": difference.high} if difference else None


def _draw_maps(figure: Any, draw: Draw) -> None:
    panels = figure.subplots(2, len(SHOWN))
    for row, (maps, name) in enumerate(((draw.clean, "clean"), (draw.noisy, "noisy"))):
        for axes, depth in zip(panels[row], SHOWN, strict=True):
            reach = 2.5 * float(draw.clean[depth].std())
            axes.imshow(maps[depth].numpy(), cmap="gray", vmin=-reach, vmax=reach, interpolation="none")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if row == 0:
                axes.set_title("image" if depth == 0 else f"after {depth}", fontsize=9)
            else:
                axes.set_xlabel(f"{draw.snr_db[depth]:.1f} dB", fontsize=9)
        panels[row][0].set_ylabel(name, fontsize=9)


def _draw_graph(axes: Axes, made: dict[str, list[Draw]]) -> None:
    depths = range(DEPTH + 1)
    for colour, (name, draws) in zip(PALETTE[1:], made.items(), strict=False):
        rows = [(depth, one) for depth, one in enumerate(_statistics(draws)["snr_db"]) if one]
        axes.plot([d for d, _ in rows], [one["mean"] for _, one in rows], color=colour, marker="o", ms=3, label=name)
        if all(one["low"] is not None for _, one in rows):
            low, high = ([one[end] for _, one in rows] for end in ("low", "high"))
            axes.fill_between([d for d, _ in rows], low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(depths, _predicted(), color="0.4", linestyle="--", label="Theorem 1, noisy image, noisy filters")
    axes.set_xticks(np.arange(DEPTH + 1))
    axes.set_xlabel("convolutions")
    axes.set_ylabel("SNR, dB")
    axes.legend(frameon=False, fontsize=8)


def _predicted() -> list[float]:
    """What Theorem 1 gives by depth, for factors that are independent of each other."""
    return [product_snr(IMAGE_SNR, math.inf, *[FILTER_SNR] * depth) for depth in range(DEPTH + 1)]
