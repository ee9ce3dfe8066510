"""One traced forward pass of a copy of the model, shut off from everything outside it."""

import logging
import random
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lerac.depth.calls import Calls
from lerac.depth.flow import CPU, Flow
from lerac.depth.loop.events import Loop
from lerac.depth.loop.replay import replay
from lerac.depth.twin import Example, fake_twin, real_twin
from lerac.layers import named_parameters
from lerac.undisturbed import RandomState, operation_by_operation

__all__ = ["trace"]


def trace(model: nn.Module, loop: Loop, *, training: bool, real: bool = False) -> dict[str, int]:
    """Give the level of every parameter that meets the input in one forward pass.

    Args:
        model: stays as it is; a copy of it runs.
        loop: the calls that make up this forward pass.
        training: run in training mode and with gradients, otherwise in evaluation mode and without.
        real: compute with values, on the model's own devices; otherwise with fake tensors.

    Raises:
        CannotCopyError: if a part of the model refuses to be copied.
        Exception: whatever the forward pass raises.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    devices = {parameter.device for parameter in model.parameters()} if real else {CPU}
    with _undisturbed(devices), torch.inference_mode(False), torch.set_grad_enabled(training):
        twin = real_twin(model) if real else fake_twin(model, mode)
        twin.model.train(training)
        originals = dict([*model.named_parameters(), *model.named_buffers()])
        flow = Flow(twin.parameters, originals, fake=not real)
        _announce_calls(twin.model, flow)

        @contextmanager
        def watched(example: Example) -> Iterator[None]:
            with _autocast(example, devices), nullcontext() if real else mode, flow, Calls(flow):
                yield

        replay(loop, twin, flow, watched)
    return flow.depths | _of_scripted_layers(model, flow.depths)


def _of_scripted_layers(model: nn.Module, depths: Mapping[str, int]) -> dict[str, int]:
    """One level for weight and bias of a scripted layer of torch: what TorchScript calls is not seen as calls."""
    scripted = [m for m in model.modules() if isinstance(m, torch.jit.ScriptModule) and hasattr(nn, m.original_name)]
    named = named_parameters(model) if scripted else {}
    together: dict[str, int] = {}
    for layer in scripted:
        own = {id(parameter) for parameter in layer.parameters(recurse=False)}
        names = [name for name, parameter in named.items() if id(parameter) in own and name in depths]
        together |= dict.fromkeys(names, min((depths[name] for name in names), default=0))
    return together


def _announce_calls(model: nn.Module, flow: Flow) -> None:
    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        flow.enter((args, kwargs))

    def leave(module: nn.Module, args: Any, result: Any) -> None:
        flow.leave()

    for module in model.modules():
        if not isinstance(module, torch.jit.ScriptModule):  # those take no hooks
            module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True)
            module.register_forward_hook(leave, always_call=True)


@contextmanager
def _undisturbed(devices: set[torch.device]) -> Iterator[None]:
    """Put random states and global switches back afterwards, and drop warnings: training repeats them."""
    fake_log = logging.getLogger("torch._subclasses.fake_tensor")  # logs what it raises, too
    disabled, randomness = fake_log.disabled, RandomState(devices)
    try:
        fake_log.disabled = True
        with warnings.catch_warnings(action="ignore"), operation_by_operation():
            torch.default_generator.manual_seed(0)  # the same on every rank and in every call
            random.seed(0)
            if "numpy" in sys.modules:
                sys.modules["numpy"].random.seed(0)
            yield
    finally:
        fake_log.disabled = disabled
        randomness.restore()


@contextmanager
def _autocast(example: Example, devices: set[torch.device]) -> Iterator[None]:
    """The autocast region of the example, on the devices of the copy; its cache of cast weights is unused."""
    with ExitStack() as stack:
        for kind in {device.type for device in devices}:
            dtype = example.autocast
            stack.enter_context(torch.autocast(kind, dtype=dtype, enabled=dtype is not None, cache_enabled=False))
        yield
