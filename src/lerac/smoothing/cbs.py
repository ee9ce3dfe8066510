"""Curriculum by Smoothing: at first feature maps are blurred, and less and less so."""

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from lerac.arguments import check_decay, check_every, check_kernel_size, check_model, check_saved, check_sigma, some
from lerac.smoothing.filters import Filter, is_identity
from lerac.smoothing.hooks import ChannelsHook, Hook, TokensHook
from lerac.smoothing.sites import Modules, find_hooks

__all__ = ["CBS"]

VERSION = 1
_ARGUMENTS = ("sigma", "decay", "every", "kernel_size", "modules")


class CBS:
    """Curriculum by Smoothing for one model: add this line after building it, and call `step()` in the loop.

    The output of each selected module is smoothed per channel by a Gaussian of standard deviation σ, its
    `kernel_size` weights per dimension divided by their sum, with zero padding of `kernel_size // 2`; in training
    and in evaluation. After s calls of `step()` σ is `sigma * decay ** (s // every)`. Once the filter is the identity
    in the data type of the model, its hooks are gone. Source: Sinha, Garg and Larochelle, "Curriculum by Smoothing",
    NeurIPS 2020; `docs/smoothing.md` has the details.

    Nothing of the model changes but its forward hooks: parameters, buffers and checkpoints are the plain model's.
    A copy of the model, such as a moving average of its weights, is smoothed as the model is, at every time.

    Args:
        model: the network, wrapped or not. If it is compiled, build CBS before its first forward pass.
        sigma: σ before the first step, above 0, in pixels, tokens or time steps. The paper uses 1.
        decay: factor on σ, in (0, 1]; with 1 the filter stays for good.
        every: how many calls of `step()` lie between two decays, at least 1. The paper uses 2 to 5 epochs: call
            `step()` after every epoch and pass `every=5`, or after every batch and pass `every=5 * len(loader)`.
        kernel_size: weights per dimension, odd and at least 3.
        modules: whose output is smoothed. "cbs": every convolution but 1×1 ones and patch embeddings (windows that
            do not overlap), as its authors do; "convolutions": all of them; "tokens": every self-attention, along the
            sequence, class tokens and padding untouched; "recurrent": every recurrent layer, along time. Or names of
            modules, with the wildcards of `fnmatch`, types of modules, or a callable (name, module) → bool. None takes
            the first of "cbs", "tokens" and "recurrent" that finds something; `print(cbs)` shows what.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument is out of range, nothing is found to be smoothed, the model is smoothed already, or
            its attention is causal: smoothing would show a token the one after it. A model that tells so only
            when it is called raises then.

    Warns:
        UserWarning: in the first `step()`, if none of the selected modules has been called.

    Examples:
        >>> import torch, lerac
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 1))
        >>> cbs = lerac.CBS(model, every=2)
        >>> print(cbs)
        CBS(sigma 1, step 0: × 0.9 every 2 steps, 3 weights per dimension, modules 'cbs', 1 smoothed)
          0  feature maps
        >>> output = model(torch.zeros(1, 1, 8, 8))
        >>> for _ in range(5):
        ...     cbs.step()
        >>> round(cbs.sigma, 4)
        0.81
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        sigma: float = 1.0,
        decay: float = 0.9,
        every: int,
        kernel_size: int = 3,
        modules: Modules = None,
    ) -> None:
        self._model = check_model(model)
        self._sigma = check_sigma(sigma)
        self._decay = check_decay(decay)
        self._every = check_every(every)
        self._kernel_size = check_kernel_size(kernel_size)
        self._steps = 0
        self._removed = False
        self._filter = Filter(self._kernel_size)
        self._how, self._sites = find_hooks(model, modules, self._filter)
        self._handles: list[RemovableHandle] = []
        _drop_copied(model)
        self._arm()

    @property
    def sigma(self) -> float:
        """The standard deviation now, σ · decay^⌊steps / every⌋."""
        return float(self._sigma * self._decay ** (self._steps // self._every))

    @property
    def steps(self) -> int:
        """Calls of `step()`."""
        return self._steps

    @property
    def finished(self) -> bool:
        """Whether the filter is the identity in the data type of the model, so that nothing is smoothed any more."""
        dims = max(_dims(hook) for _, hook in self._sites.values())
        return is_identity(self.sigma, self._kernel_size, dims, self._finest_type())

    def step(self) -> None:
        """Count one epoch, or one batch: whatever `every` is counted in. Call it after the backward pass."""
        if self._steps == 0 and self._handles and not any(hook.called for _, hook in self._sites.values()):
            warnings.warn(
                "CBS.step() is called, and none of the selected modules has been called since CBS was built, so "
                "nothing was smoothed. A compiled model that ran before does not see CBS: build CBS first. Else select "
                f"modules that are called; selected are {some(list(self._sites))}",
                stacklevel=2,
            )
        self._steps += 1
        if self._steps % self._every == 0 and not self._removed:
            self._arm()

    def remove(self) -> None:
        """Smooth no more, neither the model nor its copies: the model is as if there had never been a CBS."""
        self._removed = True
        self._disarm()

    def state_dict(self) -> dict[str, Any]:
        """Give the state in plain types: version, steps, the arguments, and the names of the selected modules."""
        return {
            "version": VERSION,
            "steps": self._steps,
            "sigma": self._sigma,
            "decay": self._decay,
            "every": self._every,
            "kernel_size": self._kernel_size,
            "modules": list(self._sites),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict()` was called; an earlier state than the present one smooths again.

        Raises:
            TypeError: if the state is not a dict.
            ValueError: if it is damaged, or of a CBS with other arguments or modules; both values are named.
            RuntimeError: if the CBS was removed.
        """
        if self._removed:
            raise RuntimeError("this CBS was removed from its model: build a new one to load a state")
        before, self._steps = self._steps, _checked_steps(state, self.state_dict())
        try:
            self._arm()
        except ValueError:  # another CBS is there by now
            self._steps = before
            raise

    def __repr__(self) -> str:
        status = ", removed" if self._removed else ", finished" if self.finished else ""
        return (
            f"CBS(sigma {self.sigma:.4g}, step {self._steps}: × {self._decay:g} every {self._every} steps, "
            f"{self._kernel_size} weights per dimension, modules {self._how!r}, {len(self._sites)} smoothed{status})"
        )

    def __str__(self) -> str:
        width = max(map(len, self._sites))
        rows = [f"  {name.ljust(width)}  {_described(hook)}" for name, (_, hook) in self._sites.items()]
        return "\n".join([repr(self), *rows])

    def _arm(self) -> None:
        """Have the hooks if, and only if, there is something to smooth, and let them know of the present σ."""
        if self.finished:
            # A model compiled anew without the hooks would not see them come back: there they stay, and do nothing.
            if any(hook.compiled for _, hook in self._sites.values()):
                self._filter.set(self.sigma, on=False)
            else:
                self._disarm()
            return
        devices = {p.device for module, _ in self._sites.values() for p in module.parameters()}
        if not self._handles:
            for name, (module, _) in self._sites.items():
                _check_free(name, module)
            self._handles = [
                module.register_forward_hook(hook, with_kwargs=True) for module, hook in self._sites.values()
            ]
        self._filter.set(self.sigma, on=True, devices=devices)

    def _disarm(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._filter.set(self.sigma, on=False)

    def _finest_type(self) -> torch.dtype:
        """The type of the smallest epsilon among the parameters of the selected modules."""
        used = {p.dtype for module, _ in self._sites.values() for p in module.parameters()}
        floating = {dtype for dtype in used if dtype.is_floating_point or dtype.is_complex}
        return min(floating or {torch.get_default_dtype()}, key=lambda dtype: torch.finfo(dtype).eps)

    # Of model and CBS copied together, the CBS acts on the copied model, with a filter of its own.
    def __deepcopy__(self, memo: dict[int, Any]) -> "CBS":
        memo[id(self)] = twin = object.__new__(type(self))
        vars(twin).update({name: copy.deepcopy(value, memo) for name, value in vars(self).items()})
        twin._filter = Filter(self._kernel_size)
        twin._own_hooks(on=self._filter.on)
        return twin

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._own_hooks(on=self._filter.on)

    def _own_hooks(self, *, on: bool) -> None:
        for _, hook in self._sites.values():
            hook.filter, hook.copied = self._filter, False
        self._filter.set(self.sigma, on=on)


def _drop_copied(model: nn.Module) -> None:
    """Take off what came with a copy of another model, wherever it is: a new CBS takes its place."""
    for module in model.modules():
        for key, hook in list(module._forward_hooks.items()):
            if isinstance(hook, Hook) and hook.copied:
                handle = RemovableHandle(module._forward_hooks, extra_dict=module._forward_hooks_with_kwargs)
                handle.id = key
                handle.remove()


def _check_free(name: str, module: nn.Module) -> None:
    """See that no other CBS smooths it."""
    if any(isinstance(hook, Hook) for hook in module._forward_hooks.values()):
        raise ValueError(f"{name!r} is smoothed by another CBS already: use that one, or call its remove() first")


def _checked_steps(state: Any, own: Mapping[str, Any]) -> int:
    steps = check_saved(state, own, a="the state of a CBS", the="the state of the CBS", steps="the steps of the CBS")
    for key in _ARGUMENTS:
        if state[key] != own[key]:
            raise ValueError(
                f"the checkpoint's CBS has {key} {state[key]!r}, this one {own[key]!r}: build it with the same "
                "arguments"
            )
    return steps


def _dims(hook: Hook) -> int:
    if isinstance(hook, ChannelsHook):
        return hook.dims or 3
    return 2 if isinstance(hook, TokensHook) else 1


def _described(hook: Hook) -> str:
    if isinstance(hook, TokensHook) and hook.prefix:
        return f"{hook.what} after {hook.prefix} class token{'s' if hook.prefix > 1 else ''}"
    return hook.what
