"""What counts as one operation: one call into torch, whatever torch makes of it."""

import inspect
from collections.abc import Sequence
from types import MethodWrapperType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lerac.depth.flow import Flow, has_own_rules, tensors_in

__all__ = ["Calls"]

# Operations that are several layers. Each gives its parameters by layer, nearest to the input first.
_RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
_ATTENTION = torch.nn.functional.multi_head_attention_forward

# Products of many factors, of which each is an operation of its own.
_CHAINS = frozenset({"einsum", "linalg_multi_dot", "multi_dot", "chain_matmul"})


class Calls(TorchFunctionMode):
    """Sees what a model calls before torch takes it apart, and tells the flow below.

    Weight and bias of a linear layer are one level because one call brings both to the data. What torch does for that
    call depends on strides, data types, devices, and on its own version.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Run one call as one operation."""
        kwargs = kwargs or {}
        if type(func) is MethodWrapperType:  # an attribute such as shape
            return func(*args, **kwargs)
        tensors = tensors_in((args, kwargs))
        if len(tensors) < 2:  # nothing meets in it
            return func(*args, **kwargs)
        with self._flow.operation(tensors, _stages(func, args, kwargs, tensors)):
            result = func(*args, **kwargs)
            if any(has_own_rules(type(tensor)) for tensor in tensors):
                self._flow.complete(_name(func), tensors, result)
            return result


def _stages(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Tensor]
) -> Sequence[Sequence[Tensor]]:
    """The tensors whose parameters are one level, nearest to the input first."""
    name = _name(func)
    if name in _CHAINS:
        return ()
    if func is _ATTENTION:
        given = inspect.signature(func).bind(*args, **kwargs).arguments
        out = tensors_in([given["out_proj_weight"], given["out_proj_bias"]])
        return [[tensor for tensor in tensors if not any(tensor is other for other in out)], out]
    if name in _RECURRENT and not kwargs:
        at = max(i for i, value in enumerate(args) if isinstance(value, list | tuple))
        weights, layers = args[at], args[at + 2]
        each = len(weights) // layers
        return [weights[i : i + each] for i in range(0, len(weights), each)]
    return [tensors]


def _name(func: Any) -> str:
    return str(getattr(func, "__name__", "")).partition(".")[0]
