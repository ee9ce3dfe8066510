"""Counting the steps that an optimizer takes, to the end of training; the count travels in its param groups."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from lerac.curriculum.optimizers import innermost
from lerac.curriculum.step_count import distributed_checkpoint_calls, found_inf, is_fake_step, read_count

__all__ = ["CBS_STEP_KEY", "TRIAL_STEP_KEY", "StepCounter"]

CBS_STEP_KEY = "lerac_cbs_step"
TRIAL_STEP_KEY = "lerac_trial_step"


class StepCounter:
    """Counts steps as `LeRaC` does: those that were skipped, or only faked for a checkpoint, are none.

    Args:
        optimizer: any, or a wrapper of one.
        key: of the count in each of its param groups, so that every checkpoint of the optimizer carries it.
        stepped: called after a step that counts.
        loaded: called when the optimizer has loaded another count.

    Raises:
        TypeError: if the optimizer's `step()` runs no hooks.
    """

    def __init__(self, optimizer: Any, key: str, stepped: Callable[[], None], loaded: Callable[[], None]) -> None:
        self._optimizer = innermost(optimizer)
        if not getattr(type(self._optimizer).step, "hooked", False):
            name = type(self._optimizer).__name__
            raise TypeError(f"{name}.step() runs no step hooks, so its steps cannot be counted: pass what it wraps")
        self._key, self._stepped, self._loaded = key, stepped, loaded
        self.steps = read_count(self._optimizer, key) or 0
        self._entered = False  # a step has begun, and its innermost part not ended
        self._attach()

    def go_to(self, steps: int) -> None:
        """Be at this step."""
        self.steps = steps
        for group in self._optimizer.param_groups:
            group[self._key] = steps

    def remove(self) -> None:
        """Count no more, and leave nothing on the optimizer."""
        for handle in self._handles:
            handle.remove()
        for group in self._optimizer.param_groups:
            group.pop(self._key, None)

    def _attach(self) -> None:
        optimizer = self._optimizer
        self._handles = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
            optimizer.register_load_state_dict_post_hook(self._after_load),
            optimizer.register_state_dict_post_hook(self._after_save),
        ]
        self.go_to(self.steps)

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if optimizer is not self._optimizer:  # a stand-in, whose step() calls super().step()
            return
        if torch.compiler.is_compiling():
            torch.compiler.disable(self._begin)(bool(args[1:] or kwargs))  # type: ignore[no-untyped-call]
        else:
            self._begin(bool(args[1:] or kwargs))

    def _begin(self, closure: bool) -> None:
        if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():  # type: ignore[no-untyped-call]
            raise RuntimeError(
                "steps in a captured CUDA graph, whose replay runs no hooks, cannot be counted: leave "
                "optimizer.step() out of the graph"
            )
        self._after_load(self._optimizer)
        self._entered = closure or not is_fake_step(self._optimizer)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if optimizer is not self._optimizer:
            return
        if torch.compiler.is_compiling():
            torch.compiler.disable(self._end)()  # type: ignore[no-untyped-call]
        else:
            self._end()

    def _end(self) -> None:
        # A step() that calls super().step() runs hooks twice: the first post-hook after a pre-hook is that of the step.
        if self._entered and not found_inf(self._optimizer):
            self.go_to(self.steps + 1)
            self._stepped()
        self._entered = False

    def _after_load(self, optimizer: Optimizer) -> None:
        """Follow the count that the optimizer has; a checkpoint without one leaves it as it is."""
        groups = self._optimizer.param_groups
        if all(group.get(self._key) == self.steps for group in groups):
            return
        steps = read_count(self._optimizer, self._key)
        changed = steps is not None and steps != self.steps
        self.go_to(self.steps if steps is None else steps)
        if changed:
            self._loaded()

    def _after_save(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        if distributed_checkpoint_calls():  # loading asks for the entries that are there
            for group in state["param_groups"]:
                group.setdefault(self._key, self.steps)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_handles"} | {"_entered": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._attach()
