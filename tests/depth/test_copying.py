"""Whatever a model holds: it is copied, shared or refused, and the layers are those of the model without it."""

import contextlib
import dataclasses
import functools
import queue
import socket
import sqlite3
import threading
import types
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader

import lerac.depth
from lerac.depth import find_layers


class HeadFirst(nn.Module):
    """Registers its head first, so that the order of registration is the wrong way round."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(4, 2), nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.body(x))


X = torch.zeros(2, 4)


def names(layers):
    assert not any(layer.placed for layer in layers)
    return [layer.name for layer in layers]


class Slots:
    __slots__ = ("__hidden", "item")

    def __init__(self, item):
        self.item = self.__hidden = item


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    item: object


class Plain:
    def __init__(self, item):
        self.item, self.me = item, self


class Refuses(Plain):
    def __reduce_ex__(self, protocol):
        raise TypeError("not this one")


class RefusesDeepCopies(Slots):
    __slots__ = ()

    def __deepcopy__(self, memo):
        raise RuntimeError("nor this one")


class RefusingDict(dict):
    """More than its attributes, so that it can only be shared."""

    def __reduce_ex__(self, protocol):
        raise TypeError("cannot be copied")


def around_itself(item):
    result = [item]
    result.append(result)
    return result


@contextlib.contextmanager
def suspended():
    yield


# Each from the model, since it may lead back to it.
UNCOPYABLE = {
    "torch.Generator": lambda model: torch.Generator(),
    "lock": lambda model: threading.Lock(),
    "locked lock": lambda model: locked(),
    "rlock": lambda model: threading.RLock(),
    "event": lambda model: threading.Event(),
    "condition": lambda model: threading.Condition(),
    "semaphore": lambda model: threading.Semaphore(),
    "barrier": lambda model: threading.Barrier(2),
    "thread-local": lambda model: threading.local(),
    "thread": lambda model: threading.Thread(target=model.forward),
    "queue": lambda model: queue.Queue(),
    "simple queue": lambda model: queue.SimpleQueue(),
    "executor": lambda model: ThreadPoolExecutor(1, initializer=model.forward),
    "generator": lambda model: (module for module in model.modules()),
    "context manager": lambda model: suspended(),
    "loader's iterator": lambda model: iter(DataLoader([1, 2, 3], shuffle=True)),
    "dict.values()": lambda model: model._modules.values(),
    "dict.keys()": lambda model: {"a": 1}.keys(),
    "dict.items()": lambda model: model._parameters.items(),
    "mappingproxy": lambda model: types.MappingProxyType(model._modules),
    "file": lambda model: open("/dev/null"),  # noqa: SIM115, PTH123
    "socket": lambda model: socket.socket(),
    "database": lambda model: sqlite3.connect(":memory:"),
    "memoryview": lambda model: memoryview(b"abc"),
    "module": lambda model: torch,
    "weak reference": lambda model: weakref.ref(model.head),
    "weak method": lambda model: weakref.WeakMethod(model.forward),
    "weak values": lambda model: weakref.WeakValueDictionary(head=model.head),
    "weak keys": lambda model: weakref.WeakKeyDictionary({model.head: 1}),
    "weak set": lambda model: weakref.WeakSet([model.head]),
    "closure": lambda model: lambda x: model.head(x),
    "cache": lambda model: functools.cache(model.forward),
    "frame": lambda model: (lambda: __import__("sys")._getframe())(),
    "refuses": lambda model: Refuses(model.head),
    "refuses deep copies": lambda model: RefusesDeepCopies(model.head),
    "refusing dict": lambda model: RefusingDict(head=model.head),
}
NESTED = {
    "list": lambda item: [item],
    "tuple": lambda item: (1, item),
    "dict": lambda item: {"a": item, "b": item},
    "deque": lambda item: deque([item]),
    "plain object": Plain,
    "slots": Slots,
    "frozen dataclass": Frozen,
    "object that refuses": Refuses,
    "object that refuses deep copies": RefusesDeepCopies,
    "partial": lambda item: functools.partial(print, item),
    "function": lambda item: lambda: item,
    "a list around itself": around_itself,
}


def locked():
    lock = threading.Lock()
    lock.acquire()
    return lock


@pytest.mark.parametrize("kind", UNCOPYABLE)
@pytest.mark.parametrize("real", [False, True])
@settings(max_examples=3, deadline=None)
@given(nested=st.lists(st.sampled_from(sorted(NESTED)), max_size=3), inside=st.booleans())
def test_attributes_change_nothing(kind, real, nested, inside):
    model = HeadFirst()
    item = UNCOPYABLE[kind](model)
    held = functools.reduce(lambda item, name: NESTED[name](item), nested, item)
    owner = model.body if inside else model
    owner.held = held
    with pytest.MonkeyPatch.context() as patch:
        if real:
            trace = lerac.depth.trace
            patch.setattr(lerac.depth, "trace", lambda *a, **k: trace(*a, **{**k, "real": True}))
        assert names(find_layers(model, X)) == ["body", "head"]
    assert owner.held is held
    if hasattr(item, "close"):
        item.close()


class Uses(HeadFirst):
    """What it holds has a part in its forward pass."""

    def __init__(self, held, use):
        super().__init__()
        self.held, self.use = held(self), use

    def forward(self, x):
        return self.use(self, x)


def through_two_threads(model, x):
    return model.head(model.held.submit(model.body, x).result())


def under(lock):
    def use(model, x):
        with model.held if lock is None else lock(model):
            return HeadFirst.forward(model, x)

    return use


USED = {
    "lock": (lambda model: threading.Lock(), under(None)),
    "locked lock": (lambda model: locked(), under(None)),
    "condition": (lambda model: threading.Condition(), under(None)),
    "semaphore": (lambda model: threading.Semaphore(), under(None)),
    "set event": (
        lambda model: threading.Event(),
        lambda m, x: m.held.set() or HeadFirst.forward(m, x * m.held.wait()),
    ),
    "executor": (lambda model: ThreadPoolExecutor(2), through_two_threads),
    "random numbers": (
        lambda model: torch.Generator(),
        lambda m, x: m.head(m.body(x) + torch.rand(2, 4, generator=m.held)),
    ),
    "queue": (
        lambda model: queue.Queue(),
        lambda m, x: m.held.put(m.body(x)) or m.head(m.held.get()),
    ),
    "simple queue": (
        lambda model: queue.SimpleQueue(),
        lambda m, x: m.held.put(m.body(x)) or m.head(m.held.get()),
    ),
    "dict.values()": (
        lambda model: model._modules.values(),
        lambda m, x: functools.reduce(lambda x, module: module(x), reversed(m.held), x),
    ),
    "mappingproxy": (
        lambda model: types.MappingProxyType(model._modules),
        lambda m, x: m.held["head"](m.held["body"](x)),
    ),
    "weak reference": (lambda model: weakref.ref(model.body), lambda m, x: m.head(m.held()(x))),
    "weak method": (lambda model: weakref.WeakMethod(model.body.forward), lambda m, x: m.head(m.held()(x))),
    "weak values": (
        lambda model: weakref.WeakValueDictionary(body=model.body),
        lambda m, x: m.head(m.held["body"](x)),
    ),
    "weak keys": (
        lambda model: weakref.WeakKeyDictionary({model.body: [model.body]}),
        lambda m, x: m.head(m.held[m.body][0](x)),
    ),
    "closure": (lambda model: lambda x: model.body(x), lambda m, x: m.head(m.held(x))),
    "default of a function": (lambda model: lambda x, body=model.body: body(x), lambda m, x: m.head(m.held(x))),
    "bound method": (lambda model: model.body.forward, lambda m, x: m.head(m.held(x))),
    "cache": (
        lambda model: functools.cache(lambda rows: model.body(torch.zeros(rows, 4))),
        lambda m, x: m.head(m.body(x) + m.held(2)),
    ),
    "refuses": (lambda model: Refuses(model.body), lambda m, x: m.head(m.held.me.item(x))),
    "refuses deep copies": (lambda model: RefusesDeepCopies(model.body), lambda m, x: m.head(m.held.item(x))),
    "thread-local": (
        lambda model: threading.local(),
        lambda m, x: setattr(m.held, "x", m.body(x)) or m.head(m.held.x),
    ),
}  # fmt: skip


def state_of(held):
    if isinstance(held, torch.Generator):
        return held.get_state().tolist()
    if isinstance(held, queue.Queue | queue.SimpleQueue):
        return held.qsize()
    return {
        threading.Event: lambda: held.is_set(),
        threading.local: lambda: vars(held).copy(),
        ThreadPoolExecutor: lambda: len(held._threads),
        type(functools.cache(len)): lambda: held.cache_info(),
        type(threading.Lock()): lambda: held.locked(),
    }.get(type(held), lambda: None)()


@pytest.mark.parametrize("kind", USED)
def test_what_the_forward_pass_uses(kind):
    model = Uses(*USED[kind])
    before = state_of(model.held)
    weights = {name: (p._version, p.grad) for name, p in model.named_parameters()}
    assert names(find_layers(model, X)) == ["body", "head"]
    assert state_of(model.held) == before
    assert {name: (p._version, p.grad) for name, p in model.named_parameters()} == weights


def numbers():
    yield from range(3)


REFUSED = {
    "generator": (
        lambda model: numbers(),
        lambda m, x: HeadFirst.forward(m, x + next(m.held)),
        "takes the next item of a generator, which has no copy",
        next,
    ),
    "loader's iterator": (
        lambda model: iter(DataLoader([1.0, 2.0])),
        lambda m, x: HeadFirst.forward(m, x + next(m.held)),
        "takes the next item of a _SingleProcessDataLoaderIter",
        lambda held: int(next(held)) - 1,
    ),
    "empty queue": (
        lambda model: queue.Queue(),
        lambda m, x: HeadFirst.forward(m, x + m.held.get()),
        "waits for another thread",
        queue.Queue.qsize,
    ),
    "event": (
        lambda model: threading.Event(),
        lambda m, x: m.held.wait() and HeadFirst.forward(m, x),
        "waits for another thread",
        threading.Event.is_set,
    ),
    "the model itself": (
        lambda model: RefusingDict(body=model.body),
        lambda m, x: m.head(m.held["body"](x)),
        "uses body.weight of the model itself",
        lambda held: 0,
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_copy_cannot_do_is_refused(kind):
    held, use, message, state = REFUSED[kind]
    model = Uses(held, use)
    with pytest.raises(
        ValueError, match=rf"depths of Uses could not be measured: its .*{message}.*registration_layers"
    ):
        find_layers(model, X)
    assert not state(model.held), "nothing was taken from the model's own"


def test_no_buffer_of_the_model_is_written():
    model = Uses(
        lambda model: RefusingDict(norm=nn.BatchNorm1d(4)),
        lambda m, x: HeadFirst.forward(m, m.held["norm"](x)),
    )
    model.norm = model.held["norm"].requires_grad_(False)
    with pytest.raises(ValueError, match="of the model itself"):
        find_layers(model, X)
    assert model.norm.num_batches_tracked == 0


def test_a_copy_closes_nothing_of_the_model(tmp_path):
    class Closes:
        def __init__(self, file):
            self.file = file

        def __del__(self):
            self.file.close()

    class Logged(HeadFirst):
        __del__ = Closes.__del__

    model = Logged()
    with (tmp_path / "log").open("w") as model.file:
        model.other = Closes(model.file)
        assert names(find_layers(model, X)) == ["body", "head"]
        assert not model.file.closed


def test_modules_with_rules_of_their_own():
    class Own(HeadFirst):
        def __deepcopy__(self, memo):
            raise RuntimeError("use clone()")

    class Parametrised(HeadFirst):
        def __init__(self):
            super().__init__()
            self.body = nn.utils.parametrizations.weight_norm(self.body)
            self.body.lock = threading.Lock()  # its class copies by `copy.deepcopy`

    for model in (nn.Sequential(Own()), nn.Sequential(Parametrised())):
        assert names(find_layers(model, X)) == ["0.body", "0.head"]
