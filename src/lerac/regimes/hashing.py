"""Fingerprints of weights and of a batch, by which trainings of one seed are seen to be paired."""

import ctypes
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lerac.layers import plain_name

__all__ = ["hash_inputs", "hash_weights"]

_DEEPEST = 8  # of nested containers, in a batch
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


class _UnseenError(Exception):
    """There is something whose bytes cannot be read."""


def hash_weights(model: nn.Module) -> str | None:
    """Give a hash of all parameters and buffers, of which a sharded model has its own part.

    Returns:
        None if there is one whose bytes cannot be read, such as of a lazy module.
    """
    named = chain(model.named_parameters(), model.named_buffers())
    return _hashed((plain_name(name), tensor) for name, tensor in named)


def hash_inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Give a hash of what a model was called with: all tensors, arrays, numbers and texts in it.

    Returns:
        None if there is none of these, or one whose bytes cannot be read.
    """
    return _hashed(_leaves(args, "args", 0), _leaves(dict(kwargs), "kwargs", 0))


def _hashed(*named: Iterable[tuple[str, Any]]) -> str | None:
    digest, count = hashlib.blake2b(digest_size=16), 0
    try:
        for name, value in chain(*named):
            digest.update(name.encode())
            if isinstance(value, Tensor):
                _add_tensor(digest, value)
            else:
                digest.update(value if isinstance(value, bytes) else repr(value).encode())
            count += 1
    except (_UnseenError, RuntimeError, TypeError, NotImplementedError):  # of exotic tensors
        return None
    return digest.hexdigest() if count else None


def _add_tensor(digest: Any, tensor: Tensor) -> None:
    local = getattr(tensor, "to_local", None)  # of a DTensor
    tensor = (local() if callable(local) else tensor).detach()
    if is_lazy(tensor) or tensor.is_meta or tensor.is_sparse or tensor.is_nested:
        raise _UnseenError
    digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    whole = tensor.resolve_conj().resolve_neg().cpu().contiguous()
    if size := whole.numel() * whole.element_size():
        digest.update((ctypes.c_char * size).from_address(whole.data_ptr()))


def _leaves(value: Any, path: str, depth: int) -> Iterable[tuple[str, Any]]:
    """Give what can be hashed in a batch, in an order that does not depend on the process."""
    if isinstance(value, (*_PLAIN, Tensor)):
        yield path, value
        return
    if depth == _DEEPEST:
        raise _UnseenError
    if isinstance(value, Mapping):
        inside: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list | tuple):
        inside = enumerate(value)
    elif hasattr(value, "__array_interface__"):
        yield path, torch.as_tensor(value) if value.dtype.kind in "biufc" else value.tobytes()
        return
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        inside = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    elif vars_of := getattr(value, "__dict__", None):
        inside = vars_of.items()
    else:
        inside = ()  # nothing that is known to be of the data
    for key, item in inside:
        yield from _leaves(item, f"{path}/{key}", depth + 1)
