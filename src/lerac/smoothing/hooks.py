"""Forward hooks that smooth the output of a module: feature maps, sequences of tokens, sequences in time."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lerac.smoothing.attention import Masks
from lerac.smoothing.filters import Filter

__all__ = ["ChannelsHook", "Hook", "TimeHook", "TokensHook"]


class Hook:
    """A forward hook with keyword arguments.

    Args:
        applied: the filter; a copy of the hook, in a copy of the model, has the same.
        name: of the module, for messages.
    """

    what = ""

    def __init__(self, applied: Filter, name: str) -> None:
        self.filter = applied
        self.name = name
        self.called = False
        self.compiled = False  # it is part of a compiled graph
        self.copied = False  # it belongs to a copy of the model, to which no CBS was copied along

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Smooth the output of a call of the module, unless the filter is off."""
        self.called = True
        if torch.compiler.is_compiling():
            self.compiled = True
        return self._smooth(args, kwargs, output) if self.filter.on else output

    def _smooth(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        raise NotImplementedError

    def _refuse(self, got: str, expected: str) -> ValueError:
        return ValueError(
            f"CBS smooths the output of {self.name!r} as {self.what}, which must be {expected}, and got {got}: select "
            "other modules by modules="
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "Hook":
        memo[id(self)] = twin = object.__new__(type(self))
        vars(twin).update(vars(self) | {"copied": True})
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"copied": True}


class ChannelsHook(Hook):
    """Smooths (batch, channels, …) along all dimensions after the channels.

    Args:
        applied: the filter.
        name: of the module.
        dims: number of these dimensions; None if the output tells.
        batched: whether an output without a batch dimension is an error.
    """

    what = "feature maps"

    def __init__(self, applied: Filter, name: str, dims: int | None, *, batched: bool) -> None:
        super().__init__(applied, name)
        self.dims = dims
        self._batched = batched

    def _smooth(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise self._refuse(type(output).__name__, "a tensor")
        dims = output.ndim - 2 if self.dims is None else self.dims
        allowed = (dims + 2,) if self._batched else (dims + 1, dims + 2)
        if not 1 <= dims <= 3 or output.ndim not in allowed:
            raise self._refuse(f"shape {tuple(output.shape)}", "(batch, channels, …) with 1 to 3 more dimensions")
        return self.filter.smooth_channels(output, dims)


class TokensHook(Hook):
    """Smooths a sequence of tokens along the sequence, or a grid of tokens along height and width.

    Class tokens and padding stay as they are, and nothing of them gets into other tokens: these are smoothed as the
    shorter sequence that they are.

    Args:
        applied: the filter.
        name: of the module.
        masks: reads padding from what the module is called with.
        prefix: number of class tokens at the start.
        dim: of the sequence in (batch, tokens, features), 0 or 1.
        by_pixel: whether a grid is (batch, features, height, width) instead of (batch, height, width, features).
    """

    what = "a sequence of tokens"

    def __init__(self, applied: Filter, name: str, masks: Masks, prefix: int, dim: int, *, by_pixel: bool) -> None:
        super().__init__(applied, name)
        self.prefix = prefix
        self._masks = masks
        self._dim = dim
        self._by_pixel = by_pixel

    def _smooth(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
            first = self._smooth_tokens(args, kwargs, output[0])
            if hasattr(output, "_replace"):
                return output._replace(**{output._fields[0]: first})  # type: ignore[union-attr]
            return type(output)([first, *output[1:]])
        if not isinstance(output, Tensor):
            raise self._refuse(type(output).__name__, "a tensor or a tuple that starts with one")
        return self._smooth_tokens(args, kwargs, output)

    def _smooth_tokens(self, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor) -> Tensor:
        if x.is_nested:  # what torch's TransformerEncoder makes of padding when it evaluates
            smoothed = [self._smooth_tokens((), {}, tokens) for tokens in x.unbind()]
            return torch.nested.as_nested_tensor(smoothed)
        if x.ndim == 4:
            if self._by_pixel:
                return self.filter.smooth_channels(x, 2)
            return self.filter.smooth_channels(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        if x.ndim == 2:
            return self._smooth_sequences(args, kwargs, x.unsqueeze(self._dim ^ 1)).squeeze(self._dim ^ 1)
        if x.ndim == 3:
            return self._smooth_sequences(args, kwargs, x)
        raise self._refuse(f"shape {tuple(x.shape)}", "(batch, tokens, features) or (batch, height, width, features)")

    def _smooth_sequences(self, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor) -> Tensor:
        dim, length = self._dim, x.shape[self._dim]
        padded = self._masks.padding(args, kwargs, x.shape[1 - dim], length)
        if padded is not None:
            apart = padded | ((~padded).cumsum(1) <= self.prefix) if self.prefix else padded  # padding may come first
            apart = (apart if dim == 1 else apart.transpose(0, 1)).unsqueeze(-1)
            return torch.where(apart, x, self.filter.smooth_sequence(x.masked_fill(apart, 0), dim))
        prefix = min(self.prefix, length)
        smoothed = self.filter.smooth_sequence(x.narrow(dim, prefix, length - prefix), dim)
        return torch.cat([x.narrow(dim, 0, prefix), smoothed], dim) if prefix else smoothed


class TimeHook(Hook):
    """Smooths the output of a recurrent layer along time, and takes its last hidden state from the smoothed output.

    Args:
        applied: the filter.
        name: of the module.
        module: says which dimension is time, and whether there is a second direction.
    """

    what = "a sequence in time"

    def __init__(self, applied: Filter, name: str, module: nn.RNNBase) -> None:
        super().__init__(applied, name)
        self._dim = 1 if module.batch_first else 0
        self._directions = 2 if module.bidirectional else 1

    def _smooth(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        y, states = output
        smoothed, last = self._smooth_packed(y) if isinstance(y, PackedSequence) else self._smooth_padded(y)
        if isinstance(states, tuple):
            return smoothed, (self._with_last(states[0], last), *states[1:])
        return smoothed, self._with_last(states, last)

    def _smooth_padded(self, y: Tensor) -> tuple[Tensor, Tensor]:
        if y.ndim == 2:
            smoothed = self.filter.smooth_sequence(y.unsqueeze(1), 0).squeeze(1)
            return smoothed, self._last(smoothed[-1], smoothed[0])
        smoothed = self.filter.smooth_sequence(y, self._dim)
        return smoothed, self._last(smoothed.select(self._dim, -1), smoothed.select(self._dim, 0))

    def _smooth_packed(self, y: PackedSequence) -> tuple[PackedSequence, Tensor]:
        # Sorted by length, longest first; zeros after the end of each are what a sequence of its own would have.
        padded, lengths = pad_packed_sequence(PackedSequence(y.data, y.batch_sizes))
        smoothed = self.filter.smooth_sequence(padded, 0)
        data = pack_padded_sequence(smoothed, lengths).data
        ends = smoothed[lengths.to(smoothed.device) - 1, torch.arange(len(lengths), device=smoothed.device)]
        last = self._last(ends, smoothed[0])
        if y.unsorted_indices is not None:
            last = last.index_select(1, y.unsorted_indices)
        return PackedSequence(data, y.batch_sizes, y.sorted_indices, y.unsorted_indices), last

    def _last(self, end: Tensor, start: Tensor) -> Tensor:
        """Put together the last hidden state of each direction: the second one ends at the start."""
        if self._directions == 1:
            return end.unsqueeze(0)
        half = end.shape[-1] // 2
        return torch.stack([end[..., :half], start[..., half:]])

    def _with_last(self, hidden: Tensor, last: Tensor) -> Tensor:
        return torch.cat([hidden[: -self._directions], last])
