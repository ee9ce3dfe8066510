"""Powers of signal and noise: the features of a network against those of a reference, summed up layer by layer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lerac.snr.features import first_tensor

__all__ = ["FeatureComparison", "Powers"]


@dataclass
class Powers:
    """Sums over the features of one layer.

    Args:
        depth: of the layer.
        signal: sum of the squared features of the reference.
        noise: sum of the squared differences.
        count: of the features.
        strange: why there is no ratio, if there is none.
    """

    depth: int
    signal: float = 0.0
    noise: float = 0.0
    count: int = 0
    strange: str = ""

    @property
    def snr_db(self) -> float:
        """The ratio of signal to noise in dB, as `LayerSNR` has it."""
        if self.noise == 0:
            return math.inf if self.signal > 0 else math.nan
        return 10 * (math.log10(self.signal) - math.log10(self.noise)) if self.signal > 0 else -math.inf


class FeatureComparison:
    """Compares the features of two networks, batch by batch: `keep` sees the reference, then `compare` the model.

    Args:
        chosen: the modules to compare, by name.
        depths: of every module with parameters, by name; None for those without.
    """

    def __init__(self, chosen: Mapping[str, nn.Module], depths: Mapping[str, int | None]) -> None:
        self._chosen, self._depths = chosen, depths
        self._kept: dict[str, list[Tensor | None]] = {}
        self._sums: dict[str, Powers] = {}  # in the order of the first call
        self._powers: list[tuple[str, Tensor]] = []
        self._depth = 0  # of the last module with parameters that was called

    def keep(self, name: str, module: nn.Module, output: Any) -> None:
        """Take what a module of the reference returned."""
        if name in self._chosen:
            features = first_tensor(output)
            # A clone, because what follows may work in place.
            self._kept.setdefault(name, []).append(None if features is None else features.clone())

    def compare(self, name: str, module: nn.Module, output: Any) -> None:
        """Take what a module of the model returned."""
        depth = self._depths[name]
        if depth is not None:
            self._depth = depth
        if name not in self._chosen:
            return
        sums = self._sums.setdefault(name, Powers(self._depth))
        features, kept = first_tensor(output), self._kept.get(name)
        if not kept:
            raise ValueError(f"layer {name!r} is called more often in the model than in the reference")
        signal = kept.pop(0)
        if features is None or signal is None:
            sums.strange = f"returns {type(output).__name__}, in which there is no floating-point tensor"
        elif features.shape != signal.shape:
            shapes = f"{tuple(features.shape)} in the model and {tuple(signal.shape)} in the reference"
            raise ValueError(f"the features of layer {name!r} have the shapes {shapes}")
        else:
            self._powers.append((name, _powers(signal.to(features.device), features)))
            sums.count += features.numel()

    def end_batch(self) -> None:
        """Add up, waiting for the device once per batch instead of once per layer."""
        if more := [name for name, kept in self._kept.items() if kept]:
            raise ValueError(f"layer {more[0]!r} is called more often in the reference than in the model")
        if self._powers:
            where = self._powers[0][1].device
            values = torch.stack([powers.to(where) for _, powers in self._powers]).tolist()
            for (name, _), (signal, noise, ours, theirs) in zip(self._powers, values, strict=True):
                sums = self._sums[name]
                sums.signal, sums.noise = sums.signal + signal, sums.noise + noise
                if not sums.strange and (ours or theirs):
                    who = "the model" if ours else "the reference"
                    sums.strange = f"has features that are not finite in {who} ({int(ours or theirs)} of them)"
        self._powers.clear()

    def result(self, *, innermost: bool, required: set[str]) -> dict[str, Powers]:
        """Give the powers of every layer that was called, in the order of the first call.

        Args:
            innermost: leave out modules that contain another one.
            required: names of modules that must have been called.

        Raises:
            ValueError: if one was not, none was, or a layer has no finite features.
        """
        kept = self._sums
        if innermost:
            kept = {n: s for n, s in kept.items() if not any(_contains(self._chosen[n], self._chosen[o]) for o in kept)}
        if missing := sorted(required - kept.keys()):
            raise ValueError(f"the forward pass does not call {', '.join(missing)}, so there are no features")
        if not kept:
            raise ValueError("none of the chosen modules is called in the forward pass: say which count, modules=…")
        for name, sums in kept.items():
            if not sums.strange and not (math.isfinite(sums.signal) and math.isfinite(sums.noise)):
                sums.strange = "has features too large to be squared"
            if sums.strange:
                raise ValueError(f"layer {name!r} {sums.strange}; modules=… chooses other layers")
        return kept


def _powers(signal: Tensor, features: Tensor) -> Tensor:
    """Sums of signal² and noise², and how many features of the model and of the reference are not finite; float64."""
    if signal.device.type == "mps":  # has no float64
        signal, features = signal.cpu(), features.cpu()
    if signal.is_complex() or features.is_complex():
        signal, features = (torch.view_as_real(t.to(torch.complex128)) for t in (signal, features))
    signal, features = signal.double(), features.double()
    ours, theirs = ((~t.isfinite()).sum().double() for t in (features, signal))
    return torch.stack([signal.square().sum(), (features - signal).square().sum(), ours, theirs])


def _contains(outer: nn.Module, inner: nn.Module) -> bool:
    return outer is not inner and any(module is inner for module in outer.modules())
