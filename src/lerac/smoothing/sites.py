"""Where a model is smoothed: which modules are selected, and what is done to the output of each."""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from lerac.arguments import some
from lerac.depth.twin import unwrapped
from lerac.layers import plain_name
from lerac.smoothing.attention import (
    Masks,
    around,
    class_tokens,
    is_cross_attention,
    is_self_attention,
    why_causal,
)
from lerac.smoothing.filters import Filter
from lerac.smoothing.hooks import ChannelsHook, Hook, TimeHook, TokensHook

__all__ = ["KEYWORDS", "Modules", "find_hooks"]

Modules = str | Sequence[str | type[nn.Module]] | type[nn.Module] | Callable[[str, nn.Module], bool] | None

KEYWORDS = ("cbs", "convolutions", "tokens", "recurrent")
_AUTOMATIC = ("cbs", "tokens", "recurrent")


def find_hooks(model: nn.Module, modules: Modules, applied: Filter) -> tuple[str, dict[str, tuple[nn.Module, Hook]]]:
    """Select modules, and give by name each with the hook that smooths its output, and how they were selected.

    Args:
        model: wrapped or not; names are without wrapper prefixes.
        modules: see `lerac.CBS`.
        applied: what the hooks apply.

    Raises:
        TypeError: if `modules` is of a wrong type.
        ValueError: if nothing is found, or what is found must not be smoothed.
    """
    model = unwrapped(model)
    named = dict(model.named_modules())
    scripted = [name for name, module in named.items() if isinstance(module, torch.jit.ScriptModule)]
    if scripted:
        raise ValueError(
            f"CBS cannot smooth inside TorchScript, which runs no hooks of its parts: {some(scripted)}. Build CBS on "
            "the model before it is scripted"
        )
    how, paths = _selected(named, modules)
    found = {}
    for path in paths:
        hook = _hook_for(path, named, applied)
        found[plain_name(path) or type(model).__name__] = (named[path], hook)
    return how, found


def _selected(named: dict[str, nn.Module], modules: Modules) -> tuple[str, list[str]]:
    if modules is None:
        for keyword in _AUTOMATIC:
            if paths := _by_keyword(keyword, named):
                return keyword, paths
        raise ValueError(
            f"CBS found nothing to smooth in this {type(named['']).__name__}: no convolution of more than 1×1 but "
            "patch embeddings, no self-attention and no recurrent layer. Name the modules whose outputs are feature "
            "maps, sequences of tokens or sequences in time: modules=['encoder.mixer', …]"
        )
    if isinstance(modules, str) and modules in KEYWORDS:
        if paths := _by_keyword(modules, named):
            return modules, paths
        raise ValueError(
            f"modules={modules!r} finds nothing in this {type(named['']).__name__}: leave it out to take what there "
            "is, or name the modules"
        )
    if isinstance(modules, type | str):
        modules = [modules]
    if isinstance(modules, Sequence):
        return "by name or type", _by_rules(modules, named)
    if not callable(modules):
        raise TypeError(
            f"modules must be {', '.join(map(repr, KEYWORDS))}, names or types of modules, or a callable (name, module)"
            f" → bool, got {modules!r}"
        )
    choose = modules
    paths = [path for path, module in named.items() if choose(plain_name(path), module)]
    if not paths:
        raise ValueError(f"the callable given as modules chose none of the {len(named)} modules")
    return "by a callable", paths


def _by_rules(rules: Sequence[Any], named: dict[str, nn.Module]) -> list[str]:
    if not rules:
        raise ValueError("modules is empty: leave it out to take what there is, or name at least one module")
    chosen: set[str] = set()
    for rule in rules:
        if isinstance(rule, str):
            hits = {path for path in named if fnmatchcase(plain_name(path), plain_name(rule))}
        elif isinstance(rule, type) and issubclass(rule, nn.Module):
            hits = {path for path, module in named.items() if isinstance(module, rule)}
        else:
            raise TypeError(f"modules must be names or types of modules, got {rule!r} among them")
        if not hits:
            shown = repr(rule) if isinstance(rule, str) else rule.__name__
            raise ValueError(f"this {type(named['']).__name__} has no module {shown}: see model.named_modules()")
        chosen |= hits
    return [path for path in named if path in chosen]


def _by_keyword(keyword: str, named: dict[str, nn.Module]) -> list[str]:
    if keyword == "recurrent":
        return [path for path, module in named.items() if isinstance(module, nn.RNNBase)]
    if keyword == "tokens":
        paths = [path for path, module in named.items() if is_self_attention(module)]
        paths = [path for path in paths if not any(inner != path and _inside(inner, path) for inner in paths)]
        selves = [path for path in paths if not is_cross_attention(path, named[path])]
        if causal := [p for p in selves if why_causal(named[p], list(around(p, named)))]:
            _refuse_causal(causal[0], named, [path for path in selves if path not in causal])
        return selves
    paths = [path for path, module in named.items() if isinstance(module, _ConvNd)]
    if keyword == "cbs":
        paths = [path for path in paths if _smoothed_by_the_authors(named[path])]
    for path in paths:
        module = named[path]
        if isinstance(module, nn.Conv1d) and _reaches_only_back(module):
            raise ValueError(
                f"{plain_name(path)!r} seems to be a causal convolution (its padding is as long as the kernel less "
                "one), and smoothing would show a step the one after it. If it is not, name the modules: "
                f"modules=[{plain_name(path)!r}, …]"
            )
    return paths


def _smoothed_by_the_authors(module: nn.Module) -> bool:
    """Every convolution but 1×1 ones and patch embeddings, whose windows do not overlap."""
    kernel, stride = module.kernel_size, module.stride
    assert isinstance(kernel, tuple)
    assert isinstance(stride, tuple)
    is_pointwise = all(k == 1 for k in kernel)
    is_patches = all(k <= s for k, s in zip(kernel, stride, strict=True))
    return not is_pointwise and not is_patches


def _reaches_only_back(module: nn.Conv1d) -> bool:
    reach = module.dilation[0] * (module.kernel_size[0] - 1)
    return reach > 0 and module.padding == (reach,)


def _hook_for(path: str, named: dict[str, nn.Module], applied: Filter) -> Hook:
    module, name = named[path], plain_name(path)
    if isinstance(module, nn.RNNBase):
        return TimeHook(applied, name, module)
    if isinstance(module, _ConvNd):
        return ChannelsHook(applied, name, len(module.kernel_size), batched=False)
    if hasattr(module, "kernel_size"):  # pooling, deformable convolutions and such
        return ChannelsHook(applied, name, None, batched=True)
    ancestors = list(around(path, named))
    inside = [p for p in named if p != path and _inside(p, path) and is_self_attention(named[p])]
    for attention in [path, *inside]:
        if why_causal(named[attention], list(around(attention, named))):
            _refuse_causal(attention, named, [])
    by_pixel = any(isinstance(child, nn.Conv2d) for child in module.children())  # its tokens are (batch, channels, …)
    time_first = any(getattr(named[p], "batch_first", True) is False for p in [path, *inside])
    dim = 0 if time_first else 1
    return TokensHook(applied, name, Masks(module), class_tokens(ancestors), dim, by_pixel=by_pixel)


def _refuse_causal(path: str, named: dict[str, nn.Module], others: Sequence[str]) -> None:
    reason = why_causal(named[path], list(around(path, named)))
    instead = f". Other attention of this model can be named: modules={_names(others)}" if others else ""
    raise ValueError(
        "CBS does not smooth causal attention, since that would show a token the one after it: "
        f"{plain_name(path)!r} is causal ({reason}){instead}"
    )


def _names(paths: Iterable[str]) -> str:
    shown = [repr(plain_name(path)) for path in paths]
    return f"[{', '.join(shown[:3])}{', …' if len(shown) > 3 else ''}]"


def _inside(path: str, other: str) -> bool:
    return other == "" or path.startswith(other + ".")
