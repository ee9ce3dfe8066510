"""What Curriculum by Smoothing costs: a whole training step, in both memory formats, measured side by side.

    python benchmarks/cbs_overhead.py [--device cuda] [--repetitions 20] [--batches 32 64]

Four copies of ResNet-18 for 32×32 images, with the same weights, take turns in every round: without any filter, with
`lerac.CBS`, with a module of its own after each convolution (a fixed depthwise convolution, as the authors of CBS have
it), and without a filter but with `lerac.LeRaC`. A ratio is the median over the rounds, with a 95 % interval; the
outputs of the two ways to smooth are compared before. `--network small-cnn --repetitions 2` only shows that it runs.
"""

import argparse
import copy
import math
import warnings
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

import lerac
from interleaved import machine, ratio, rounds
from lerac.study.models import MODELS

WAYS = ("no filter", "CBS", "modules", "LeRaC")


class Smooth(nn.Module):
    """Depthwise 3×3 convolution with fixed Gaussian weights, σ = 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([math.exp(-0.5), 1.0, math.exp(-0.5)])
        kernel = torch.outer(row, row) / torch.outer(row, row).sum()
        self.channels = channels
        self.register_buffer("weight", kernel.repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """From (batch, channels, height, width) to the same shape."""
        return functional.conv2d(x, cast(Tensor, self.weight), padding=1, groups=self.channels)


def with_modules(model: nn.Module, names: list[str]) -> nn.Module:
    """Put a `Smooth` after each of the named convolutions."""
    for name in names:
        convolution = cast(nn.Conv2d, model.get_submodule(name))
        parent, _, child = name.rpartition(".")
        smoothed = nn.Sequential(convolution, Smooth(convolution.out_channels).to(convolution.weight.device))
        setattr(model.get_submodule(parent), child, smoothed)
    return model


def networks(name: str, images: Tensor, memory_format: torch.memory_format) -> dict[str, nn.Module]:
    """Give the network of each way, and see that the two that smooth agree."""
    plain = MODELS[name](3, 10).to(images.device).to(memory_format=memory_format)
    made = {way: copy.deepcopy(plain) for way in WAYS}
    cbs = lerac.CBS(made["CBS"], every=10**9)
    with_modules(made["modules"], cbs.state_dict()["modules"])
    made["modules"].to(memory_format=memory_format)
    ours, theirs = (copy.deepcopy(made[way]).eval()(images) for way in ("CBS", "modules"))
    if (difference := (ours - theirs).abs().max() / theirs.abs().max()) > 1e-5:
        raise RuntimeError(f"the two ways to smooth differ by {difference:.1e}, relative to the largest output")
    return made


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Tensor) -> None:
    """Take one whole training step."""
    optimizer.zero_grad()
    model(batch).square().mean().backward()
    optimizer.step()


def main() -> None:
    """Print the table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repetitions", type=int, default=20, help="rounds per row, at least 10")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--network", default="resnet18", choices=list(MODELS))
    options = parser.parse_args()
    device = torch.device(options.device)
    warnings.simplefilter("error")

    print(f"Measured on {machine(device)}; {options.network}, 32×32.")
    print(f"Medians of {options.repetitions} interleaved rounds [95 % interval].\n")
    print(
        "| memory format, batch | no filter | CBS ÷ no filter | a module per convolution ÷ no filter "
        "| CBS ÷ a module per convolution | LeRaC ÷ no filter | LeRaC ÷ a module per convolution | LeRaC ÷ CBS |"
    )
    print("|---|---|---|---|---|---|---|---|")
    formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    for (shown, memory_format), size in ((item, size) for item in formats.items() for size in options.batches):
        images = torch.randn(size, 3, 32, 32, device=device).contiguous(memory_format=memory_format)
        made = networks(options.network, images, memory_format)
        optimizers = {
            way: torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
            for way, model in made.items()
        }
        layers = lerac.find_layers(made["LeRaC"], images)
        lerac.LeRaC(optimizers["LeRaC"], made["LeRaC"], k=10**9, layers=layers)
        steps = {way: partial(train, made[way], optimizers[way], images) for way in WAYS}
        seconds = rounds(steps, repetitions=options.repetitions, calls=1, device=device)
        plain, cbs, modules, rates = (seconds[way] for way in WAYS)
        pairs = [(cbs, plain), (modules, plain), (cbs, modules), (rates, plain), (rates, modules), (rates, cbs)]
        cells = [f"{min(plain) * 1e3:.2f} ms", *(ratio(over, under) for over, under in pairs)]
        print(f"| {shown}, {size} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
