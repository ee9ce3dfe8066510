"""Two processes: every rank ends with the layers and the rates of rank 0."""

import socket
import time

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tests.conftest import loss_of
from torch import nn, optim
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import lerac


class DependsOnRank(nn.Module):
    """Its data flow differs between the ranks, as with routing that depends on the batch."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        first, second = (self.a, self.b) if dist.get_rank() == 0 else (self.b, self.a)
        return self.head(second(first(x).tanh()).tanh())


class Traceless(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x)

    other = forward


def data_parallel(rank, answers):
    torch.manual_seed(0)
    model = DependsOnRank()
    wrapped = DistributedDataParallel(model)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    curriculum = lerac.LeRaC(optimizer, (model, wrapped)[rank], k=4, ratio=1e-2)  # either works, even mixed
    for step in range(2):
        optimizer.zero_grad()
        loss_of(wrapped, 10 * step + rank).backward()
        optimizer.step()
    answers[rank] = ([layer.name for layer in curriculum.layers], curriculum.lrs(), model.head.weight.sum().item())


def one_cannot(rank, answers):
    model = Traceless()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, k=4)
    (model if rank else model.other)(torch.ones(2, 6)).sum().backward()  # rank 0 never calls forward
    try:
        optimizer.step()
    except RuntimeError as error:
        answers[rank] = str(error)


def stages(rank, answers):
    """Pipeline parallelism: every rank has another part of the network."""
    model = nn.Sequential(*[nn.Linear(6, 6) for _ in range(rank + 2)])
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    curriculum = lerac.LeRaC(optimizer, model, k=4)
    model(torch.ones(2, 6)).sum().backward()
    optimizer.step()
    answers[rank] = len(curriculum.layers)


def sharded(rank, answers):
    torch.manual_seed(0)
    told, model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3)), nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    layers = lerac.find_layers(told, torch.zeros(1, 6))
    model.load_state_dict(told.state_dict())
    for part in (told, model):
        fully_shard(part, mesh=dist.init_device_mesh("cpu", (2,)))
    optimizer = optim.SGD(told.parameters(), lr=0.1)
    curriculum = lerac.LeRaC(optimizer, told, k=4, ratio=1e-2, layers=layers)
    unknown = optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(unknown, model, k=4, ratio=1e-2)
    before = [p.full_tensor().clone() for p in told.parameters()]
    gradients = []
    for network, chosen in ((told, optimizer), (model, unknown)):
        loss_of(network, 0).backward()  # the same batch on both ranks
        gradients.append([p.grad.full_tensor() for p in network.parameters()])
        try:
            chosen.step()
        except (RuntimeError, ValueError) as error:
            refused = str(error)
    moves = [b - p.full_tensor() for b, p in zip(before, told.parameters(), strict=True)]
    expected = [0.1 * r * g for r, g in zip((1, 1, 1e-2, 1e-2), gradients[0], strict=True)]
    answers[rank] = (
        all(torch.allclose(m, e, atol=1e-7) for m, e in zip(moves, expected, strict=True)),
        curriculum.steps,
        refused,
    )


def work(rank, task, port, answers):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    task(rank, answers)
    dist.destroy_process_group()


def on_two_ranks(task):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with mp.get_context("spawn").Manager() as manager:
        answers = manager.dict()
        context = mp.spawn(work, (task, port, answers), nprocs=2, join=False)
        deadline = time.monotonic() + 100
        while not context.join(timeout=1):
            if time.monotonic() > deadline:
                for process in context.processes:
                    process.kill()
                pytest.fail("the ranks wait for each other")
        return dict(answers)


def test_every_rank_has_the_layers_and_rates_of_rank_0():
    answers = on_two_ranks(data_parallel)
    assert answers[0] == answers[1]
    assert answers[0][0] == ["a", "b", "head"]


def test_if_the_deciding_rank_cannot_every_rank_says_so():
    answers = on_two_ranks(one_cannot)
    assert answers[0].startswith("LeRaC has seen no forward pass of Traceless")
    assert answers[1].startswith("rank 0 found no layers: LeRaC has seen no forward pass of Traceless")


def test_stages_of_a_pipeline_keep_their_own():
    assert on_two_ranks(stages) == {0: 2, 1: 3}


def test_sharded_parameters_need_layers_found_before():
    answers = on_two_ranks(sharded)
    for right, steps, refused in answers.values():
        assert right
        assert steps == 1
        assert "are sharded" in refused
        assert "pass layers=" in refused
