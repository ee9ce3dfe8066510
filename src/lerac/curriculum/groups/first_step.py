"""What the first step with new groups shows: whether the optimizer takes parameters and rates from its groups.

There are optimizers that keep lists of their own beside `param_groups`, that use the rate of the first group for all,
or that make up a rate of their own. They would mix up the rates of the layers, or ignore them, without a word.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from lerac.curriculum.optimizers import numbered, sizes

__all__ = ["FirstStep", "ParamGroup"]

ParamGroup = dict[str, Any]

_TELLING = 4  # from here on an equal number of entries is no coincidence


class _WatchedGroup(ParamGroup):
    """A param group that notes whether its rate was read, alone or in a copy of the whole."""

    rate_read = False

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:  # without it dict(group) and {**group} would not call __getitem__
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self._note(key)
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().setdefault(key, default)

    def items(self) -> Any:
        self._note("lr")
        return super().items()

    def values(self) -> Any:
        self._note("lr")
        return super().values()

    def copy(self) -> ParamGroup:
        return dict(self)

    def _note(self, key: str) -> None:
        if key == "lr":
            self.rate_read = True


class FirstStep:
    """Remembers how the parameters were before the step. Fused kernels leave no trace, so their groups are left out."""

    group_type: type[ParamGroup] = _WatchedGroup  # of the groups that the step is to be shown

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._name = type(optimizer).__name__
        self._sizes = sizes(optimizer)
        if reason := numbered(optimizer):
            raise self._refusal(reason)
        self._before = [
            (p, p._version) for group in optimizer.param_groups if not group.get("fused") for p in group["params"]
        ]

    def check(self, shown: Sequence[ParamGroup] | None) -> bool:
        """After the step: say whether it told enough, so that later steps need not be looked at.

        Args:
            shown: the groups that the step was shown; None if it did not look.

        Raises:
            RuntimeError: if it updated parameters without their group's rate, or not all that it should have.
        """
        moved = [p for p, version in self._before if p._version != version]
        if shown is None:
            if moved:
                raise self._refusal("updates parameters without reading its param_groups")
            return False
        stayed = [p for p, version in self._before if p._version == version]
        blind = {id(p) for group in shown if not getattr(group, "rate_read", True) for p in group["params"]}
        if ignored := sum(id(p) in blind for p in moved):
            raise self._refusal(
                f"updated {ignored} of {len(self._before)} parameters without reading the learning rate of their param "
                "group: it makes up its own, or uses another group's"
            )
        if moved and any(_should_move(p, shown) for p in stayed):
            raise self._refusal(
                f"updated {len(moved)} of {len(self._before)} parameters and left others with a gradient alone: it "
                "does not take its parameters from its param_groups only"
            )
        self._see_that_nothing_is_numbered(len(shown))
        return True

    def _see_that_nothing_is_numbered(self, shown: int) -> None:
        if reason := numbered(self._optimizer):
            raise self._refusal(reason)
        if shown == len(self._optimizer.param_groups):
            return
        for name, size in sizes(self._optimizer).items():
            if size == shown >= _TELLING and self._sizes.get(name) != size:
                raise self._refusal(f"made {name!r} with an entry for each of the {shown} groups that it was shown")

    def _refusal(self, what: str) -> RuntimeError:
        return RuntimeError(
            f"{self._name}.step() {what}, so it cannot have one learning rate per layer; use another optimizer or "
            "another of its modes, or call remove() on the curriculum"
        )


def _should_move(parameter: torch.Tensor, shown: Sequence[ParamGroup]) -> bool:
    gradient = parameter.grad
    if gradient is None or gradient.layout is not torch.strided or not gradient.any():
        return False
    rates = [group["lr"] for group in shown if any(p is parameter for p in group["params"])]
    return any(bool(rate != 0) for rate in rates)
