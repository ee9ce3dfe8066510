"""`benchmarks/loop_overhead.py` runs, and the three ways to train that it compares do the same arithmetic."""

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def overhead(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)  # where it finds its helper
    path = BENCHMARKS / "loop_overhead.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_network_has_a_row(overhead, monkeypatch, capsys):
    monkeypatch.setitem(overhead.CASES, "resnet18/cifar10", small_resnet(overhead))
    monkeypatch.setattr("sys.argv", ["loop_overhead.py", "--repetitions", "2", "--batches", "1"])
    overhead.main()
    first, _, _, head, line, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith("Measured on 1 threads of ")
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in overhead.CASES]
    assert head.count("|") == line.count("|") == 8
    interval = r"\d+\.\d{3} \[\d+\.\d{3}, \d+\.\d{3}\]"
    for row in rows:
        assert re.fullmatch(rf"\| \S+ \| 1 (\| [\d,]+ ){{3}}\| {interval} \| {interval} \|", row), row


@pytest.mark.parametrize("name", ["small-cnn/digits", "lenet/cifar10", "resnet18/cifar10"])
def test_one_batch_changes_the_weights_alike(overhead, name):
    """An epoch of one batch: all three see the same examples, in another order."""
    case = overhead.CASES[name] if name != "resnet18/cifar10" else small_resnet(overhead)
    run = overhead.run_of(case, 1, torch.device("cpu"))
    ways = overhead.ways(case, run, torch.device("cpu"))
    plain, bare = ways["plain"].args[0], ways["bare"].args[0]
    weights = {
        "ours": lambda: ways["ours"].func.__self__.state_dict()["network"],
        "plain": plain.state_dict,
        "bare": bare.state_dict,
    }
    names = [name for name, _ in bare.named_parameters()]
    start = {way: vector(state(), names) for way, state in weights.items()}
    assert torch.equal(start["ours"], start["bare"])
    assert torch.equal(start["plain"], start["bare"])
    for way in ways.values():
        way()
    moved = {way: vector(state(), names) - start[way] for way, state in weights.items()}
    assert moved["bare"].norm() > 0
    for way in ("ours", "plain"):
        assert (moved[way] - moved["bare"]).norm() < 1e-3 * moved["bare"].norm()


def test_rates_are_samples_per_second(overhead):
    run = overhead.run_of(overhead.CASES["small-cnn/digits"], 2, torch.device("cpu"))
    row = overhead.row("it", run, {"ours": [0.25] * 10, "plain": [0.5] * 10, "bare": [0.2] * 10})
    assert row == "| it | 2 | 512 | 256 | 640 | 0.800 [0.800, 0.800] | 2.000 [2.000, 2.000] |"


def test_other_values_are_refused(overhead):
    case = replace(overhead.CASES["lenet/cifar10"], transform=overhead.transforms.ToTensor())
    run = overhead.run_of(case, 1, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="other values of the images than ours"):
        overhead.ways(case, run, torch.device("cpu"))


def small_resnet(overhead):
    case = overhead.CASES["resnet18/cifar10"]
    return replace(case, changes=("network.widths=[4, 8, 8, 8]",))


def vector(state, names):
    return torch.cat([state[name].flatten() for name in names]).double()
