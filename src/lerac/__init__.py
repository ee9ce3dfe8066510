"""Learning Rate Curriculum (LeRaC) for PyTorch: see `lerac.LeRaC`, and `lerac.CBS` for Curriculum by Smoothing."""

from lerac import curves
from lerac.curriculum import LeRaC
from lerac.depth import find_layers, measure_depths
from lerac.layers import Layer, group_layers, layers_from_timm, override_layers
from lerac.smoothing import CBS

__version__ = "0.1.0"

__all__ = [
    "CBS",
    "Layer",
    "LeRaC",
    "__version__",
    "curves",
    "find_layers",
    "group_layers",
    "layers_from_timm",
    "measure_depths",
    "override_layers",
]
