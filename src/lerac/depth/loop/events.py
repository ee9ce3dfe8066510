"""What a training loop called, in order, and what came of what: a forward pass that no module's `forward` holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getattr_static

from torch import nn

from lerac.depth.twin import Example, unwrapped

__all__ = [
    "WRAPPER",
    "Call",
    "Event",
    "Join",
    "Loop",
    "Output",
    "Outside",
    "Raw",
    "Unclear",
    "UnclearError",
    "lone_part",
    "parts_of",
]


WRAPPER = (
    "write a small nn.Module that holds the same modules and whose forward does what your loop does, and pass it as "
    "the model, together with layers=lerac.find_layers(wrapper, *example_inputs); your loop may stay as it is"
)
"""What to do where the order of several modules cannot be known."""


class UnclearError(RuntimeError):
    """A training loop was seen, but not how its calls follow each other."""


@dataclass(frozen=True)
class Call:
    """A part of the model was called.

    Args:
        path: of the part, as `get_submodule` of the model takes it.
        example: what it was called with.
        sources: for each tensor of the example the event that it comes from; empty if all are from outside.
        outputs: how many tensors its result and arguments held afterwards; None if nobody counted.
    """

    path: str
    example: Example
    sources: tuple[int, ...] = ()
    outputs: int | None = None


@dataclass(frozen=True)
class Output:
    """One of the tensors that a call left behind, by the number of the call's event and its own."""

    call: int
    number: int


@dataclass(frozen=True)
class Join:
    """Operations between the calls brought together what came of these events, and maybe tensors from outside."""

    events: frozenset[int]
    outside: bool


@dataclass(frozen=True)
class Raw:
    """A parameter, used outside of any call."""

    name: str


@dataclass(frozen=True)
class Outside:
    """Data of the loop's own: what no part had a hand in, and was given to one."""


@dataclass(frozen=True)
class Unclear:
    """Nobody knows how deep this is, and why."""

    reason: str


Event = Call | Output | Join | Raw | Outside | Unclear


@dataclass(frozen=True)
class Loop:
    """What a training loop did with the parts of a model, up to its first optimizer step.

    Args:
        events: refer to earlier ones by their place. None stands for one that does not matter.
    """

    events: tuple[Event | None, ...]

    @property
    def calls(self) -> list[Call]:
        """The calls alone, in their order."""
        return [event for event in self.events if isinstance(event, Call)]


def _has_forward(module: nn.Module) -> bool:
    """Whether it can be called: an `nn.ModuleList` cannot, nor a class that only holds other modules."""
    return "forward" in vars(module) or getattr_static(type(module), "forward") is not nn.Module.forward


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """What a loop can call of a model: the model itself or, if it has no forward, the modules that it holds.

    Those without parameters are left out, and so are others of the same identity.

    Args:
        model: any module, wrapped or not.

    Returns:
        By path, as `get_submodule` of the unwrapped model takes it, the modules, wrapped or not.
    """
    found: dict[int, tuple[str, nn.Module]] = {}
    for path, part in _callable_parts("", model):
        found.setdefault(id(unwrapped(part)), (path, part))
    return dict(found.values())


def _callable_parts(path: str, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    inner = unwrapped(model)
    if not _has_forward(inner):
        for name, child in inner.named_children():
            yield from _callable_parts(f"{path}.{name}" if path else name, child)
    elif next(inner.parameters(), None) is not None:
        yield path, model


def lone_part(model: nn.Module) -> str:
    """The path of what takes the inputs of a model.

    Raises:
        ValueError: if the model has no forward, and does not hold exactly one module that has.
    """
    paths = list(parts_of(model))
    if len(paths) == 1:
        return paths[0]
    name = type(model).__name__
    if not paths:
        raise ValueError(
            f"{name} has no forward and holds no module that has one, so nothing can be called. What to do: {WRAPPER}"
        )
    some = f"{', '.join(paths[:5])}{', …' if len(paths) > 5 else ''}"
    raise ValueError(
        f"{name} has no forward, so example inputs do not say how its {len(paths)} modules ({some}) follow each other. "
        f"What to do: {WRAPPER}. Or build lerac.LeRaC without layers=: it sees what your loop calls in its first step"
    )
