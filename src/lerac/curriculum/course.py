"""The course of a curriculum: at which step it is, and what it does in each step of its optimizer."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from lerac.arguments import check_factor
from lerac.curriculum.ending import Watched, tell, watch
from lerac.curriculum.factors import Factors
from lerac.curriculum.groups.first_step import ParamGroup
from lerac.curriculum.groups.split import SplitGroups
from lerac.curriculum.optimizers import loads_unseen
from lerac.curriculum.precision import warn_of_rounding
from lerac.curriculum.stand_in import Hooks, make_stand_in
from lerac.curriculum.state import State
from lerac.curriculum.step_count import (
    LAYERS_KEY,
    STEP_KEY,
    carries,
    distributed_checkpoint_calls,
    found_inf,
    is_fake_step,
    read_count,
    read_layers,
    write,
)
from lerac.curves import Curve

__all__ = ["Course"]

_MADE_ANEW = frozenset({"_acts", "_hooks", "_split", "_stand_in", "watched"})  # in a copy


class Course:
    """What a `LeRaC` does from its first step to its last. `State` has the table of its states.

    Args:
        carriers: the innermost optimizer, and others to whose groups its options are copied, and from there.
        factors: its layers.
        k: how many steps it lasts; infinite: as long as training.
        curve: gives m_j from progress and r_j.

    Raises:
        ValueError: if the optimizer has a curriculum, or carries one that this one is not.
    """

    _hooks: Hooks
    _stand_in: Optimizer
    watched: Watched | None = None  # to warn if it was of no use
    joined = 0  # the step at which it was built, or that it has loaded
    _changes = (0, 0)  # of a parameter, until the first step and until the last of the curriculum

    def __init__(self, carriers: tuple[Optimizer, ...], factors: Factors, k: float, curve: Curve) -> None:
        self._carriers = carriers
        self.optimizer = carriers[0]
        self._factors = factors
        self.k = k
        self._curve = curve
        self._precision_checked = False
        self.state = State.FRESH
        self.steps = self._brought() or 0
        self._attach()
        self._go_to(self.steps)
        self.joined = self.steps
        self._write()
        watch(self)

    def __del__(self) -> None:
        tell(self)

    def rates(self) -> dict[int, float] | None:
        """Give the rate of the next step by the identity of the parameter; None until the layers are found."""
        if self.state is State.REMOVED or self.steps >= self.k:
            return {id(p): float(group["lr"]) for group in self.optimizer.param_groups for p in group["params"]}
        if self._factors.layers is None:
            return None
        return {id(p): rate for p, rate in self._split.rates(self.factor_at(self.steps))}

    def remove(self) -> None:
        """Leave nothing on the optimizer."""
        if self.state is not State.REMOVED:
            self._go_to(self.steps, State.REMOVED)
            self._hooks.detach()
            self._write(nothing=True)

    def restore(self, steps: int) -> None:
        """Be at this step, to which the optimizer comes by a state of its own if it has none yet."""
        waits = steps > 0 and not read_count(self.optimizer)
        self._go_to(steps, State.RESTORED if waits else None)
        self.joined = steps
        if not waits:
            self._write()

    def follow(self) -> None:
        """Notice a state that the optimizer has loaded without telling."""
        if self.state is State.REMOVED:
            return
        if self.state is State.RESTORED or not carries(self.optimizer, self.steps, self._carried()):
            self._after_load(self.optimizer)

    # In a step

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        if optimizer is self._stand_in:  # a step() that calls super().step()
            return None
        self._acts = False
        self.follow()
        if self.state is State.RESTORED:
            raise RuntimeError(
                f"the curriculum is at step {self.steps}, and the optimizer at step {read_count(self.optimizer) or 0} "
                f"({STEP_KEY!r} in its param groups): load both from the same checkpoint"
            )
        if self.state is State.FINISHED:  # by a state that was loaded without telling: there may be hooks still
            self._hooks.disarm()
            return None
        # is_available() asks the driver each time; nothing is captured before CUDA is initialised.
        if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():  # type: ignore[no-untyped-call]
            left = self.k - self.steps
            after = "" if math.isinf(left) else f"capture optimizer.step() only after it, {left} steps from now, or "
            raise RuntimeError(
                "LeRaC cannot act in a captured CUDA graph, whose replay runs no hooks, while the curriculum lasts: "
                f"{after}leave optimizer.step() out of the graph"
            )
        if self.steps + 1 >= self.k:
            self._hooks.go_last()
        closure = args[1:] or kwargs.get("closure")
        self._acts = bool(closure) or not is_fake_step(self.optimizer)
        if not self._acts:
            return None
        if not self._precision_checked:
            self._precision_checked = True
            self._changes = (_changes(self.optimizer), 0)
            _, lowest = map(self.factor_at(0), (1.0, self._factors.smallest))
            warn_of_rounding(self.optimizer, lowest)
        self._split.begin_step()
        return (self._stand_in, *args[1:]), kwargs

    def _show_groups(self) -> list[ParamGroup]:
        if self._factors.layers is None:
            find: Callable[[], None] = self._find_layers
            if torch.compiler.is_compiling():  # as a decorator it would make `import lerac` load the compiler
                find = torch.compiler.disable(find)  # type: ignore[no-untyped-call]
            find()  # here and not before the step, whose closure may be what calls the model
        return self._split.show(self.factor_at(self.steps))

    def _find_layers(self) -> None:
        self._factors.find()
        self._write()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if optimizer is self._stand_in:
            return
        if self._acts and self._split.end_step() and not found_inf(self.optimizer):  # else it took no step
            self._go_to(self.steps + 1)
            self._write()
            if self.state is State.FINISHED:
                self._changes = (self._changes[0], _changes(self.optimizer))
        elif self.state is State.FINISHED:
            self._hooks.disarm()

    def factor_at(self, step: int) -> Callable[[float], float]:
        """Give the function from r_j to m_j of a step of the curriculum, counted from 0."""
        curve, progress = self._curve, step / self.k
        return lambda ratio: check_factor(curve(progress, ratio), progress, ratio)

    def steps_in_all(self) -> int:
        """Estimate, after the curriculum, how many steps the optimizer has taken in all, 0 if that is not seen."""
        before, then = self._changes
        if then <= before or self.joined:
            return 0
        return int(self.k * (_changes(self.optimizer) - before) / (then - before))

    # What the optimizer carries

    def _carried(self) -> str | None:
        return None if self.state is State.FINISHED else self._factors.text

    def _write(self, *, nothing: bool = False) -> None:
        for optimizer in self._carriers:
            write(optimizer, *((None, None) if nothing else (self.steps, self._carried())))

    def _brought(self) -> int | None:
        """Give the count that the optimizer carries, None if it carries none; take up the layers that come with it."""
        count = read_count(self.optimizer)
        if count is not None and count < self.k:
            self._factors.adopt(read_layers(self.optimizer))
        return count

    def _after_load(self, optimizer: Optimizer) -> None:
        """The optimizer's checkpoint decides the step; one without a count (a conventional one) leaves it."""
        waits = self.state is State.RESTORED
        if waits and not read_count(self.optimizer):
            return
        count = self._brought()
        if waits and count != self.steps:
            raise ValueError(
                f"the curriculum's state is of step {self.steps}, and the optimizer's of step {count}: load "
                "both from the same checkpoint"
            )
        self._go_to(self.steps if count is None else count)
        self.joined = self.steps
        self._write()
        self._split.forget()

    def _after_save(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Give distributed checkpoints the same entries at all times: loading asks for those that are there."""
        if distributed_checkpoint_calls():
            for group in state["param_groups"]:
                group.setdefault(STEP_KEY, self.steps)
                group.setdefault(LAYERS_KEY, self._carried() or "")

    # Being attached

    def _attach(self) -> None:
        """Everything that a copy or an unpickled curriculum has to make anew, but what its state decides."""
        self._split = SplitGroups(self.optimizer, self._factors.by_id)
        self._acts = False  # in the step that runs
        if self.state is not State.REMOVED:
            self._stand_in = make_stand_in(self.optimizer, self._show_groups)
            steps, states = (self._before_step, self._after_step), (self._after_load, self._after_save)
            unseen = len(self._carriers) > 1 or loads_unseen(self.optimizer)
            self._hooks = Hooks(self.optimizer, *steps, *states, loads_unseen=unseen)

    def _go_to(self, steps: int, state: State | None = None) -> None:
        """Be at this step, in the given state or the one that follows from it; have hooks if, and only if, it acts."""
        self.steps = steps
        self.state = state or State.at(steps, self.k)
        if self.state in (State.FINISHED, State.REMOVED):
            self._hooks.disarm()
            self._factors.unwatch()
        else:
            self._hooks.arm()
            self._factors.watch()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _MADE_ANEW}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._attach()
        if self.state is not State.REMOVED:
            self._go_to(self.steps, self.state)


def _changes(optimizer: Optimizer) -> int:
    """Count how often a parameter was changed, at most, as torch does; fused kernels do not."""
    if torch.compiler.is_compiling():
        return 0
    return max(int(p._version) for group in optimizer.param_groups for p in group["params"])
