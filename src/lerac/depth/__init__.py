"""Distance from the input, measured for every parameter of any `nn.Module` from the flow of its data.

Learning Rate Curriculum needs to know which parameters are next to the input and which are far from it. The
order in which modules were registered does not say: detection transformers may register their head first,
the decoder of a U-Net runs from the last block to the first, two towers run side by side.

So one forward pass is watched. It runs on *fake* tensors, which have shapes but no values, and on a copy of
the model made of them: nothing large is computed or allocated, and nothing of the model changes.

1. Every storage has an origin: the input, with a *level*; parameters only; or neither (`flow.Flow`). The
   input itself has level 0.
2. An operation that joins data with parameters has a result one level above the deepest data it uses, and
   that is the level of these parameters. Levels are therefore lengths of longest paths from the input,
   counted in operations with parameters. One call into torch is one operation, whatever torch makes of it
   (`calls.Calls`): weight and bias of a layer are one level. A parameter used several times keeps the
   smallest of its levels: what is tied to the input embedding is next to the input.
3. A module call is a *barrier*: nothing inside counts as shallower than the deepest tensor that the module
   was called with. Without it, the projection of encoder output in the last decoder layer would seem to be
   next to the encoder, and the lateral connection of a segmentation head next to the stem.
4. Evaluation mode comes first, since it skips nothing at random; what it misses (an auxiliary head) is looked
   for in training mode. Parameters that neither reaches go where their siblings are (`placing.place`).
5. Where fake tensors cannot follow, because values decide what happens next, a real copy does the same.
   Where that fails too, there are no layers: any guess could turn the curriculum round.
6. The levels of the trainable parameters are ranked 0, 1, 2, … Frozen parameters lengthen paths like any
   others, but a network does not get more layers by having a frozen part.

The files: `flow` watches operations and `calls` says what one is; `twin` copies a model by means of `copying`
(which looks `behind` objects and has `stand_ins` for some), and `hooks` says which hooks; `trace` runs one
pass, `placing` has the rules for what was not reached, and this one decides what is tried.
"""

import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)

from lerac.arguments import some
from lerac.depth.loop.events import WRAPPER, Call, Loop, UnclearError, lone_part, parts_of
from lerac.depth.placing import place_by_part
from lerac.depth.stand_ins import CannotCopyError
from lerac.depth.trace import trace
from lerac.depth.twin import Example, autocast_dtype, entrance, example_of, unwrapped
from lerac.layers import Layer, group_layers, named_parameters, ranked_layers

__all__ = ["Example", "example_of", "find_layers", "measure_depths"]

# What a forward pass raises because its tensors are fake, not because its inputs are wrong.
_FAKE_LIMITS = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
    NotImplementedError,
)


class _CannotTraceError(Exception):
    """The model may be fine, but its data flow cannot be watched."""


def find_layers(model: nn.Module, *args: Any, **kwargs: Any) -> tuple[Layer, ...]:
    """Find the layers of `model`, nearest to the input first: at most 32, every parameter in exactly one.

    Measures with `measure_depths` and groups with `lerac.layers.group_layers`; arguments and errors are those
    of `measure_depths`.

    Examples:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> [(layer.depth, layer.name) for layer in find_layers(model, torch.zeros(1, 4))]
        [(0, '0'), (1, '2')]
    """
    layers = _measured(model, args, kwargs)
    return group_layers(layers, frozen=named_parameters(model).keys() - _trained(model))


def measure_depths(model: nn.Module, *args: Any, **kwargs: Any) -> tuple[Layer, ...]:
    """Sort the parameters of `model` into layers of equal distance from the input, nearest first.

    Nothing of the model changes, and usually nothing is computed: see the module docstring. Where values
    decide what the forward pass does, a copy of the model computes one (or two) on the model's device.

    Args:
        model: may be wrapped by `torch.compile`, DistributedDataParallel or DataParallel, and on any device,
            also `meta`. If it has no forward, as an `nn.ModuleList`, it must hold exactly one module with
            parameters that has one, and this is what is called.
        *args: example inputs, as in `model(*args, **kwargs)`; their values hardly matter. Meta and fake
            tensors will do; so does one `Example`.
        **kwargs: likewise.

    Raises:
        TypeError: if the model's forward does not take arguments like these.
        ValueError: if the model has no parameters, or they are sharded or not initialised yet, or it has no
            forward and holds several modules, or its forward raises on these inputs, or its data flow cannot be
            followed; the message says what to do.
    """
    return _measured(model, args, kwargs)


def _measured(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Layer, ...]:
    inner = unwrapped(model)
    parameters = _check_parameters(inner)
    loop = _loop(inner, args, kwargs)
    _check_inputs(inner, loop)
    try:
        reached = _reach(inner, loop)
    except _CannotTraceError as reason:
        raise ValueError(
            f"the depths of {type(inner).__name__} could not be measured: {reason}. Pass its layers instead, "
            "LeRaC(…, layers=…): lerac.registration_layers(model), if its modules were registered from the input to "
            "the output, or your own sequence of lerac.Layer"
        ) from reason
    parts = list(parts_of(inner))
    trained = _trained(inner)
    if loop in args:
        _check_reached(trained, reached, parts)
    levels, placed = place_by_part(parameters, reached, parts)
    # Where a trained parameter is does not depend on frozen ones beside it, such as a moving average of the model.
    known = {name: level for name, level in reached.items() if name in trained} or reached
    of_trained, placed_trained = place_by_part([name for name in parameters if name in trained], known, parts)
    placed = {name: rule for name, rule in placed.items() if name not in trained} | placed_trained
    return ranked_layers(levels | of_trained, trained, placed)


def _trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in named_parameters(model).items() if parameter.requires_grad}


def _loop(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Loop:
    """What is called: one module with example inputs, or all that a loop did."""
    given = args[0] if len(args) == 1 and not kwargs else None
    if isinstance(given, Loop):
        return given
    example = given if isinstance(given, Example) else Example(args, kwargs, autocast_dtype())
    return Loop((Call(lone_part(model), example),))


def _check_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    name = type(model).__name__
    parameters = named_parameters(model)
    if not parameters:
        raise ValueError(f"{name} has no parameters, so it has no layers")
    lazy = [n for n, p in parameters.items() if isinstance(p, nn.UninitializedParameter)]
    if lazy:
        raise ValueError(
            f"{name} has parameters without a shape ({some(lazy, 3, ', ')}): lazy modules get it in their first "
            "forward pass. Run one, then find the layers"
        )
    sharded = _sharded(model, parameters)
    if sharded:
        raise ValueError(
            f"the parameters of {name} are sharded ({some(sharded, 3, ', ')}), so the model can be neither copied "
            "nor traced. Find the layers before sharding, layers = find_layers(model, …), and pass layers="
        )
    return parameters


def _check_inputs(model: nn.Module, loop: Loop) -> None:
    for call in loop.calls:
        called = entrance(model, call.path)
        try:
            signature = inspect.signature(called.forward)
        except ValueError:  # compiled functions have none
            continue
        try:
            signature.bind(*call.example.args, **call.example.kwargs)
        except TypeError as error:
            raise TypeError(
                f"{type(called).__name__}.forward does not take these example inputs: {error}. "
                "Pass what the model is called with: find_layers(model, *args, **kwargs)"
            ) from None


def _check_reached(trained: set[str], reached: Mapping[str, int], parts: Sequence[str]) -> None:
    """Of what a loop did, every part must be known, and every parameter that is in none of them."""
    left = set(trained)
    for part in parts:
        inside = {name for name in trained if not part or name.startswith(f"{part}.")}
        left -= inside if any(name in reached for name in inside) else set()
    if lost := sorted(left - reached.keys()):
        raise ValueError(
            f"the data of your loop does not meet {some(lost, 3, ', ')}, as far as LeRaC can see, so it does not know "
            f"how far from the input that is. What to do: {WRAPPER}"
        )


def _sharded(model: nn.Module, parameters: dict[str, nn.Parameter]) -> list[str]:
    # Sharded parameters only exist where these modules are loaded; loading them takes a while.
    tensor = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", ())
    wrapper = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", ())
    if any(isinstance(module, wrapper) for module in model.modules()):
        return list(parameters)
    return [name for name, parameter in parameters.items() if isinstance(parameter, tensor)]


def _reach(model: nn.Module, loop: Loop) -> dict[str, int]:
    """Levels of the parameters that forward passes reach, from as few and as cheap passes as it takes.

    Raises:
        _CannotTraceError: if no forward pass could be watched, though the inputs may be right.
        ValueError: if the model's own forward fails on these inputs.
    """
    try:
        reached, failures = _try(model, loop, real=False)
        if not reached and not any(p.is_meta for p in model.parameters()):
            reached, failures = _try(model, loop, real=True)
    except CannotCopyError as error:
        raise _CannotTraceError(str(error)) from error
    if reached:
        return reached
    if len(failures) < 2:  # one of two passes came to its end
        raise _CannotTraceError("in its forward pass no parameter meets the input, as far as torch can see")
    cause = failures[-1] if model.training else failures[0]
    said = f"{type(cause).__name__}: {cause}"
    described = any(call.example.described for call in loop.calls)
    if described or isinstance(cause, (torch.OutOfMemoryError, MemoryError, *_FAKE_LIMITS)):
        raise _CannotTraceError(said) from cause
    raise ValueError(f"{type(model).__name__}.forward fails on these example inputs, {said}") from cause


def _try(model: nn.Module, loop: Loop, *, real: bool) -> tuple[dict[str, int], list[Exception]]:
    """Watch a pass in evaluation mode and, unless that reaches all that is trained, one in training mode."""
    reached: dict[str, int] = {}
    failures: list[Exception] = []
    wanted = _trained(model)
    for training in (False, True):
        if reached and wanted <= reached.keys():
            break
        try:
            found = trace(model, loop, training=training, real=real)
        except (CannotCopyError, UnclearError):
            raise
        except Exception as error:  # whatever a model may raise
            failures.append(error)
        else:
            reached = found | reached
    return reached, failures
