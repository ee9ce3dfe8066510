"""Options of a param group that have an entry for each of its parameters, and so are split with them."""

import copy
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer

from lerac.curriculum.groups.first_step import ParamGroup
from lerac.curriculum.step_count import LAYERS_KEY, STEP_KEY

__all__ = ["Divided", "divided", "joined", "share_of"]

# One number each, or as many as the update rule has, whatever the number of parameters.
_WHOLE = frozenset({"betas", "betas_1d", "eps", "etas", "step_sizes", "nus", "ns_coefficients"})
_LEFT_OUT = frozenset({"params", "param_names", "lr", STEP_KEY, LAYERS_KEY}) | _WHOLE
_PLAIN = frozenset({bool, int, float, str, type(None)})

_FEW = 4  # up to so many entries, as many as there are parameters may be a coincidence


class Divided(NamedTuple):
    """The names of the options of one group that have an entry for each parameter, and of those that may have."""

    surely: frozenset[str]
    perhaps: frozenset[str]


_NONE = Divided(frozenset(), frozenset())


def divided(groups: Sequence[ParamGroup], optimizer: Optimizer, known: Mapping[str, bool]) -> list[Divided]:
    """Give for every group which of its options have an entry for each of its parameters.

    A dict that has parameters, their ids or names as keys does. A list as long as `params` does if it is so in groups
    of different sizes, or if it is long and none of the optimizer's defaults; it does not if it has this length in
    groups of other sizes too, or if its length is that of a default. What is left may be either.

    Args:
        groups: of the optimizer, or those that its step was shown.
        optimizer: whose defaults and constructor are asked.
        known: of options seen before, whether they do.

    Raises:
        ValueError: if a group has another number of entries than parameters in one that does.
    """
    found = []
    for group in groups:
        keys = [key for key, value in group.items() if type(value) not in _PLAIN and key not in _LEFT_OUT]
        verdicts = {key: _verdict(key, group, groups, optimizer, known) for key in keys}
        surely = frozenset(key for key, verdict in verdicts.items() if verdict)
        perhaps = frozenset(key for key, verdict in verdicts.items() if verdict is None)
        found.append(Divided(surely, perhaps) if verdicts else _NONE)
    return found


def _verdict(
    key: str, group: ParamGroup, groups: Sequence[ParamGroup], optimizer: Optimizer, known: Mapping[str, bool]
) -> bool | None:
    value, size = group[key], len(group["params"])
    if known.get(key) is False:
        return False
    if isinstance(value, Mapping) and (shares := _names_parameters(value, group, key in known)) is not False:
        return shares
    length = _length(value)
    if key in known and length != size:
        raise ValueError(
            f"{type(optimizer).__name__} keeps {key!r} in its param groups with an entry for each parameter, and a "
            f"group of {size} parameters has {length} entries: give it as many"
        )
    if length != size or key in known:
        return length == size
    cases = {(_length(other[key]), len(other["params"])) for other in groups if key in other}
    if any(length == size and number != size for length, number in cases):
        return False
    if len({number for length, number in cases if length == number}) > 1:
        return _divisible(value)
    if _length(optimizer.defaults.get(key)) == length:
        return False if length <= _FEW or not _is_given(type(optimizer), key, length) else None
    return _divisible(value) if length > _FEW else None if type(value) in (list, tuple) else False


def _divisible(value: Any) -> bool | None:
    return True if type(value) in (list, tuple) else None


def _names_parameters(value: Mapping[Any, Any], group: ParamGroup, known: bool) -> bool | None:
    """Whether the keys of a mapping stand for parameters of the group; None if some do, or it has lists that may."""
    own = _keys_of(group["params"], _names(group))
    theirs = [_key(key) in own for key in value]
    if any(theirs) or (known and not value):
        return True if all(theirs) and isinstance(value, dict) else None
    size = len(group["params"])
    return None if any(size > _FEW and _length(entry) == size for entry in value.values()) else False


def _names(group: ParamGroup) -> Any:
    names = group.get("param_names") or group.get("names")
    return names if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names) else ()


def _keys_of(params: Iterable[Any], names: Iterable[Any]) -> set[Any]:
    return {*map(id, params), *names}


def _key(key: Any) -> Any:
    return id(key) if isinstance(key, torch.Tensor) else key  # whose hash is its id, too, but no test for equality


def _length(value: Any) -> int | None:
    """Give the number of entries of what is counted from 0, None for all else."""
    if isinstance(value, str | bytes) or (isinstance(value, Mapping) and set(value) != set(range(len(value)))):
        return None
    try:
        return len(value)
    except TypeError:
        return None


def _is_given(kind: type[Optimizer], key: str, length: int) -> bool:
    """Whether the value of an option comes from whoever builds the optimizer, and not from its class."""
    try:
        parameter = inspect.signature(kind).parameters[key]
    except (KeyError, TypeError, ValueError):
        return False
    return _length(parameter.default) != length


def share_of(value: Any, group: ParamGroup, at: Sequence[int]) -> Any:
    """Give the entries that belong to some of a group's parameters: by number in a list, by key in a dict.

    Args:
        value: one of its options.
        group: as it is.
        at: the numbers of these parameters.
    """
    if not isinstance(value, dict):
        return type(value)(value[i] for i in at)
    names = _names(group)
    own = _keys_of((group["params"][i] for i in at), (names[i] for i in at) if names else ())
    share = copy.copy(value)
    for key in value:
        if _key(key) not in own:
            del share[key]
    return share


def joined(shares: Sequence[Any], places: Sequence[Sequence[int]]) -> Any:
    """Put together again what `share_of` has divided, perhaps with other entries.

    Args:
        shares: one for each part.
        places: the numbers of the parameters of each part.
    """
    if isinstance(shares[0], dict):
        whole = copy.copy(shares[0])
        for share in shares[1:]:
            whole.update(share)
        return whole
    entries = {i: entry for at, share in zip(places, shares, strict=True) for i, entry in zip(at, share, strict=True)}
    return type(shares[0])(entries[i] for i in sorted(entries))
