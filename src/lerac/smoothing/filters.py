"""The Gaussian filter: its weights, when it is the identity, and the fastest exact way to apply it."""

import math
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Filter", "gaussian", "is_identity"]

_CONVOLVE: dict[int, Any] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def gaussian(sigma: float, kernel_size: int) -> list[float]:
    """Give the weights along one dimension, exp(−i² / 2σ²) for i = −⌊kernel_size/2⌋ … , divided by their sum.

    The weights of several dimensions are their products, which again add up to 1.

    Args:
        sigma: standard deviation in pixels, tokens or time steps; 0 gives the identity.
        kernel_size: how many, odd.

    Examples:
        >>> [round(w, 4) for w in gaussian(1.0, 3)]
        [0.2741, 0.4519, 0.2741]
        >>> gaussian(0.0, 3)
        [0.0, 1.0, 0.0]
    """
    half = kernel_size // 2
    weights = [math.exp(-_squared(i, sigma) / 2) for i in range(-half, half + 1)]
    return [weight / sum(weights) for weight in weights]


def is_identity(sigma: float, kernel_size: int, dims: int, dtype: torch.dtype) -> bool:
    """Whether the weights off the centre add up to at most half of the machine epsilon of `dtype`.

    Then the filter moves no value by more than epsilon times the largest one in its window: what rounding the result
    of the convolution may move it by, too.

    Args:
        sigma: standard deviation, 0 or more.
        kernel_size: weights per dimension, odd.
        dims: dimensions that are smoothed, 1 to 3.
        dtype: any floating or complex type.

    Examples:
        >>> [is_identity(sigma, 3, 2, torch.float32) for sigma in (0.18, 0.16)]
        [False, True]
    """
    half = kernel_size // 2
    tail = 2 * sum(math.exp(-_squared(i, sigma) / 2) for i in range(1, half + 1))
    off_centre = -math.expm1(-dims * math.log1p(tail))  # 1 − (1 / (1 + tail))^dims, exact for tiny tails
    return off_centre <= torch.finfo(dtype).eps / 2


def _squared(i: int, sigma: float) -> float:
    return 0.0 if i == 0 else (math.inf if sigma == 0 else min(abs(i) / sigma, 1e150) ** 2)


class Filter:
    """The weights at the present σ, shared by all places that are smoothed, and by copies of the model.

    The weights are tensors that are changed in place: a compiled model reads them as inputs, and a captured CUDA graph
    replays with them. While the filter is off, these tensors hold the identity.

    Args:
        kernel_size: weights per dimension, odd.
    """

    def __init__(self, kernel_size: int) -> None:
        self.kernel_size = kernel_size
        self.on = False
        self._weights = gaussian(0.0, kernel_size)
        self._taps: list[Tensor] = []  # along one dimension, one tensor for each device
        self._kernels: dict[Any, Tensor] = {}

    def set(self, sigma: float, *, on: bool, devices: Collection[torch.device] = ()) -> None:
        """Take the weights of this σ, or the identity if the filter is to be off."""
        self.on = on
        self._weights = gaussian(sigma if on else 0.0, self.kernel_size)
        with torch.no_grad(), torch.inference_mode(False):
            for taps in self._taps:
                taps.copy_(self._new_taps(taps.device))
            for (dims, _, _, dtype), kernel in self._kernels.items():
                kernel.copy_(_outer(self._new_taps(kernel.device), dims).to(dtype).expand_as(kernel))
        for device in {torch.device("cpu"), *devices}:
            self._taps_on(device)

    def smooth_channels(self, x: Tensor, dims: int) -> Tensor:
        """Smooth the last `dims` dimensions of x, (batch, channels, …) or (channels, …); same shape and type."""
        if x.ndim == dims + 1:
            return self.smooth_channels(x.unsqueeze(0), dims).squeeze(0)
        channels = x.shape[1]
        return self._apply(x, self._kernel(x, dims, channels), channels)

    def smooth_sequence(self, x: Tensor, dim: int) -> Tensor:
        """Smooth along dimension 0 or 1 of x, (time, batch, features) or (batch, time, features)."""
        moved = x.permute(1, 2, 0) if dim == 0 else x.transpose(1, 2)
        smoothed = self.smooth_channels(moved, 1)
        return (smoothed.permute(2, 0, 1) if dim == 0 else smoothed.transpose(1, 2)).contiguous()

    def _apply(self, x: Tensor, kernel: Tensor, channels: int) -> Tensor:
        if x.numel() == 0:
            return x
        with _as_it_is(x):
            if _pays_off(x):
                smoothed: Tensor = _Symmetric.apply(x, kernel, channels)
                return smoothed
            return _convolved(x, kernel, channels)

    def _kernel(self, x: Tensor, dims: int, channels: int) -> Tensor:
        if torch.compiler.is_compiling():
            return _depthwise(_outer(self._taps_on(x.device), dims).to(x.dtype), channels)
        if type(x) is not Tensor:  # such as a fake tensor: not to be mixed with real ones, nor kept
            return _depthwise(_outer(self._new_taps(x.device), dims).to(x.dtype), channels)
        key = (dims, channels, x.device, x.dtype)
        kernel = self._kernels.get(key)
        if kernel is None:
            with torch.inference_mode(False):  # it may be used in training later
                kernel = _depthwise(_outer(self._new_taps(x.device), dims).to(x.dtype), channels).contiguous()
            self._kernels[key] = kernel
        return kernel

    def _taps_on(self, device: torch.device) -> Tensor:
        for taps in self._taps:
            if taps.device == device:
                return taps
        if torch.compiler.is_compiling():
            return self._taps[0].to(device)
        with torch.inference_mode(False):
            self._taps.append(self._new_taps(device))
        return self._taps[-1]

    def _new_taps(self, device: torch.device) -> Tensor:
        exact = torch.float32 if device.type == "mps" else torch.float64
        return torch.tensor(self._weights, dtype=exact, device=device)

    # A copy of the model, such as a moving average of its weights, is smoothed as the model is, at every time.
    def __deepcopy__(self, memo: dict[int, Any]) -> "Filter":
        return self

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_taps": [], "_kernels": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._taps_on(torch.device("cpu"))


class _Symmetric(torch.autograd.Function):
    """Depthwise convolution with a symmetric kernel: its transpose, which the backward pass needs, is itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, channels: int) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.channels = channels
        return _convolved(x, kernel, channels)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (kernel,) = ctx.saved_tensors
        return _Symmetric.apply(gradients[0], kernel, ctx.channels), None, None


def _pays_off(x: Tensor) -> bool:
    """Whether `_Symmetric` is the faster way: measured on CPUs, and there not in channels_last."""
    return (
        x.requires_grad
        and x.device.type == "cpu"
        and torch.is_grad_enabled()
        and x.is_contiguous()
        and type(x) is Tensor
        and not torch.compiler.is_compiling()
        and not torch._C._is_tracing()
        and not torch._C._are_functorch_transforms_active()
    )


def _convolved(x: Tensor, kernel: Tensor, channels: int) -> Tensor:
    padding = [size // 2 for size in kernel.shape[2:]]
    smoothed: Tensor = _CONVOLVE[kernel.ndim - 2](x, kernel, padding=padding, groups=channels)
    return smoothed


def _outer(taps: Tensor, dims: int) -> Tensor:
    kernel = taps
    for _ in range(dims - 1):
        kernel = kernel.unsqueeze(-1) * taps
    return kernel


def _depthwise(kernel: Tensor, channels: int) -> Tensor:
    return kernel.expand(channels, 1, *kernel.shape)


def _as_it_is(x: Tensor) -> AbstractContextManager[Any]:
    """Autocast would convert an output that the model keeps in float32."""
    if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()
