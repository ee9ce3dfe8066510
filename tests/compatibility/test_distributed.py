"""Two processes with gloo, against one process that sees all samples."""

from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn, optim
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

import lerac
from tests.compatibility.helpers.by_hand import LR, RATIO, STEPS, K, trained_by_hand
from tests.conftest import layers_of, make_net, same, train
from tests.ranks import by_name, on_two_ranks

STOP = 3
adamw = partial(optim.AdamW, lr=LR, eps=1e-3)  # its usual eps would turn rounding of tiny gradients into steps
sgd = partial(optim.SGD, lr=LR, momentum=0.9)


# What both ranks do: each task gives plain numbers and tensors.


def train_on_my_half(model, optimizer, steps):
    """Train as `tests.conftest.train` does, on every second sample of the batch."""
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    for step in steps:
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(1000 + step)
        x = torch.randn(16, 6, generator=generator)
        y = torch.randint(0, 3, (16,), generator=generator)
        nn.functional.cross_entropy(model(x[mine]), y[mine]).backward()
        optimizer.step()


def whole(model):
    return [(p.full_tensor() if hasattr(p, "full_tensor") else p).detach().clone() for p in model.parameters()]


def data_parallel(_):
    model = make_net()
    wrapped = DistributedDataParallel(model)
    optimizer = sgd(wrapped.parameters())
    lerac.LeRaC(optimizer, wrapped, k=K, ratio=RATIO)
    train_on_my_half(wrapped, optimizer, range(STEPS))
    return whole(model)


def batch_statistics(_):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))
    torch.manual_seed(dist.get_rank())  # another dropout on each
    wrapped = DistributedDataParallel(model)
    optimizer = sgd(wrapped.parameters())
    curriculum = lerac.LeRaC(optimizer, wrapped, k=K, ratio=RATIO)
    rates = []
    for step in range(STEPS):
        train_on_my_half(wrapped, optimizer, range(step, step + 1))
        rates.append(curriculum.lrs())
    return [(layer.name, layer.depth, layer.parameters) for layer in curriculum.layers], rates, whole(model)


def sharded(seed=0):
    """A network whose layers were found before it was sharded, layer by layer, over both ranks."""
    model = make_net(seed)
    layers = layers_of(model)
    for part in (model.stem, model.body, model.head, model):
        fully_shard(part, mesh=dist.init_device_mesh("cpu", (2,)))
    optimizer = adamw(model.parameters())
    return model, optimizer, lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers)


def fully_sharded(_):
    model, optimizer, _ = sharded()
    train_on_my_half(model, optimizer, range(STEPS))
    return whole(model)


def average(parameter):
    dist.all_reduce(parameter.grad)
    parameter.grad /= dist.get_world_size()


def fully_sharded_but_for_the_head(_):
    """What FSDP2 is told to ignore stays a plain tensor, whose gradients the user reduces."""
    model = make_net()
    layers = layers_of(model)
    ignored = list(model.head.parameters())
    fully_shard(model, mesh=dist.init_device_mesh("cpu", (2,)), ignored_params=set(ignored))
    optimizer = adamw(model.parameters(), foreach=False)  # torch mixes both kinds in no foreach step
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers)
    for p in ignored:
        p.register_post_accumulate_grad_hook(average)
    train_on_my_half(model, optimizer, range(STEPS))
    return whole(model), [hasattr(p, "full_tensor") for p in model.parameters()]


def tensor_parallel(_):
    model = make_net()
    layers = layers_of(model)
    plan = {
        "stem": ColwiseParallel(),
        "body.0": RowwiseParallel(),
        "body.2": ColwiseParallel(),
        "head": RowwiseParallel(),
    }
    parallelize_module(model, dist.init_device_mesh("cpu", (2,)), plan)
    optimizer = adamw(model.parameters())
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers)
    train(model, optimizer, range(STEPS))  # both ranks see the same samples
    return whole(model)


def sharded_optimizer(_):
    model = make_net()
    wrapped = DistributedDataParallel(model)
    optimizer = ZeroRedundancyOptimizer(wrapped.parameters(), optim.AdamW, lr=LR, eps=1e-3)
    curriculum = lerac.LeRaC(optimizer, wrapped, k=K, ratio=RATIO)
    train_on_my_half(wrapped, optimizer, range(STEPS))
    return whole(model), curriculum.steps, sum(len(group["params"]) for group in optimizer.optim.param_groups)


def replicated(seed=0):
    model = DistributedDataParallel(make_net(seed))
    optimizer = adamw(model.parameters())
    return model, optimizer, lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)


def saved_and_continued(build, folder):
    model, optimizer, _ = build()
    train_on_my_half(model, optimizer, range(STOP))
    dcp.save(dict(zip(("model", "optimizer"), get_state_dict(model, optimizer), strict=True)), checkpoint_id=folder)
    train_on_my_half(model, optimizer, range(STOP, STEPS))

    again, its_optimizer, curriculum = build(seed=1)
    state = dict(zip(("model", "optimizer"), get_state_dict(again, its_optimizer), strict=True))
    dcp.load(state, checkpoint_id=folder)
    set_state_dict(again, its_optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    resumed_at = curriculum.steps
    train_on_my_half(again, its_optimizer, range(STOP, STEPS))
    return whole(model), whole(again), resumed_at


def saved_and_continued_replicated(folder):
    return saved_and_continued(replicated, folder / "replicated")


def saved_and_continued_sharded(folder):
    return saved_and_continued(sharded, folder / "sharded")


TASKS = by_name(
    data_parallel,
    batch_statistics,
    fully_sharded,
    fully_sharded_but_for_the_head,
    tensor_parallel,
    sharded_optimizer,
    saved_and_continued_replicated,
    saved_and_continued_sharded,
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each rank answered to each task."""
    return on_two_ranks(__name__, tmp_path_factory.mktemp("ranks"))


def close(parameters, model):
    for ours, theirs in zip(parameters, model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.compatible("DistributedDataParallel")
def test_two_ranks_train_as_one_process_that_sees_all_samples(answers):
    """The loop by hand in one process that sees the same samples, within rounding; both ranks agree bit for bit"""
    first, second = answers(data_parallel)
    assert all(map(torch.equal, first, second))
    close(first, trained_by_hand(sgd))


@pytest.mark.compatible("DistributedDataParallel, batch statistics and dropout")
def test_both_ranks_have_the_same_layers_and_rates(answers):
    """The other rank: the same layers, the same rates at every step and the same weights"""
    (layers, rates, weights), other = answers(batch_statistics)
    assert (layers, rates) == other[:2]
    assert all(map(torch.equal, weights, other[2]))
    assert [parameters for _, _, parameters in layers] == [
        ("0.weight", "0.bias"),
        ("1.weight", "1.bias"),
        ("4.weight", "4.bias"),
    ]


@pytest.mark.compatible("FSDP2 (fully_shard)")
def test_sharded_parameters_train_as_whole_ones(answers):
    """The loop by hand in one process that sees the same samples, within rounding; with layers=lerac.find_layers(…),
    called before fully_shard"""
    for parameters in answers(fully_sharded):
        close(parameters, trained_by_hand(adamw))


@pytest.mark.compatible("FSDP2 with ignored_params")
def test_what_is_not_sharded_trains_beside_what_is(answers):
    """The loop by hand in one process that sees the same samples, within rounding; with layers=lerac.find_layers(…),
    called before fully_shard"""
    for parameters, are_shards in answers(fully_sharded_but_for_the_head):
        assert are_shards == [True] * 6 + [False] * 2
        close(parameters, trained_by_hand(adamw))


@pytest.mark.compatible("tensor parallelism (parallelize_module)")
def test_matrices_cut_by_row_or_column_train_as_whole_ones(answers):
    """The loop by hand in one process, within rounding; with layers=lerac.find_layers(…), called before
    parallelize_module"""
    for parameters in answers(tensor_parallel):
        close(parameters, trained_by_hand(adamw))


@pytest.mark.compatible("ZeroRedundancyOptimizer")
def test_an_optimizer_that_is_sharded_trains_as_a_whole_one(answers):
    """The loop by hand in one process that sees the same samples, within rounding; each rank updates its part only"""
    (first, *_), (second, *_) = both = answers(sharded_optimizer)
    assert all(map(torch.equal, first, second))
    close(first, trained_by_hand(adamw))
    assert [steps for _, steps, _ in both] == [K, K]
    assert all(0 < updated < 8 for _, _, updated in both)


@pytest.mark.compatible("torch.distributed.checkpoint")
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled, unavailable or uninitialized:UserWarning")
def test_one_process_continues_as_if_never_stopped(tmp_path):
    """An uninterrupted run, bit for bit; one process"""

    def build(seed):
        model = make_net(seed)
        optimizer = adamw(model.parameters())
        return model, optimizer, lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)

    model, optimizer, _ = build(0)
    train(model, optimizer, range(STOP))
    dcp.save(dict(zip(("model", "optimizer"), get_state_dict(model, optimizer), strict=True)), checkpoint_id=tmp_path)
    train(model, optimizer, range(STOP, STEPS))
    again, its_optimizer, curriculum = build(1)
    state = dict(zip(("model", "optimizer"), get_state_dict(again, its_optimizer), strict=True))
    dcp.load(state, checkpoint_id=tmp_path)
    set_state_dict(again, its_optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    assert curriculum.steps == STOP
    train(again, its_optimizer, range(STOP, STEPS))
    assert same(model, again)


@pytest.mark.compatible("torch.distributed.checkpoint with DistributedDataParallel")
def test_replicas_continue_as_if_never_stopped(answers):
    """An uninterrupted run, bit for bit"""
    for uninterrupted, continued, resumed_at in answers(saved_and_continued_replicated):
        assert resumed_at == STOP
        assert all(map(torch.equal, uninterrupted, continued))


@pytest.mark.compatible("torch.distributed.checkpoint with FSDP2")
def test_shards_continue_as_if_never_stopped(answers):
    """An uninterrupted run, bit for bit"""
    for uninterrupted, continued, resumed_at in answers(saved_and_continued_sharded):
        assert resumed_at == STOP
        assert all(map(torch.equal, uninterrupted, continued))
