"""What a study costs a training of one's own: seconds a run beyond the bare function, and `attach` per optimizer step.

Run it: python benchmarks/own_overhead.py [--repetitions 7]

A run: the same function called in this process and by `lerac.study.compare`, whose runs have a process each, forked
from a server that has imported the file. A step: bare loop and loop with `attach` in a trial, interleaved, hashes of
weights and first batch included.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

import lerac
import lerac.study
from lerac.regimes import record

REGIMES = ("conventional", "warmup(k=1)", "lerac(k=1)")


def small() -> tuple[nn.Module, torch.Tensor, int]:
    """About 130,000 weights, a batch of 32 images of 8×8, 400 steps."""
    convolutions = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*convolutions, nn.Linear(64 * 36, 48), nn.ReLU(), nn.Linear(48, 10))
    return model, torch.randn(32, 1, 8, 8), 400


def large() -> tuple[nn.Module, torch.Tensor, int]:
    """About 25 million weights, a batch of 32 vectors, 20 steps."""
    blocks = [layer for _ in range(6) for layer in (nn.Linear(2048, 2048), nn.ReLU())]
    return nn.Sequential(*blocks, nn.Linear(2048, 10)), torch.randn(32, 2048), 20


NETWORKS: dict[str, Callable[[], tuple[nn.Module, torch.Tensor, int]]] = {"small": small, "large": large}


def loop(network: str, attach: Callable[..., Any]) -> tuple[float, list[float]]:
    """Train; give the seconds before the first step and those of each step."""
    torch.manual_seed(0)
    model, inputs, steps = NETWORKS[network]()
    labels = torch.zeros(len(inputs), dtype=torch.long)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    began = time.perf_counter()
    attach(optimizer, model, epoch_steps=max(1, steps // 4), epochs=4)
    before, times = time.perf_counter() - began, []
    for _ in range(steps):
        began = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        times.append(time.perf_counter() - began)
    return before, times


def nothing(*args: Any, **options: Any) -> None:
    """Attach nothing."""


def train(trial: Any) -> float:
    """Be the function that is compared."""
    _, times = loop(trial.settings["network"], trial.attach)
    return sum(times)


@contextmanager
def trial_of(regime: str, folder: str) -> Iterator[None]:
    """Be a run of a study, as far as `attach` can see."""
    os.environ.update({record.REGIME: regime, record.SEED: "0", record.FOLDER: folder})
    try:
        yield
    finally:
        record.finish()
        for name in (record.REGIME, record.SEED, record.FOLDER):
            del os.environ[name]


def steps(network: str, repetitions: int) -> None:
    """Print whole loops with `attach` over bare ones, interleaved."""
    ratios: dict[str, list[float]] = {regime: [] for regime in REGIMES}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repetitions):
            _, times = loop(network, nothing)
            bare = sum(times)
            for regime in REGIMES:
                with trial_of(regime, folder):
                    before, times = loop(network, lerac.attach)
                    ratios[regime].append((before + sum(times)) / bare)
                (Path(folder) / record.FILE).unlink()
    for regime, found in ratios.items():
        low, high = min(found), max(found)
        print(f"| {network} | {regime} | {statistics.median(found):.3f} | {low:.3f} to {high:.3f} |", flush=True)


def runs(network: str, count: int) -> None:
    """Print the seconds of a study beyond those of its loops, per run."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        study = lerac.study.compare(
            train, regimes="conventional,lerac(k=1)", seeds=count, metric="seconds", settings={"network": network},
            out=folder, workers=1,
        )  # fmt: skip
        whole = time.perf_counter() - began
        bare = sum(sum(cell.summary.values.values()) for cell in study.analysis.cells)
        print(
            f"| {network} | {2 * count} | {whole:.1f} | {bare:.1f} | {(whole - bare) / (2 * count):.2f} |", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=7)
    repetitions = parser.parse_args().repetitions
    torch.set_num_threads(1)
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, Python {platform.python_version()}\n"
    )
    print("| network | regime | with attach ÷ bare, median | smallest to largest |\n|---|---|---|---|")
    for network in NETWORKS:
        steps(network, repetitions)
    print("\n| network | runs | seconds of the study | of its loops | beyond them, a run |\n|---|---|---|---|---|")
    for network in NETWORKS:
        runs(network, repetitions)


if __name__ == "__main__":
    main()
