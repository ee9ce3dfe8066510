"""The user's param groups, split by layer: what `step()` is shown, and what it wrote into it."""

import copy
import warnings
from collections.abc import Callable, Iterator
from ctypes import c_float
from operator import is_
from typing import Any

import torch
from torch.optim import Optimizer

from lerac.curriculum.first_step import FirstStep, ParamGroup
from lerac.curriculum.step_count import LAYERS_KEY, STEP_KEY

__all__ = ["SplitGroups"]

_LISTS = frozenset({"params", "param_names"})  # each part has its own
_CHANGEABLE = frozenset({list, dict, set})
_MISSING = object()


class SplitGroups:
    """The user's param groups, each split into one part per factor, the largest factor first.

    Args:
        optimizer: whose groups are split.
        ratios: gives r_j in (0, 1] of each parameter, by id, for all parameters of the optimizer; called
            when the groups have changed, and raises if it cannot.
    """

    def __init__(self, optimizer: Optimizer, ratios: Callable[[], dict[int, float]]) -> None:
        self._optimizer = optimizer
        self._ratios = ratios
        self._splits: list[_Split] = []
        self._shown: list[ParamGroup] | None = None
        self._first_step: FirstStep | None = None  # with these splits

    def refresh(self) -> None:
        """Follow changes of the user's groups. Splits of unchanged groups, and what they keep, stay."""
        groups = self._optimizer.param_groups
        if len(self._splits) == len(groups) and all(
            split.fits(group) for split, group in zip(self._splits, groups, strict=True)
        ):
            return
        ratios = self._ratios()
        old = dict(enumerate(self._splits))
        self._splits = [
            old[i] if i in old and old[i].fits(group) else _Split(group, ratios) for i, group in enumerate(groups)
        ]
        self._first_step = FirstStep(self._optimizer)

    def forget(self) -> None:
        """Start anew, after a checkpoint was loaded: what `step()` once wrote is not its state any more."""
        self._splits = []

    def begin_step(self) -> None:
        """Get ready for one step; the parts are made when it first reads them, after all other hooks and closures."""
        self._shown = None
        if not self._splits:
            self._first_step = FirstStep(self._optimizer)

    def show(self, factor: Callable[[float], float]) -> list[ParamGroup]:
        """Give the parts with the user's options of now, and rates lr · factor(r_j)."""
        if self._shown is None:
            self.refresh()
            watched = self._first_step is not None and not torch.compiler.is_compiling()
            kind = FirstStep.group_type if watched else dict
            factors: dict[float, float] = {}
            shown: list[ParamGroup] = []
            for split, group in zip(self._splits, self._optimizer.param_groups, strict=True):
                split.show(group, factor, factors, shown, kind)
            self._shown = shown
        return self._shown

    def end_step(self) -> bool:
        """Keep what `step()` wrote into its groups; say whether it read them at all.

        Raises:
            RuntimeError: if the optimizer cannot be served: it did not use the groups that it was shown.
        """
        shown, self._shown = self._shown, None
        read = shown is not None
        if self._first_step is not None and self._first_step.check(shown):
            self._first_step = None
        if read:
            for split, group in zip(self._splits, self._optimizer.param_groups, strict=True):
                split.keep(group, self._optimizer)
        return read

    def rates(self, factor: Callable[[float], float]) -> Iterator[tuple[torch.Tensor, float]]:
        """Give each parameter with the rate that the next step will use."""
        self.refresh()
        for split, group in zip(self._splits, self._optimizer.param_groups, strict=True):
            rates = _rates(group["lr"], [factor(part.ratio) for part in split.parts])
            for part, rate in zip(split.parts, rates, strict=True):
                for parameter in part.params:
                    yield parameter, float(rate)


class _Part:
    """The parameters of one user group that share a factor, with the group that `step()` is shown."""

    __slots__ = ("before", "factor", "kept", "names", "params", "ratio", "shown")

    def __init__(self, ratio: float, params: list[torch.Tensor], names: list[str] | None) -> None:
        self.ratio = ratio
        self.factor = 1.0  # of this step
        self.params = params
        self.names = names
        self.shown: ParamGroup = {}
        self.before: ParamGroup = {}  # what was shown, as it was before the step
        self.kept: dict[str, Any] = {}  # options that step() itself changes, such as counters


class _Split:
    """One user group and its parts."""

    def __init__(self, group: ParamGroup, ratios: dict[int, float]) -> None:
        self._params: list[torch.Tensor] = list(group["params"])
        self._lr: Any = None  # the user's, in this step
        self._written: dict[str, Any] = {}  # what keep() wrote into the user's group
        names: list[str] | None = group.get("param_names")
        members: dict[float, list[int]] = {}
        for i, parameter in enumerate(self._params):
            members.setdefault(ratios[id(parameter)], []).append(i)
        self.parts = [
            _Part(ratio, [self._params[i] for i in at], None if names is None else [names[i] for i in at])
            for ratio, at in sorted(members.items(), reverse=True)
        ]

    def fits(self, group: ParamGroup) -> bool:
        params = group["params"]
        return len(params) == len(self._params) and all(map(is_, params, self._params))

    def show(
        self,
        group: ParamGroup,
        factor: Callable[[float], float],
        factors: dict[float, float],
        shown: list[ParamGroup],
        kind: type[ParamGroup],
    ) -> None:
        for part in self.parts:
            if part.ratio not in factors:
                factors[part.ratio] = factor(part.ratio)
            part.factor = factors[part.ratio]
        self._lr = group["lr"]
        changeable = [key for key, value in group.items() if type(value) in _CHANGEABLE and key not in _LISTS]
        for part, lr in zip(self.parts, _rates(group["lr"], [part.factor for part in self.parts]), strict=True):
            own: ParamGroup = {**group, "params": part.params, "lr": lr}
            own.pop(STEP_KEY, None)  # a number that changes in every step would have a compiled step compiled anew
            own.pop(LAYERS_KEY, None)
            if part.names is not None:
                own["param_names"] = part.names
            part.before = own.copy()
            for key in changeable:  # the step may change it in place, for this part only
                own[key] = copy.deepcopy(group[key])
            for key, value in part.kept.items():
                if group.get(key) is self._written[key]:  # else somebody has set it anew since
                    own[key] = part.before[key] = value
            part.shown = own = kind(own)
            shown.append(own)

    def keep(self, group: ParamGroup, optimizer: Optimizer) -> None:
        name = type(optimizer).__name__
        written: dict[str, Any] = {}
        for part in reversed(self.parts):  # the part with the largest factor speaks for the group
            if self._sets_its_rate(part):
                raise RuntimeError(
                    f"{name}.step() sets its own learning rate; LeRaC multiplies a rate that is set from outside and "
                    "cannot serve it"
                )
            if _same(part.shown, part.before) and not part.kept:
                continue  # the usual case: step() wrote nothing
            part.kept |= {
                key: value
                for key, value in part.shown.items()
                if key != "lr" and (key in part.kept or not _same(value, part.before.get(key, _MISSING)))
            }
            written |= part.kept
        if not written:
            return
        if not self._written and any(not _same(part.kept, written) for part in self.parts):
            warnings.warn(
                f"{name}.step() keeps {', '.join(written)} in its param groups, with other values for each layer: "
                "LeRaC keeps them apart, but a checkpoint from the middle of the curriculum holds those of the layers "
                "next to the input only, so that continuing from it is not exact",
                stacklevel=5,
            )
        group.update(written)
        self._written |= written

    def _sets_its_rate(self, part: _Part) -> bool:
        """Whether the step left another rate than it was shown; some write back what they had changed meanwhile."""
        now, before = part.shown["lr"], part.before["lr"]
        if now is before and not _changed_in_place(before):
            return False
        if _changed_in_place(before):
            [before] = _rates(self._lr, [part.factor])
        return not _same_rate(now, before)


def _rates(lr: Any, factors: list[float]) -> list[Any]:
    """Give lr · factor for every factor, in new tensors where lr is one: the user's own is never changed."""
    one_product = isinstance(lr, torch.Tensor) and lr.dtype in (torch.float32, torch.float64) and lr.ndim == 0
    if one_product and not torch.compiler.is_compiling():
        products: list[Any] = [*(lr * torch.tensor(factors, dtype=torch.float64).to(lr)).clone().unbind()]
        return products  # bit for bit what the products one by one are
    return [lr * m for m in factors]


def _changed_in_place(lr: Any) -> bool:
    return isinstance(lr, torch.Tensor) and not torch.compiler.is_compiling() and lr._version > 0


def _same_rate(a: Any, b: Any) -> bool:
    """Whether two rates are the same number, one of them perhaps by way of a float32 tensor."""
    try:
        one, other = float(a), float(b)
    except (TypeError, ValueError, RuntimeError):
        return False
    return one == other or c_float(one).value == c_float(other).value


def _same(a: Any, b: Any) -> bool:
    try:
        return a is b or bool(a == b)  # containers look at identity first, so it is fast
    except (RuntimeError, ValueError):  # a tensor or array of several elements was replaced by another
        return False
