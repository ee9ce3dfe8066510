"""Modules that only share a list: whatever wraps them, interrupts them or comes between, and nothing is left of it."""

import copy
import gc
import pickle
import threading
import weakref

import pytest
import torch
from tests.curriculum.listed import IN_TURN, NOT_CALLED, WIDTH, Chain, by_name, chains, make
from torch import distributed, nn, optim
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

import lerac


def test_after_a_refusal_it_goes_on_looking():
    parts = chains(1, 1)
    optimizer, curriculum = make(parts)
    x = torch.randn(3, WIDTH)
    parts[0](x).sum().backward()
    with pytest.raises(RuntimeError, match=NOT_CALLED.format(1)):
        optimizer.step()
    parts[1](parts[0](x).detach() * 2).sum().backward()
    optimizer.step()
    assert by_name(curriculum) == IN_TURN


def test_validation_before_training_does_not_count():
    parts = chains(1, 1)
    optimizer, curriculum = make(parts)
    parts.eval()
    parts[1](torch.randn(3, WIDTH))
    with torch.inference_mode():
        parts[0](parts[1](torch.randn(3, WIDTH)))
    parts.train()
    parts[1](parts[0](torch.randn(3, WIDTH))).sum().backward()
    optimizer.step()
    assert by_name(curriculum) == IN_TURN


def test_tasks_that_take_turns_while_gradients_are_accumulated():
    parts = chains(1, 1, 2)
    optimizer, curriculum = make(parts)
    for task in (1, 2, 1, 2):
        parts[task](parts[0](torch.randn(task, WIDTH))).sum().item()  # logged
        parts[task](parts[0](torch.randn(task, WIDTH))).sum().backward()
    optimizer.step()
    assert by_name(curriculum) == IN_TURN | {"2.layers.0.weight": 1, "2.layers.1.weight": 2}


@pytest.mark.parametrize("given", ["the function is passed", "the closure calls it"])
def test_a_loop_inside_of_the_closure(given):
    parts = chains(1, 1)
    optimizer, curriculum = make(parts)

    def closure():
        optimizer.zero_grad()
        loss = parts[1](parts[0](torch.ones(3, WIDTH))).sum()
        loss.backward()
        return loss

    optimizer.step(closure) if given == "the function is passed" else optimizer.step(closure=closure)
    assert by_name(curriculum) == IN_TURN


def test_two_optimizers_with_the_same_list_agree():
    parts = chains(2, 1)
    optimizers = [optim.SGD(part.parameters(), lr=0.1) for part in parts]
    curricula = [lerac.LeRaC(optimizer, parts, k=10) for optimizer in optimizers]
    parts[1](parts[0](torch.ones(3, WIDTH)).detach() * 2).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    assert curricula[0].layers == curricula[1].layers
    assert by_name(curricula[0]) == {"0.layers.0.weight": 0, "0.layers.1.weight": 1, "1.layers.0.weight": 2}


@pytest.mark.parametrize("wrapped", ["before", "after"])
def test_distributed_data_parallel(wrapped):
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        parts = chains(1, 2)
        called = [DistributedDataParallel(part) for part in parts]
        listed = nn.ModuleList(called) if wrapped == "before" else parts
        optimizer, curriculum = make(listed)
        called[1](called[0](torch.ones(3, WIDTH)).detach() * 2).sum().backward()
        optimizer.step()
        assert by_name(curriculum) == IN_TURN | {"1.layers.1.weight": 2}
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda part: torch.compile(part, backend="eager")])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_wrapped_parts(wrap):
    torch._dynamo.reset()
    parts = nn.ModuleList(wrap(part) for part in chains(1, 2))
    optimizer, curriculum = make(parts)
    for _ in range(2):
        parts[1](parts[0](torch.ones(3, WIDTH)).detach() * 2).sum().backward()
        optimizer.step()
    assert by_name(curriculum) == IN_TURN | {"1.layers.1.weight": 2}


def test_replicas_in_threads():
    """As `nn.DataParallel` makes them on several devices."""
    parts = nn.ModuleList([nn.Linear(WIDTH, WIDTH), Chain(2)])
    optimizer, curriculum = make(parts)
    results = [None, None]

    def work(i):
        replica = parts[0]._replicate_for_data_parallel()
        replica.weight, replica.bias = parts[0].weight.clone(), parts[0].bias.clone()
        results[i] = replica(torch.ones(3, WIDTH))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    parts[1](torch.cat(results)).sum().backward()
    optimizer.step()
    assert by_name(curriculum) == {"0.weight": 0, "1.layers.0.weight": 1, "1.layers.1.weight": 2}


class Interrupts(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")], ids=["Ctrl-C", "an error"])
@pytest.mark.parametrize("at", [0, 1])
def test_a_call_that_does_not_end_is_forgotten(error, at):
    parts = chains(1, 1)
    optimizer, curriculum = make(parts)
    layers, parts[at].layers = parts[at].layers, Interrupts(error)
    with pytest.raises(type(error)):
        parts[1](parts[0](torch.ones(3, WIDTH)))
    parts[at].layers = layers
    parts[1](parts[0](torch.ones(3, WIDTH)).detach() * 2).sum().backward()
    optimizer.step()
    assert by_name(curriculum) == IN_TURN


class Notes(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_other_modes_and_default_devices_stay_in_their_order():
    parts = chains(1, 1)
    optimizer, curriculum = make(parts)
    torch.set_default_device("cpu")
    try:
        with torch.device("meta"), Notes() as notes:
            hidden = parts[0](torch.ones(3, WIDTH, device="cpu"))
            assert torch.ones(1).is_meta
            hidden = hidden.detach() * 2
        assert notes.names[-1] == "mul"
        assert not torch.ones(1).is_meta
        with Notes() as notes:
            loss = parts[1](hidden).sum()
            torch.set_default_device(None)
        loss.backward()
        optimizer.step()
        assert notes.names.count("sum") == 1
        assert by_name(curriculum) == IN_TURN
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("end", ["a step", "removed", "forgotten"])
def test_nothing_is_left_of_it(end):
    parts = chains(1, 1)
    optimizer, curriculum = make(parts)
    torch.manual_seed(0)
    batch = torch.randn(5000, WIDTH)
    hidden = parts[0](batch)
    given = parts[1](hidden * 2)
    given.sum().backward()
    alive = [weakref.ref(tensor) for tensor in (batch, hidden, given)]
    del batch, hidden, given
    assert not any(reference() is not None for reference in alive)  # already before the step
    if end == "a step":
        optimizer.step()
    elif end == "removed":
        curriculum.remove()
    else:
        del optimizer, curriculum
        gc.collect()
        optimizer, curriculum = make(parts)
        parts[0](torch.ones(3, WIDTH))
        curriculum.remove()
    drawn = torch.rand(1)
    torch.manual_seed(0)
    torch.randn(5000, WIDTH)
    assert drawn == torch.rand(1)
    if end != "forgotten":  # whose hooks do nothing
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in parts)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_of_the_list_bring_no_curriculum_along(copier):
    parts = chains(1, 1)
    optimizer, curriculum = make(parts)
    average = copier(parts)
    average[0](average[1](torch.ones(3, WIDTH)))
    with pytest.raises(RuntimeError, match="no forward pass of ModuleList"):
        optimizer.step()
    parts[1](parts[0](torch.ones(3, WIDTH))).sum().backward()
    optimizer.step()
    assert by_name(curriculum) == IN_TURN


def test_a_copy_of_everything_finds_its_own_layers():
    parts = chains(1, 1)
    optimizer, curriculum = make(parts)
    parts2, optimizer2, curriculum2 = copy.deepcopy((parts, optimizer, curriculum))
    parts2[0](parts2[1](torch.ones(3, WIDTH))).sum().backward()
    optimizer2.step()
    assert by_name(curriculum2) == {"1.layers.0.weight": 0, "0.layers.0.weight": 1}
    parts[1](parts[0](torch.ones(3, WIDTH))).sum().backward()
    optimizer.step()
    assert by_name(curriculum) == IN_TURN


def test_many_calls_that_follow_each_other_cost_little_in_the_first_step():
    """As when a policy acts before it learns; each call comes after the ones before it."""
    parts = chains(1, 2)
    optimizer, curriculum = make(parts)
    place = torch.ones(3, WIDTH)
    with torch.no_grad():
        for _ in range(100):
            action, _ = parts[0](place), parts[1](place)
            place = place * 0.9 + action * 0.1
    (parts[0](place) + parts[1](place)).sum().backward()
    seen = curriculum._factors._first_forward.seen()
    assert len(seen.calls) == 2
    optimizer.step()
    assert by_name(curriculum) == {"0.layers.0.weight": 0, "1.layers.0.weight": 0, "1.layers.1.weight": 1}
