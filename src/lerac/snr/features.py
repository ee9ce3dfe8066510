"""Feature maps: which modules of a network have them, and how to look at them while it runs."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves, tree_map

__all__ = [
    "Modules",
    "arguments",
    "check_same_structure",
    "chosen_modules",
    "first_tensor",
    "module_names",
    "run_watched",
]

Modules = str | type[nn.Module] | Iterable[str | type[nn.Module]] | Callable[[str, nn.Module], bool]
Call = tuple[tuple[Any, ...], dict[str, Any]]

# Their weights are a scale, whatever its shape: no product of features with a weight matrix.
_NORMALISATIONS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


def module_names(model: nn.Module) -> dict[str, nn.Module]:
    """Every module by name, as in `model.named_modules()`; the model itself by the name of its class."""
    return {name or type(model).__name__: module for name, module in model.named_modules()}


def chosen_modules(model: nn.Module, modules: Modules | None) -> tuple[dict[str, nn.Module], set[str]]:
    """Give the modules whose features are looked at, by name; and which of them were asked for by name.

    Args:
        model: any network.
        modules: names, types or a callable (name, module) → bool; None for those that hold a weight of two or more
            dimensions and are no normalisation.

    Raises:
        TypeError: if `modules` is something else.
        ValueError: if it chooses nothing, or names a module that there is not.
    """
    named = module_names(model)
    if modules is None:
        chosen = {name: module for name, module in named.items() if _multiplies(name, module)}
        if not chosen:
            raise ValueError(f"no module of {type(model).__name__} holds a weight matrix: say which count, modules=…")
        return chosen, set()
    names: set[str] = set()
    if callable(modules) and not isinstance(modules, type):
        chosen = {name: module for name, module in named.items() if modules(name, module)}
    else:
        names, types = _names_and_types(modules)
        for name in names - named.keys():
            near = get_close_matches(name, named, 3) or list(named)[:6]
            raise ValueError(f"{type(model).__name__} has no module {name!r}; there are {', '.join(near)}, …")
        chosen = {n: module for n, module in named.items() if n in names or isinstance(module, types)}
    if not chosen:
        raise ValueError(f"modules={modules!r} chooses no module of {type(model).__name__}")
    return chosen, names


def check_same_structure(model: nn.Module, reference: nn.Module) -> None:
    """See that both have the same modules, with parameters of the same shapes.

    Raises:
        ValueError: naming the first module that differs.
    """
    for ours, theirs in zip_longest(module_names(model).items(), module_names(reference).items()):
        if ours is None or theirs is None or _structure(*ours) != _structure(*theirs):
            (name, _), here, there = ours or theirs, _described(ours), _described(theirs)
            raise ValueError(
                f"the reference differs from the model at module {name!r}: the model has {here}, the reference has "
                f"{there}. Pass two networks of the same structure, such as a copy that was trained"
            )


def arguments(network: nn.Module, batch: Any) -> Call:
    """Give positional and keyword arguments of the network's forward for a batch, which holds inputs only.

    Raises:
        TypeError: if the batch is neither a tensor, a tuple or list of arguments, nor a mapping of keyword arguments,
            or forward does not take these.
    """
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(batch, Tensor):
        args = (batch,)
    elif isinstance(batch, Mapping):
        kwargs = dict(batch)
    elif isinstance(batch, tuple | list):
        args = tuple(batch)
    else:
        raise TypeError(
            "a batch must be a tensor, a tuple of forward's arguments or a mapping of its keyword arguments, got "
            f"{type(batch).__name__}"
        )
    try:
        inspect.signature(network.forward).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"{type(network).__name__}.forward does not take this batch ({error}). A batch holds inputs only; leave "
            "labels out: (images for images, labels in loader)"
        ) from None
    except ValueError:  # compiled functions have no signature
        pass
    return args, kwargs


@contextmanager
def _watched(network: nn.Module, see: Callable[[str, nn.Module, Any], None]) -> Iterator[None]:
    handles = []
    try:
        for name, module in module_names(network).items():
            if not isinstance(module, torch.jit.ScriptModule):  # those take no hooks

                def hook(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
                    see(name, module, output)

                handles.append(module.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def run_watched(network: nn.Module, call: Call, see: Callable[[str, nn.Module, Any], None]) -> None:
    """Run the network on a copy of the inputs, and let `see(name, module, output)` look at every module's output."""
    args, kwargs = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, call)  # it may change them in place
    with _watched(network, see):
        network(*args, **kwargs)


def first_tensor(output: Any) -> Tensor | None:
    """The features in what a module returned: the first floating-point or complex tensor; None if there is none."""
    tensors = (leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
    return next((t.detach() for t in tensors if t.is_floating_point() or t.is_complex()), None)


def _names_and_types(modules: Any) -> tuple[set[str], tuple[type[nn.Module], ...]]:
    given = [modules] if isinstance(modules, str | type) else modules
    items = list(given) if isinstance(given, Iterable) else [given]
    for item in items:
        if not isinstance(item, str) and not (isinstance(item, type) and issubclass(item, nn.Module)):
            raise TypeError(
                "modules must be names, types of modules or a callable (name, module) → bool, got "
                f"{item!r} ({type(item).__name__})"
            )
    return {i for i in items if isinstance(i, str)}, tuple(i for i in items if isinstance(i, type))


def _multiplies(name: str, module: nn.Module) -> bool:
    if isinstance(module, _NORMALISATIONS) or "parametrizations" in name.split("."):  # the latter compute weights
        return False
    own = list(module.parameters(recurse=False))
    if parametrize.is_parametrized(module):
        own += list(module.parametrizations.parameters())  # type: ignore[union-attr]
    return any(parameter.dim() > 1 for parameter in own)


def _structure(name: str, module: nn.Module) -> tuple[Any, ...]:
    own = {n: tuple(p.shape) for n, p in module.named_parameters(recurse=False)}
    return name, type(module).__module__, type(module).__qualname__, own


def _described(item: tuple[str, nn.Module] | None) -> str:
    if item is None:
        return "no such module"
    name, module = item
    shapes = ", ".join(f"{n} {tuple(p.shape)}" for n, p in module.named_parameters(recurse=False))
    return f"{type(module).__name__} {name!r}" + (f" with {shapes}" if shapes else "")
