"""Acting inside `optimizer.step()` without touching the optimizer.

A step pre-hook may replace the arguments of `step()`, and the first of them is the optimizer itself. We hand
`step()` a stand-in: an object of a subclass of the optimizer's own class that shares the optimizer's
`__dict__`, so its state, and shows other `param_groups`: each of the user's groups split into one part per
learning rate factor. The user's groups are never split, swapped or changed, so there is nothing to restore when
`step()` raises, and schedulers, checkpoints and loggers see the optimizer that they know.
"""

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from torch.optim import Optimizer

from lerac.curriculum.first_step import ParamGroup

__all__ = ["Hooks", "make_stand_in"]

# Optimizers with a curriculum, finished ones too: a second one would adopt the step count of the first.
_attached: WeakSet[Optimizer] = WeakSet()


def make_stand_in(optimizer: Optimizer, param_groups: Callable[[], list[ParamGroup]]) -> Optimizer:
    """Make an object that is `optimizer` in everything but `param_groups`, which it asks for when read."""
    cls = type(optimizer)
    show = property(lambda _: param_groups())
    stand_in_class = type(cls.__name__, (cls,), {"param_groups": show, "__module__": cls.__module__})
    stand_in: Optimizer = object.__new__(stand_in_class)
    object.__setattr__(stand_in, "__dict__", optimizer.__dict__)  # shared, not copied
    return stand_in


class Hooks:
    """On every load of a state until `detach`, and on every step between `arm` and `disarm`.

    Args:
        optimizer: which.
        before_step: a step pre-hook.
        after_step: a step post-hook.
        after_load: called when the optimizer has loaded a state.

    Raises:
        ValueError: if the optimizer has a curriculum.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        before_step: Callable[..., Any],
        after_step: Callable[..., None],
        after_load: Callable[[Optimizer], None],
    ) -> None:
        if optimizer in _attached:
            raise ValueError(
                f"this {type(optimizer).__name__} has a curriculum already: use that one, or call its remove() first"
            )
        _attached.add(optimizer)
        self._optimizer = optimizer
        self._before_step = before_step
        self._after_step = after_step
        self._load = optimizer.register_load_state_dict_post_hook(after_load)
        self._step: tuple[Any, ...] = ()

    def arm(self) -> None:
        """Act in steps from here on."""
        if not self._step:
            pre = self._optimizer.register_step_pre_hook(self._before_step)
            self._step = (pre, self._optimizer.register_step_post_hook(self._after_step))

    def go_last(self) -> None:
        """Become the last post-hook: in the last step it takes itself off, and torch goes through the live dict."""
        pre, post = self._step
        post.remove()
        self._step = (pre, self._optimizer.register_step_post_hook(self._after_step))

    def disarm(self) -> None:
        """Leave steps alone."""
        for handle in self._step:
            handle.remove()
        self._step = ()

    def detach(self) -> None:
        """Leave nothing on the optimizer."""
        self.disarm()
        self._load.remove()
        _attached.discard(self._optimizer)
