"""Time several ways of doing one thing side by side, and compare them within each round."""

import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def machine(device: torch.device) -> str:
    """Say what the figures were measured on."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads of {cpu}"
    return f"{on}; Python {platform.python_version()}, torch {torch.__version__}, {platform.system()}"


def rounds(
    ways: Mapping[str, Callable[[], object]], *, repetitions: int, calls: int, device: torch.device
) -> dict[str, list[float]]:
    """Give the seconds per call of each way in each round; every round takes the ways in a new random order."""
    rng = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for name in ways:  # warm-up, not counted
        _timed(ways[name], calls, device)
    for _ in range(repetitions):
        for name in rng.sample(list(ways), len(ways)):
            seconds[name].append(_timed(ways[name], calls, device))
    return seconds


def ratio(over: list[float], under: list[float]) -> str:
    """Give the median of the rounds' ratios with a 95 % bootstrap interval of that median."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
    return f"{statistics.median(ratios):.3f} [{medians[50]:.3f}, {medians[1949]:.3f}]"


def _timed(way: Callable[[], object], calls: int, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        way()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / calls


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []
