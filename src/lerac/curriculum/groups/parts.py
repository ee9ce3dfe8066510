"""One of the user's param groups, in parts of equal factor."""

import copy
from collections.abc import Callable, Iterable
from operator import is_
from typing import Any

import torch
from torch.optim import Optimizer

from lerac.curriculum.groups.first_step import ParamGroup
from lerac.curriculum.groups.options import Divided, joined, share_of
from lerac.curriculum.groups.rates import changed_in_place, rates_of, same_rate
from lerac.curriculum.notices import notice
from lerac.curriculum.step_count import LAYERS_KEY, STEP_KEY

__all__ = ["Split"]

_OWN = frozenset({"params", "param_names"})  # each part has its own
_CHANGEABLE = frozenset({list, dict, set})
_MISSING = object()


class Part:
    """The parameters of one user group that share a factor, with the group that `step()` is shown."""

    __slots__ = ("at", "before", "factor", "kept", "names", "params", "ratio", "shown")

    def __init__(self, ratio: float, at: list[int], group: ParamGroup) -> None:
        self.ratio = ratio
        self.factor = 1.0  # of this step
        self.at = at
        self.params: list[torch.Tensor] = [group["params"][i] for i in at]
        names: list[str] | None = group.get("param_names")
        self.names = None if names is None else [names[i] for i in at]
        self.shown: ParamGroup = {}
        self.before: ParamGroup = {}  # what was shown, as it was before the step
        self.kept: dict[str, Any] = {}  # options that step() itself changes, such as counters

    def changes(self) -> list[str]:
        """Name what step() has changed."""
        if _same(self.shown, self.before):
            return []  # the usual case
        return [key for key, value in self.shown.items() if not _same(value, self.before.get(key, _MISSING))]


class Split:
    """One user group and its parts.

    Args:
        group: of the user.
        ratios: r_j by the id of the parameter.
        options: which of its options have an entry for each parameter.
        optimizer: whose group it is.

    Raises:
        ValueError: if it cannot be known how an option is to be split.
    """

    def __init__(self, group: ParamGroup, ratios: dict[int, float], options: Divided, optimizer: Optimizer) -> None:
        self._params: list[torch.Tensor] = list(group["params"])
        self._options = options
        self._still = _still(self._params) if options.surely else None
        self._lr: Any = None  # the user's, in this step
        self._written: dict[str, Any] = {}  # what keep() wrote into the user's group
        own = [ratios[id(parameter)] for parameter in self._params]
        members: dict[float, list[int]] = {}
        for i, ratio in enumerate(_with_the_next(own, self._still) if self._still else own):
            members.setdefault(ratio, []).append(i)
        self.parts = [Part(ratio, at, group) for ratio, at in sorted(members.items(), reverse=True)]
        self.changed: list[str] = []
        if len(self.parts) > 1 and options.perhaps:
            raise _unclear(optimizer, options.perhaps)
        whole = {key for key in options.perhaps if isinstance(group[key], list | tuple)}  # of a single part
        self._divided = options.surely | whole

    def fits(self, group: ParamGroup, options: Divided) -> bool:
        """Whether this is still how the group is to be split."""
        params = group["params"]
        same = len(params) == len(self._params) and all(map(is_, params, self._params)) and options == self._options
        return same and (self._still is None or self._still == _still(params))

    def show(
        self,
        group: ParamGroup,
        factor: Callable[[float], float],
        factors: dict[float, float],
        shown: list[ParamGroup],
        kind: type[ParamGroup],
    ) -> None:
        """Add a group of the class `kind` for each part to those that `step()` is shown; `factors` has m_j by r_j."""
        for part in self.parts:
            if part.ratio not in factors:
                factors[part.ratio] = factor(part.ratio)
            part.factor = factors[part.ratio]
        self._lr = group["lr"]
        left = self._divided | _OWN
        changeable = [key for key, value in group.items() if type(value) in _CHANGEABLE and key not in left]
        for part, lr in zip(self.parts, rates_of(group["lr"], [part.factor for part in self.parts]), strict=True):
            own: ParamGroup = {**group, "params": part.params, "lr": lr}
            own.pop(STEP_KEY, None)  # a number that changes in every step would have a compiled step compiled anew
            own.pop(LAYERS_KEY, None)
            if part.names is not None:
                own["param_names"] = part.names
            for key in self._divided:
                own[key] = share_of(group[key], group, part.at)
            part.before = own.copy()
            for key in self._divided:
                own[key] = copy.copy(own[key])
            for key in changeable:  # the step may change it in place, for this part only
                own[key] = copy.deepcopy(group[key])
            for key, value in part.kept.items():
                if group.get(key) is self._written[key]:  # else somebody has set it anew since
                    own[key] = part.before[key] = value
            part.shown = own = kind(own)
            shown.append(own)

    def check_rates(self, optimizer: Optimizer) -> None:
        """See that the step left the rates that it was shown; some write back what they had changed meanwhile.

        Raises:
            RuntimeError: if it left another one.
        """
        for part in self.parts:
            now, before = part.shown["lr"], part.before["lr"]
            if changed_in_place(before):
                [before] = rates_of(self._lr, [part.factor])
            if now is not before and not same_rate(now, before):
                raise RuntimeError(
                    f"{type(optimizer).__name__}.step() sets its own learning rate; LeRaC multiplies a rate that is "
                    "set from outside and cannot serve it"
                )
        self.changed = list(dict.fromkeys(key for part in self.parts for key in part.changes() if key != "lr"))

    def join(self, group: ParamGroup, options: list[Divided], optimizer: Optimizer) -> dict[str, bool]:
        """Put together in the user's group what has an entry for each parameter.

        Args:
            group: of the user.
            options: of the group that each part was shown, as the step has left it.
            optimizer: whose group it is.

        Returns:
            Whether an option that the step has made or changed has an entry for each parameter.

        Raises:
            ValueError: if it cannot be known.
        """
        changed = set(self.changed)
        made = {key for key in changed - self._divided if not _filled(group.get(key))}
        surely = {key for key in made if any(key in own.surely for own in options)}
        if len(self.parts) > 1:
            perhaps = {key for key in made if any(key in own.perhaps for own in options)}
            if unclear := (perhaps | set(filter(self._is_uneven, made))) - surely:
                raise _unclear(optimizer, unclear)
        self._divided |= surely
        for key in changed & self._divided:
            shares = [part.shown.get(key, part.before.get(key, {})) for part in self.parts]
            if any(_has_other_length(share, part.at) for share, part in zip(shares, self.parts, strict=True)):
                raise _unclear(optimizer, [key])
            group[key] = joined(shares, [part.at for part in self.parts])
        return {key: key in self._divided for key in changed}

    def _is_uneven(self, key: str) -> bool:
        """Whether the step has made lists of different lengths for the parts."""
        values = [part.shown.get(key) for part in self.parts]
        return len({len(value) for value in values if isinstance(value, list | tuple)}) > 1

    def keep(self, group: ParamGroup, optimizer: Optimizer) -> None:
        """Keep for each part what the step wrote into it; the one with the largest factor speaks for the group."""
        changed = [key for key in self.changed if key not in self._divided]
        written: dict[str, Any] = {}
        for part in reversed(self.parts):
            kept = {*changed, *part.kept} - self._divided
            part.kept = {key: value for key, value in part.shown.items() if key in kept}
            written |= part.kept
        if not written:
            return
        if not self._written and any(not _same(part.kept, written) for part in self.parts):
            notice(
                f"{type(optimizer).__name__}.step() keeps {', '.join(written)} in its param groups, with other values "
                "for each layer: LeRaC keeps them apart, but a checkpoint from the middle of the curriculum holds "
                "those of the layers next to the input only, so that continuing from it is not exact"
            )
        group.update(written)
        self._written |= written


def _still(params: list[torch.Tensor]) -> list[bool]:
    return [not parameter.requires_grad and parameter.grad is None for parameter in params]


def _with_the_next(ratios: list[float], still: list[bool]) -> list[float]:
    """Have frozen parameters go with the next trained one, the last ones with the last: LoRA-FA takes them in pairs."""
    following = next((r for r, frozen in zip(reversed(ratios), reversed(still), strict=True) if not frozen), None)
    if following is None:
        return ratios
    nearest = []
    for ratio, frozen in zip(reversed(ratios), reversed(still), strict=True):
        following = following if frozen else ratio
        nearest.append(following)
    return nearest[::-1]


def _filled(value: Any) -> bool:
    """Whether it is a container with something in it."""
    try:
        return not isinstance(value, str) and len(value) > 0
    except TypeError:
        return False


def _has_other_length(share: Any, at: list[int]) -> bool:
    return not isinstance(share, dict) and len(share) != len(at)


def _unclear(optimizer: Optimizer, keys: Iterable[str]) -> ValueError:
    return ValueError(
        f"{type(optimizer).__name__} keeps {', '.join(map(repr, sorted(keys)))} in its param groups, and it cannot be "
        "known whether that has an entry for each parameter and is to be split with them: build the optimizer with one "
        "param group for each parameter"
    )


def _same(a: Any, b: Any) -> bool:
    try:
        return a is b or bool(a == b)  # containers look at identity first, so it is fast
    except (RuntimeError, ValueError):  # a tensor or array of several elements was replaced by another
        return False
