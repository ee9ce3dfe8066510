"""Learning Rate Curriculum (LeRaC) for PyTorch: see `lerac.LeRaC`, and `lerac.CBS` for Curriculum by Smoothing.

Names and submodules load on first use: `import lerac` alone does not load torch.
"""

from typing import TYPE_CHECKING

from lerac.lazy import lazily

if TYPE_CHECKING:
    from lerac import curriculum as curriculum
    from lerac import curves, snr
    from lerac import depth as depth
    from lerac import integrations as integrations
    from lerac import layers as layers
    from lerac import optax as optax
    from lerac import plot as plot
    from lerac import regimes as regimes
    from lerac import smoothing as smoothing
    from lerac.curriculum import LeRaC
    from lerac.depth import find_layers, measure_depths
    from lerac.layers import Layer, group_layers, layers_from_timm, override_layers, registration_layers
    from lerac.regimes.attached import Attached, attach
    from lerac.smoothing import CBS
    from lerac.snr import LayerSNR, layer_snr
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "Attached": "regimes.attached",
            "CBS": "smoothing",
            "Layer": "layers",
            "LayerSNR": "snr",
            "LeRaC": "curriculum",
            "attach": "regimes.attached",
            "find_layers": "depth",
            "group_layers": "layers",
            "layer_snr": "snr",
            "layers_from_timm": "layers",
            "measure_depths": "depth",
            "override_layers": "layers",
            "registration_layers": "layers",
        },
        listed=["curriculum", "curves", "depth", "integrations", "layers", "plot", "regimes", "smoothing", "snr"],
    )

__version__ = "0.1.0"

__all__ = [
    "CBS",
    "Attached",
    "Layer",
    "LayerSNR",
    "LeRaC",
    "__version__",
    "attach",
    "curves",
    "find_layers",
    "group_layers",
    "layer_snr",
    "layers_from_timm",
    "measure_depths",
    "override_layers",
    "regimes",
    "registration_layers",
    "snr",
]
