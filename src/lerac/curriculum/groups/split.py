"""The user's param groups, split by layer: what `step()` is shown, and what it wrote into it."""

from collections.abc import Callable, Iterator

import torch
from torch.optim import Optimizer

from lerac.curriculum.groups.first_step import FirstStep, ParamGroup
from lerac.curriculum.groups.options import divided
from lerac.curriculum.groups.parts import Split
from lerac.curriculum.groups.rates import rates_of

__all__ = ["SplitGroups"]


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
        self._splits: list[Split] = []
        self._shown: list[ParamGroup] | None = None
        self._first_step: FirstStep | None = None  # with these splits
        self._known: dict[str, bool] = {}  # whether an option has an entry for each parameter

    def refresh(self) -> None:
        """Follow changes of the user's groups. Splits of unchanged groups, and what they keep, stay.

        Raises:
            ValueError: if a list has, or may have, an entry for each parameter of a group, and cannot be split.
        """
        groups = self._optimizer.param_groups
        options = divided(groups, self._optimizer, self._known)
        if len(self._splits) == len(groups) and all(
            split.fits(group, own) for split, group, own in zip(self._splits, groups, options, strict=True)
        ):
            return
        ratios = self._ratios()
        old = dict(enumerate(self._splits))
        self._splits = [
            old[i] if i in old and old[i].fits(group, own) else Split(group, ratios, own, self._optimizer)
            for i, (group, own) in enumerate(zip(groups, options, strict=True))
        ]
        self._known |= dict.fromkeys(frozenset().union(*(own.surely for own in options)), True)
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
        if shown is not None:
            self._keep(shown)
        return read

    def _keep(self, shown: list[ParamGroup]) -> None:
        """Write into the user's groups what `step()` wrote into those that it was shown."""
        pairs = list(zip(self._splits, self._optimizer.param_groups, strict=True))
        for split, _ in pairs:
            split.check_rates(self._optimizer)
        if any(split.changed for split, _ in pairs):
            options = iter(divided(shown, self._optimizer, self._known))
            for split, group in pairs:
                own = [next(options) for _ in split.parts]
                self._known |= split.join(group, own, self._optimizer)
        for split, group in pairs:
            split.keep(group, self._optimizer)

    def rates(self, factor: Callable[[float], float]) -> Iterator[tuple[torch.Tensor, float]]:
        """Give each parameter with the rate that the next step will use."""
        self.refresh()
        for split, group in zip(self._splits, self._optimizer.param_groups, strict=True):
            rates = rates_of(group["lr"], [factor(part.ratio) for part in split.parts])
            for part, rate in zip(split.parts, rates, strict=True):
                for parameter in part.params:
                    yield parameter, float(rate)
