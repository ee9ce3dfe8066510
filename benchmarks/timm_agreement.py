"""Do measured depths agree with the layer groups that timm's authors wrote by hand for every model?

An inversion is a pair of parameters that timm orders strictly one way and `measure_depths` strictly the other
way; a model's rate is their share of the pairs that timm orders. Models are built without weights. Needs timm
and numpy.

    python benchmarks/timm_agreement.py                      # all models; about half an hour on two cores
    python benchmarks/timm_agreement.py --per-file           # the smallest model of every file of timm
    python benchmarks/timm_agreement.py resnet50 vit_base_patch16_224
"""

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import Any, cast

import numpy as np
import timm
import torch
from torch import nn

from lerac.depth import measure_depths
from lerac.layers import Layer, group_layers, layers_from_timm


@dataclass(frozen=True)
class Agreement:
    """How one model fared; `inverted` and `ordered` count pairs, `grouped` the inversions among 32 layers."""

    model: str
    ordered: int
    inverted: int
    grouped: int
    depths: int
    layers: int
    placed: int
    seconds: float
    warning: str = ""

    @property
    def rate(self) -> float:
        """Share of the ordered pairs that are inverted."""
        return self.inverted / max(self.ordered, 1)


def build(name: str) -> nn.Module:
    """The model without weights, on the meta device where its constructor allows that."""
    try:
        with torch.device("meta"):
            return timm.create_model(name, pretrained=False)
    except (RuntimeError, NotImplementedError):
        return timm.create_model(name, pretrained=False)


def example(model: nn.Module) -> torch.Tensor:
    """One image of the size that the model was made for, `(1, channels, height, width)`."""
    return torch.empty(1, *input_size(model), device="meta")


def input_size(model: nn.Module) -> tuple[int, int, int]:
    """Channels, height and width of the images that the model was made for."""
    size: tuple[int, int, int] = cast(Any, model).default_cfg["input_size"]
    return size


def files_of_timm() -> dict[str, list[str]]:
    """The models that every module file of timm defines."""
    return {file: timm.list_models(module=file) for file in timm.list_modules() if timm.list_models(module=file)}


def smallest_of(names: Sequence[str]) -> str:
    """The model with the fewest parameters times input pixels."""

    def size(name: str) -> int:
        model = build(name)
        _, height, width = input_size(model)
        return sum(p.numel() for p in model.parameters()) * height * width

    return min(names, key=size)


def inversions(expected: Iterable[Layer], measured: Iterable[Layer]) -> tuple[int, int]:
    """Numbers of inverted pairs and of pairs that `expected` orders strictly."""
    depth = {name: layer.depth for layer in measured for name in layer.parameters}
    inverted = ordered = 0
    before = np.empty(0, dtype=np.int64)
    for layer in sorted(expected, key=lambda layer: layer.depth):
        now = np.array([depth[name] for name in layer.parameters])
        inverted += int((len(before) - np.searchsorted(before, now, side="right")).sum())
        ordered += len(before) * len(now)
        before = np.sort(np.concatenate([before, now]))
    return inverted, ordered


def worst_pairs(expected: Iterable[Layer], measured: Iterable[Layer], count: int = 5) -> Mapping[str, int]:
    """The parameters that take part in the most inversions."""
    depth = {name: layer.depth for layer in measured for name in layer.parameters}
    group = {name: layer.depth for layer in expected for name in layer.parameters}
    names = list(group)
    d, g = np.array([depth[n] for n in names]), np.array([group[n] for n in names])
    bad = [int((((g < g[i]) & (d > d[i])) | ((g > g[i]) & (d < d[i]))).sum()) for i in range(len(names))]
    ranked = sorted(range(len(names)), key=lambda i: -bad[i])[:count]
    return {names[i]: bad[i] for i in ranked if bad[i]}


def compare(name: str) -> Agreement:
    """Measure one model."""
    torch.set_num_threads(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = build(name)
        caught.clear()
        start = time.perf_counter()
        measured = measure_depths(model, example(model))
        seconds = time.perf_counter() - start
    complaints = [str(w.message) for w in caught if "could not be measured" in str(w.message)]
    grouped = group_layers(measured)
    try:
        expected = layers_from_timm(model)
    except TypeError:
        expected = ()
    inverted, ordered = inversions(expected, measured)
    return Agreement(
        name,
        ordered,
        inverted,
        inversions(expected, grouped)[0],
        len(measured),
        len(grouped),
        sum(len(layer.placed) for layer in measured),
        seconds,
        "; ".join(complaints),
    )


def report(results: Sequence[Agreement]) -> str:
    """The figures, then what disagrees."""
    known = [result for result in results if result.ordered]
    exact = sum(not result.inverted for result in known)
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}, timm {timm.__version__}",
        f"{len(results)} models, {len(known)} with layer groups",
        f"without inversion {exact / len(known):.1%}; mean rate {mean(r.rate for r in known):.3%}; "
        f"worst {max(r.rate for r in known):.1%}",
        f"the same after grouping: {sum(not r.grouped for r in known) / len(known):.1%}",
        f"depths: median {median(r.depths for r in results):.0f}, at most {max(r.depths for r in results)}; "
        f"layers at most {max(r.layers for r in results)}",
        f"seconds: median {median(r.seconds for r in results):.2f}, at most {max(r.seconds for r in results):.2f}",
        f"not measured: {sum(bool(r.warning) for r in results)}",
    ]
    lines += [f"  {r.model}: {r.warning}" for r in results if r.warning]
    lines += [f"  {r.rate:7.3%}  {r.model}" for r in sorted(known, key=lambda r: -r.rate) if r.inverted]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--per-file", action="store_true", help="one model of every file of timm")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="also write the results, one JSON object a line")
    options = parser.parse_args()
    # a fresh process now and then: models and caches of fake tensors add up
    with get_context("spawn").Pool(options.workers, maxtasksperchild=50) as pool:
        names = options.models or timm.list_models()
        if options.per_file:
            names = pool.map(smallest_of, list(files_of_timm().values()), chunksize=1)
        results = []
        for result in pool.imap(compare, names):
            results.append(result)
            if options.json:
                with options.json.open("a") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
    print(report(results))
    for result in results if options.models else ():
        model = build(result.model)
        print(result.model, worst_pairs(layers_from_timm(model), measure_depths(model, example(model))))


if __name__ == "__main__":
    main()
