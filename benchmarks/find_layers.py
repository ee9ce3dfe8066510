"""What finding layers costs: seconds and peak memory, every model in a process of its own.

The models have no weights (meta device). `first` includes what torch loads when it first makes a fake
tensor, `again` does not; `CPU` is the processor time of the latter, which a busy machine hardly
changes. Memory is how much the peak of the process grew beyond the model. Needs timm and transformers.

    python benchmarks/find_layers.py
"""

import os
import platform
import resource
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from multiprocessing import get_context
from statistics import median
from typing import Any

import torch
from torch import nn

from lerac.depth import find_layers

REPETITIONS = 5
Case = Callable[[], tuple[nn.Module, dict[str, Any]]]


def resnet18() -> tuple[nn.Module, dict[str, Any]]:
    import timm

    return timm.create_model("resnet18"), {"x": torch.empty(8, 3, 224, 224)}


def vit_large() -> tuple[nn.Module, dict[str, Any]]:
    import timm

    return timm.create_model("vit_large_patch16_224"), {"x": torch.empty(8, 3, 224, 224)}


def unet() -> tuple[nn.Module, dict[str, Any]]:
    return UNet(), {"x": torch.empty(8, 3, 256, 256)}


def clip() -> tuple[nn.Module, dict[str, Any]]:
    from transformers import CLIPConfig, CLIPModel

    ids = torch.zeros(8, 77, dtype=torch.long)
    return CLIPModel(CLIPConfig()), {"input_ids": ids, "pixel_values": torch.empty(8, 3, 224, 224)}


def llama_7b() -> tuple[nn.Module, dict[str, Any]]:
    return llama()


def llama_70b() -> tuple[nn.Module, dict[str, Any]]:
    heads = {"num_attention_heads": 64, "num_key_value_heads": 8}
    return llama(hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, **heads)


def llama(**shape: Any) -> tuple[nn.Module, dict[str, Any]]:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**shape)), {"input_ids": torch.zeros(1, 2048, dtype=torch.long)}


class UNet(nn.Module):
    """Four resolutions, two convolutions each; 31 million parameters, as in the original U-Net."""

    def __init__(self) -> None:
        super().__init__()
        widths = (64, 128, 256, 512, 1024)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairwise(widths))
        self.merge = nn.ModuleList(self.pair(2 * a, a) for a in widths[:-1])
        self.down = nn.ModuleList(self.pair(a, b) for a, b in pairwise((3, *widths)))
        self.head = nn.Conv2d(64, 2, 1)

    @staticmethod
    def pair(a: int, b: int) -> nn.Module:
        """Two convolutions, from `a` to `b` channels."""
        return nn.Sequential(
            *(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()),
            *(nn.Conv2d(b, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of two classes, `(batch, 2, height, width)`, of images, `(batch, 3, height, width)`."""
        skips = []
        for i, down in enumerate(self.down):
            x = down(x if i == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        for i in reversed(range(4)):
            x = self.merge[i](torch.cat([skips[i], self.up[i](x)], 1))
        out: torch.Tensor = self.head(x)
        return out


def measure(case: Case) -> str:
    """Build one model and find its layers several times."""
    torch.set_num_threads(1)
    with torch.device("meta"):
        model, inputs = case()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, busy = [], []
    for _ in range(1 + REPETITIONS):
        start, start_busy = time.perf_counter(), time.process_time()
        layers = find_layers(model, **inputs)
        seconds.append(time.perf_counter() - start)
        busy.append(time.process_time() - start_busy)
    unit = 1 if platform.system() == "Darwin" else 1024  # bytes there, kibibytes here
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit / 2**20
    parameters = sum(p.numel() for p in model.parameters())
    first, *again = seconds
    cells = [case.__name__, f"{parameters / 1e6:,.0f}", str(len(layers)), f"{first:.2f}"]
    cells += [f"{median(again):.2f} ({min(again):.2f} to {max(again):.2f})", f"{median(busy[1:]):.2f}"]
    return f"| {' | '.join(cells)} | {grown:.0f} |"


def main() -> None:
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, one thread, Python {platform.python_version()}, "
        f"torch {torch.__version__}, timm {version('timm')}, transformers {version('transformers')}"
    )
    print("| model | million parameters | layers | first, s | again, s (range of 5) | CPU, s | memory, MiB |")
    print("|---|---|---|---|---|---|---|")
    context = get_context("spawn")
    for case in (resnet18, vit_large, unet, clip, llama_7b, llama_70b):
        with context.Pool(1) as pool:
            print(pool.apply(measure, (case,)), flush=True)


if __name__ == "__main__":
    main()
