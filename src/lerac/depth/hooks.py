"""Which forward hooks of a model go with its copy."""

from functools import partial
from types import FunctionType, MethodType
from typing import Any

from lerac.depth.copying import Copies

__all__ = ["copied_hook"]

# Values that a copy may share with the original.
_PLAIN = (bool, int, float, complex, str, bytes, type, type(None), FunctionType)


def copied_hook(hook: Any, copies: Copies) -> Any:
    """A hook that acts on the copy of the model only, or None if there is no such thing.

    Torch's own hooks, such as the one that computes a normalised weight, and hooks that refer to nothing but
    parts of the model and plain values belong to the model. All others watch it from outside, as a logger or
    LeRaC itself does: they must not see a second forward pass, and what they refer to must not be copied.

    Args:
        hook: any callable.
        copies: those of the model.
    """
    own = type(hook).__module__.partition(".")[0] == "torch"
    if own or all(id(value) in copies.memo or isinstance(value, _PLAIN) for value in _refers_to(hook)):
        return copies(hook)
    return None


def _refers_to(hook: Any) -> list[Any]:
    if isinstance(hook, partial):
        return [*_refers_to(hook.func), *hook.args, *hook.keywords.values()]
    if isinstance(hook, MethodType):
        return [hook.__self__]
    if isinstance(hook, FunctionType):
        return [cell.cell_contents for cell in hook.__closure__ or ()]
    return [hook]
