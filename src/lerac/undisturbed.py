"""Running networks without leaving a trace: modes, buffers, random states and global switches are put back."""

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["RandomState", "devices_of", "evaluating", "operation_by_operation"]


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Put networks into evaluation mode, without gradients; put everything back at the end, also after an error.

    Put back are the mode of every module, every buffer (those set or registered meanwhile too), and the random states
    of Python, NumPy and torch. Neither `train()` nor `eval()` is called, because some modules merge weights in them.
    """
    modules = list(dict.fromkeys(module for network in networks for module in network.modules()))
    modes = [(module, module.training) for module in modules]
    buffers = [
        (module, dict(module._buffers), set(module._non_persistent_buffers_set))
        for module in modules
        if not isinstance(module, torch.jit.ScriptModule)  # whose buffers cannot be set anew
    ]
    values = [(buffer, buffer.detach().clone()) for network in networks for buffer in network.buffers()]
    randomness = RandomState(devices_of(*networks))
    try:
        for module in modules:
            module.training = False
        with torch.no_grad(), operation_by_operation():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, named, not_saved in buffers:
            module._buffers.clear()
            module._buffers.update(named)
            module._non_persistent_buffers_set.clear()
            module._non_persistent_buffers_set.update(not_saved)
        for buffer, value in values:
            if not torch.equal(buffer, value):  # writing what is there would void a graph that needs the buffer
                buffer.data.copy_(value)
        randomness.restore()


@contextmanager
def operation_by_operation() -> Iterator[None]:
    """Compile nothing, and take no fast path that hides layers in one operation."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def devices_of(*networks: nn.Module) -> set[torch.device]:
    """Give the devices of parameters and buffers."""
    return {tensor.device for network in networks for tensor in (*network.parameters(), *network.buffers())}


class RandomState:
    """The random states of Python, of NumPy if it is loaded, and of torch on the CPU and on `devices`."""

    def __init__(self, devices: Iterable[torch.device]) -> None:
        self._python = random.getstate()
        self._numpy: Any = sys.modules["numpy"].random.get_state() if "numpy" in sys.modules else None
        self._cpu = torch.get_rng_state()
        others = {device for device in devices if device.type not in ("cpu", "meta")}
        self._devices = {device: _generator(device).get_rng_state(*_index(device)) for device in others}

    def restore(self) -> None:
        """Go on as if no random number had been drawn since."""
        random.setstate(self._python)
        if self._numpy is not None:
            sys.modules["numpy"].random.set_state(self._numpy)
        torch.set_rng_state(self._cpu)
        for device, state in self._devices.items():
            _generator(device).set_rng_state(state, *_index(device))


def _generator(device: torch.device) -> Any:
    return torch.get_device_module(device)


def _index(device: torch.device) -> tuple[torch.device, ...]:
    return () if device.type == "mps" else (device,)  # there is one, and its functions take no argument
