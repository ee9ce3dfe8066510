"""Signal-to-noise ratio of the features of every layer, the measure behind Learning Rate Curriculum.

All ratios are of powers, in decibels: 10 · log10(signal power / noise power). Definitions, and what they show for a
LeNet, are in docs/snr.md.

Source: Croitoru et al., "Learning Rate Curriculum", IJCV 2024, Theorem 1 and Figure 4. The estimator of the paper is
not known to us; this one is ours.
"""

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lerac.depth import measure_depths
from lerac.depth.twin import unwrapped
from lerac.layers import named_parameters
from lerac.snr.comparison import FeatureComparison
from lerac.snr.features import Modules, arguments, check_same_structure, chosen_modules, module_names, run_watched
from lerac.undisturbed import RandomState, devices_of, evaluating

__all__ = ["LayerSNR", "layer_snr", "product_snr", "with_weight_noise"]


@dataclass(frozen=True)
class LayerSNR:
    """The features of one layer against those of the same layer of a reference.

    Args:
        name: of the module.
        depth: distance from the input of its deepest parameter, as `lerac.measure_depths` counts it; of a module
            without parameters, that of the last module with parameters that was called before it (0 if none was).
        snr_db: in dB; infinite if the features are equal, minus infinity if those of the reference are all zero,
            NaN if both hold.
        count: how many feature values were compared.
    """

    name: str
    depth: int
    snr_db: float
    count: int


def layer_snr(
    model: nn.Module, batches: Iterable[Any], reference: nn.Module, *, modules: Modules | None = None
) -> list[LayerSNR]:
    """Measure the signal-to-noise ratio of every layer's features, layers in the order in which they are called.

    Signal is what the reference computes, noise is what the model computes minus that:

        SNR = 10 · log10(Σ signal² / Σ (features − signal)²)

    Both sums are over all values of the layer: examples, channels, positions, calls and batches together. Means are
    not taken off (power is the second moment, as in Theorem 1). Layers are compared where features are multiplied
    by weights: at the output of a module with a weight matrix, before normalisation and activation.

    Both networks run in evaluation mode, without gradients and with the same random numbers. Nothing of them changes
    and all random states are put back, after errors too. One batch of inputs and of the reference's features is held
    at a time; sums are in float64.

    Args:
        model: any network, wrapped by `torch.compile` or DistributedDataParallel or not (its hooks run, its compiled
            code does not).
        batches: of inputs, and nothing else: each a tensor, a tuple (or list) of forward's arguments or a mapping of
            its keyword arguments, on the networks' device.
        reference: a network of the same structure whose features are the signal.
        modules: which modules count as layers: names, types or a callable (name, module) → bool. None for the modules
            that hold a weight of two or more dimensions and are no normalisation (convolutions, linear, recurrent
            and attention layers, embeddings); where one contains another, only the inner one. Of a module that
            returns several tensors the first floating-point one counts: the output of an LSTM, not its state.
            A module chosen by type or callable is left out if no forward pass calls it.

    Raises:
        TypeError: if a batch is not of the form above, or forward does not take it.
        ValueError: if there is no batch, the networks differ in structure, features are not finite or differ in shape,
            a chosen module returns no such tensor, a named one is never called, or none is; and as
            `lerac.measure_depths`, if the model's forward raises on the first batch or its depths cannot be measured.

    Examples:
        >>> model = nn.Linear(3, 2)
        >>> [layer] = layer_snr(with_weight_noise(model, 0.1, seed=0), [torch.ones(4, 3)], reference=model)
        >>> layer.name, layer.depth, layer.count
        ('Linear', 0, 8)
    """
    model, reference = _network("model", model), _network("reference", reference)
    if isinstance(batches, Tensor | Mapping):
        raise TypeError(f"batches must be an iterable of batches, got one {type(batches).__name__}: put it in a list")
    check_same_structure(model, reference)
    chosen, by_name = chosen_modules(model, modules)
    comparison: FeatureComparison | None = None
    with evaluating(model, reference):
        for batch in batches:
            call = arguments(model, batch)
            if comparison is None:
                comparison = FeatureComparison(chosen, _module_depths(model, *call))
            before = RandomState(devices_of(model, reference))
            run_watched(reference, call, comparison.keep)
            before.restore()
            run_watched(model, call, comparison.compare)
            comparison.end_batch()
    if comparison is None:
        raise ValueError("batches is empty: pass at least one batch of inputs (a generator can be used once only)")
    powers = comparison.result(innermost=modules is None, required=by_name)
    return [LayerSNR(name, p.depth, p.snr_db, p.count) for name, p in powers.items()]


def with_weight_noise(model: nn.Module, size: float, *, seed: int) -> nn.Module:
    """Copy a network, with Gaussian noise on its weights; the network itself and all random states stay as they are.

    Every parameter w (weights, biases, scales; tied ones once) becomes w + size · rms(w) · ε, ε standard normal and
    rms(w) the root mean square of w: its power over that of the noise is 1 / size². A parameter that is all zero
    gets none. For `layer_snr` the network is the reference and the copy is the model.

    Args:
        model: any network with values (not on the meta device).
        size: of the noise relative to the weights, 0 or more.
        seed: of the noise, 0 or more; the same on every device.

    Raises:
        TypeError: if `model` is not a module.
        ValueError: if `size` is negative or not finite, `seed` is negative, or a parameter has no values.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not (math.isfinite(size) and size >= 0):
        raise ValueError(f"size must be a finite number, 0 or more, got {size!r}")
    if seed < 0:  # torch takes it, for that of another seed
        raise ValueError(f"seed must be 0 or more, got {seed!r}")
    noisy = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in named_parameters(noisy).items():
        if parameter.is_meta or isinstance(parameter, nn.UninitializedParameter):
            raise ValueError(f"parameter {name!r} has no values yet, so noise cannot be sized by them")
        weight = parameter.detach()
        rms = weight.abs().double().square().mean().sqrt().item() if weight.numel() else 0.0
        kind = (
            weight.dtype if weight.is_complex() else torch.float64 if weight.dtype == torch.float64 else torch.float32
        )
        noise = torch.randn(weight.shape, generator=generator, dtype=kind)
        with torch.no_grad():
            parameter.copy_(weight.to(kind) + size * rms * noise.to(weight.device))
    return noisy


def product_snr(first_db: float, second_db: float, *more_db: float) -> float:
    """Give the signal-to-noise ratio of a product of independent noisy signals, in dB: below that of every factor.

    For s_i = u_i + z_i with all u_i and z_i independent and E[z_i] = 0 (Theorem 1), as ratios of powers,

        1 + 1 / SNR = (1 + 1 / SNR_1) · (1 + 1 / SNR_2) · …

    Args:
        first_db: of the first factor; infinity for no noise, minus infinity for no signal.
        second_db: of the second.
        *more_db: of further ones.

    Raises:
        ValueError: if a ratio is NaN.

    Examples:
        >>> round(product_snr(20, 20), 2)
        16.97
        >>> product_snr(20, math.inf)
        20.0
    """
    ratios = (first_db, second_db, *more_db)
    if any(math.isnan(ratio) for ratio in ratios):
        raise ValueError(f"signal-to-noise ratios must be numbers in dB, got {', '.join(map(str, ratios))}")
    if min(ratios) == -math.inf:
        return -math.inf
    product = math.inf
    for ratio in ratios:
        # 1 / SNR = 1 / a + 1 / b + 1 / (a · b), with the largest of the three in front so that nothing overflows.
        least, *others = sorted((product, ratio, product + ratio))
        if least < math.inf:
            product = least - 10 * math.log10(1 + sum(10 ** ((least - other) / 10) for other in others))
    return product


def _network(role: str, network: Any) -> nn.Module:
    if not isinstance(network, nn.Module):
        raise TypeError(f"{role} must be a torch.nn.Module, got {type(network).__name__}")
    inner = unwrapped(network)
    for name, parameter in inner.named_parameters():
        if parameter.is_meta or isinstance(parameter, nn.UninitializedParameter):
            raise ValueError(f"parameter {name!r} of the {role} has no values yet, so there are no features to compare")
    return inner


def _module_depths(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, int | None]:
    by_parameter = {name: layer.depth for layer in measure_depths(model, *args, **kwargs) for name in layer.parameters}
    depths = {id(parameter): by_parameter[name] for name, parameter in named_parameters(model).items()}
    return {
        name: max((depths[id(parameter)] for parameter in module.parameters()), default=None)
        for name, module in module_names(model).items()
    }
