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

from lerac.curriculum.groups.first_step import ParamGroup

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
    """On every save and load of a state until `detach`, and on every step between `arm` and `disarm`.

    Args:
        optimizer: which.
        before_step: a step pre-hook.
        after_step: a step post-hook.
        after_load: called when the optimizer has loaded a state.
        after_save: called with the state that the optimizer gives.
        loads_unseen: whether the optimizer can load a state without telling: then `before_step` is called after
            `disarm`, too.

    Raises:
        ValueError: if the optimizer has a curriculum.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        before_step: Callable[..., Any],
        after_step: Callable[..., None],
        after_load: Callable[[Optimizer], None],
        after_save: Callable[[Optimizer, dict[str, Any]], None],
        *,
        loads_unseen: bool,
    ) -> None:
        if optimizer in _attached:
            raise ValueError(
                f"this {type(optimizer).__name__} has a curriculum already: use that one, or call its remove() first"
            )
        _attached.add(optimizer)
        self._optimizer = optimizer
        self._before_step = before_step
        self._after_step = after_step
        self._loads_unseen = loads_unseen
        self._states = (
            optimizer.register_load_state_dict_post_hook(after_load),
            optimizer.register_state_dict_post_hook(after_save),
        )
        self._pre: Any = None
        self._post: Any = None
        self._entering = False  # the pre-hook runs, and torch goes through the live dict

    def arm(self) -> None:
        """Act in steps from here on."""
        self._pre = self._pre or self._optimizer.register_step_pre_hook(self._enter)
        self._post = self._post or self._optimizer.register_step_post_hook(self._after_step)

    def go_last(self) -> None:
        """Become the last post-hook: in the last step it takes itself off, and torch goes through the live dict."""
        self._post.remove()
        self._post = self._optimizer.register_step_post_hook(self._after_step)

    def disarm(self) -> None:
        """Leave steps alone; called before a step, it must be called again after it."""
        if self._entering:
            if self._post:
                self.go_last()
            return
        self._post = self._post and self._post.remove()
        if self._loads_unseen:
            self._pre = self._pre or self._optimizer.register_step_pre_hook(self._enter)
        else:
            self._pre = self._pre and self._pre.remove()

    def _enter(self, *step: Any) -> Any:
        self._entering = True
        try:
            return self._before_step(*step)
        finally:
            self._entering = False

    def detach(self) -> None:
        """Leave nothing on the optimizer."""
        self._loads_unseen = False
        self.disarm()
        for handle in self._states:
            handle.remove()
        _attached.discard(self._optimizer)
