"""Shared by the tests of the core: a small network, its data, and the loop that people write by hand."""

import gc
import os
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

import lerac


@pytest.fixture(autouse=True, scope="module")
def _no_garbage_among_what_is_imported() -> None:
    """Frameworks collect garbage after each training, and would look through all modules every time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """One thread, one seed; and nothing of a test's process group or environment is left to the next."""
    before, environment = torch.get_num_threads(), dict(os.environ)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in os.environ.keys() - environment.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update({name: value for name, value in environment.items() if name != "PYTEST_CURRENT_TEST"})


@pytest.fixture(autouse=True)
def _curricula_go_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests look at a few steps of a curriculum only; `test_ending.py` is about what is said of that."""
    monkeypatch.setattr("lerac.curriculum.course.watch", lambda course: None)


class Net(nn.Module):
    """Four layers; `bias=False` leaves matrices only, as Muon wants them."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 8, bias=bias)
        self.body = nn.Sequential(nn.Linear(8, 8, bias=bias), nn.Tanh(), nn.Linear(8, 8, bias=bias))
        self.head = nn.Linear(8, 3, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.stem(x).tanh()).tanh())


def make_net(seed: int = 0, bias: bool = True) -> Net:
    torch.manual_seed(seed)
    return Net(bias)


def loss_of(model: nn.Module, step: int) -> torch.Tensor:
    """The loss of the batch of this step, the same in every run."""
    generator = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(16, 6, generator=generator)
    y = torch.randint(0, 3, (16,), generator=generator)
    return nn.functional.cross_entropy(model(x), y)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: range,
    before_step: Callable[[int], None] = lambda _: None,
) -> None:
    for step in steps:
        optimizer.zero_grad()
        loss_of(model, step).backward()
        before_step(step)
        optimizer.step()


def same(a: nn.Module, b: nn.Module) -> bool:
    """Bit for bit."""
    ours, theirs = dict(a.named_parameters()), dict(b.named_parameters())
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def layers_of(model: nn.Module) -> tuple[lerac.Layer, ...]:
    return lerac.find_layers(model, torch.zeros(1, 6))


def by_layer(model: nn.Module, ratio: float) -> list[tuple[list[nn.Parameter], float]]:
    """What somebody would write by hand: the parameters of each layer of `Net`, and r_j."""
    modules = [model.stem, model.body[0], model.body[2], model.head]
    return [(list(m.parameters()), ratio ** (j / 3)) for j, m in enumerate(modules)]
