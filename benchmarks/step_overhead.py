"""What LeRaC costs: a whole training step, and `optimizer.step()` alone, as ratios measured side by side.

    python benchmarks/step_overhead.py [--device cuda] [--repetitions 20]

Four optimizers per network take turns in every round: conventional (one param group), the layout of the authors'
code (one group per tensor), LeRaC during the curriculum, and LeRaC after it. Each has a network of its own with the
same weights. A ratio is the median over the rounds, with a 95 % interval; below 1 means that LeRaC is faster.
"""

import argparse
import copy
import warnings
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

import lerac
from interleaved import machine, ratio, rounds
from lerac.study.models import MODELS

Optimizers = Callable[..., torch.optim.Optimizer]
SGD = partial(torch.optim.SGD, lr=1e-4, momentum=0.9, weight_decay=1e-4)
ADAMW = partial(torch.optim.AdamW, lr=1e-5)


class SmallTransformer(nn.Module):
    """Eight encoder blocks of width 128 over 64 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(1000, 128)
        block = nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, 8, enable_nested_tensor=False)
        self.head = nn.Linear(128, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """From (batch, 64) token numbers to (batch, 10) logits."""
        logits: torch.Tensor = self.head(self.blocks(self.embed(tokens)).mean(1))
        return logits


def networks(batch: int, device: torch.device) -> dict[str, tuple[nn.Module, torch.Tensor, Optimizers]]:
    """Give each network with a batch of inputs and its optimizer."""
    images = torch.randn(batch, 3, 32, 32, device=device)
    tokens = torch.randint(0, 1000, (batch, 64), device=device)
    return {
        "ResNet-18": (MODELS["resnet18"](3, 10).to(device), images, SGD),
        "WRN-52-2": (MODELS["wrn52-2"](3, 10).to(device), images, SGD),
        "transformer": (SmallTransformer().to(device), tokens, ADAMW),
    }


def optimizers(
    model: nn.Module, example: torch.Tensor, make: Optimizers
) -> dict[str, tuple[nn.Module, torch.optim.Optimizer]]:
    """Build the four optimizers to compare, each on a copy of the network."""
    copies = {name: copy.deepcopy(model) for name in ("conventional", "one group per tensor", "during", "after")}
    made = {name: make(copies[name].parameters()) for name in copies if name != "one group per tensor"}
    made["one group per tensor"] = make([{"params": [p]} for p in copies["one group per tensor"].parameters()])
    layers = lerac.find_layers(model, example)
    lerac.LeRaC(made["during"], copies["during"], k=10**9, layers=layers)
    finished = lerac.LeRaC(made["after"], copies["after"], k=1, layers=layers)
    train(copies["after"], made["after"], example)
    if not finished.finished:
        raise RuntimeError("the curriculum did not finish after its k steps")
    return {name: (copies[name], made[name]) for name in copies}


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batch: torch.Tensor) -> None:
    """Take one whole training step."""
    optimizer.zero_grad()
    model(batch).square().mean().backward()
    optimizer.step()


def compare(ways: Mapping[str, Callable[[], object]], repetitions: int, calls: int, device: torch.device) -> str:
    """Give one row: the milliseconds of the conventional way, and the ratios."""
    seconds = rounds(ways, repetitions=repetitions, calls=calls, device=device)
    conventional, tensors = seconds["conventional"], seconds["one group per tensor"]
    cells = [
        f"{min(conventional) * 1e3:.2f} ms",
        ratio(seconds["during"], conventional),
        ratio(seconds["after"], conventional),
        ratio(seconds["during"], tensors),
        ratio(seconds["after"], tensors),
        ratio(tensors, conventional),
    ]
    return " | ".join(cells)


def main() -> None:
    """Print the table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repetitions", type=int, default=20, help="rounds per row, at least 10")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--only", help="a single network")
    options = parser.parse_args()
    device = torch.device(options.device)
    warnings.simplefilter("error")

    print(f"Measured on {machine(device)}; batch {options.batch}.")
    print(f"Medians of {options.repetitions} interleaved rounds [95 % interval].\n")
    print(
        "| network, tensors, layers | what | conventional | LeRaC during ÷ conventional | after ÷ conventional "
        "| during ÷ one group per tensor | after ÷ one group per tensor | one group per tensor ÷ conventional |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, (model, batch, make) in networks(options.batch, device).items():
        if options.only not in (None, name):
            continue
        tensors, layers = len(list(model.parameters())), len(lerac.find_layers(model, batch))
        row = f"| {name}, {tensors}, {layers} |"
        pairs = optimizers(model, batch, make)
        steps = {way: partial(train, *pair, batch) for way, pair in pairs.items()}
        print(row, f"whole step | {compare(steps, options.repetitions, 1, device)} |", flush=True)
        for how, choice in {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}.items():
            pairs = optimizers(model, batch, partial(make, **choice))
            for pair in pairs.values():
                train(*pair, batch)  # so that there are gradients and state
            only = {way: optimizer.step for way, (_, optimizer) in pairs.items()}
            print(row, f"step(), {how} | {compare(only, options.repetitions, 5, device)} |", flush=True)


if __name__ == "__main__":
    main()
