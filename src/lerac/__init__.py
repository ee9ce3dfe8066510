"""Learning Rate Curriculum (LeRaC) for PyTorch: see `lerac.LeRaC`, and `lerac.CBS` for Curriculum by Smoothing."""

from lerac import curves, snr
from lerac.curriculum.lerac import LeRaC
from lerac.depth import find_layers, measure_depths
from lerac.layers import Layer, group_layers, layers_from_timm, override_layers
from lerac.smoothing import CBS
from lerac.snr import LayerSNR, layer_snr

__version__ = "0.1.0"

__all__ = [
    "CBS",
    "Layer",
    "LayerSNR",
    "LeRaC",
    "__version__",
    "curves",
    "find_layers",
    "group_layers",
    "layer_snr",
    "layers_from_timm",
    "measure_depths",
    "override_layers",
    "snr",
]
