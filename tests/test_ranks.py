"""Two processes: every rank ends with the layers and the rates of rank 0, and is smoothed as one process is."""

import pytest
import torch
import torch.distributed as dist
from torch import nn, optim
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import lerac
from tests.conftest import loss_of
from tests.ranks import by_name, on_two_ranks


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


def data_parallel(_):
    rank = dist.get_rank()
    torch.manual_seed(0)
    model = DependsOnRank()
    wrapped = DistributedDataParallel(model)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    curriculum = lerac.LeRaC(optimizer, (model, wrapped)[rank], k=4, ratio=1e-2)  # either works, even mixed
    for step in range(2):
        optimizer.zero_grad()
        loss_of(wrapped, 10 * step + rank).backward()
        optimizer.step()
    return ([layer.name for layer in curriculum.layers], curriculum.lrs(), model.head.weight.sum().item())


def one_cannot(_):
    rank = dist.get_rank()
    model = Traceless()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, k=4)
    (model if rank else model.other)(torch.ones(2, 6)).sum().backward()  # rank 0 never calls forward
    try:
        optimizer.step()
    except RuntimeError as error:
        return str(error)


def stages(_):
    """Pipeline parallelism: every rank has another part of the network."""
    model = nn.Sequential(*[nn.Linear(6, 6) for _ in range(dist.get_rank() + 2)])
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    curriculum = lerac.LeRaC(optimizer, model, k=4)
    model(torch.ones(2, 6)).sum().backward()
    optimizer.step()
    return len(curriculum.layers)


def sharded(_):
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
    return (
        all(torch.allclose(m, e, atol=1e-7) for m, e in zip(moves, expected, strict=True)),
        curriculum.steps,
        refused,
    )


class Smoothed(nn.Sequential):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 2, 3, padding=1))


def images(rank):
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(10 + rank))


def smooth(model, wrapped, x):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    cbs = lerac.CBS(wrapped, every=1)
    for _ in range(3):
        optimizer.zero_grad()
        wrapped(x).square().mean().backward()
        optimizer.step()
        cbs.step()
    return [p.detach().clone() for p in model.parameters()], cbs.state_dict()


def smoothed(_):
    model = Smoothed()
    return smooth(model, DistributedDataParallel(model), images(dist.get_rank()))


TASKS = by_name(data_parallel, one_cannot, stages, sharded, smoothed)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return on_two_ranks(__name__, tmp_path_factory.mktemp("ranks"))


def test_every_rank_has_the_layers_and_rates_of_rank_0(answers):
    first, second = answers(data_parallel)
    assert first == second
    assert first[0] == ["a", "b", "head"]


def test_if_the_deciding_rank_cannot_every_rank_says_so(answers):
    first, second = answers(one_cannot)
    assert first.startswith("LeRaC has seen no forward pass of Traceless")
    assert second.startswith("rank 0 found no layers: LeRaC has seen no forward pass of Traceless")


def test_stages_of_a_pipeline_keep_their_own(answers):
    assert answers(stages) == [2, 3]


def test_sharded_parameters_need_layers_found_before(answers):
    for right, steps, refused in answers(sharded):
        assert right
        assert steps == 1
        assert "are sharded" in refused
        assert "pass layers=" in refused


def test_smoothed_on_two_ranks_is_smoothed_on_one_that_sees_all_images(answers):
    alone = Smoothed()
    expected, state = smooth(alone, alone, torch.cat([images(0), images(1)]))
    for weights, its_state in answers(smoothed):
        assert its_state == state
        for ours, theirs in zip(weights, expected, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-6)
