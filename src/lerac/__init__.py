"""Learning Rate Curriculum (LeRaC) for PyTorch: see `lerac.LeRaC`."""

from lerac import curves
from lerac.curriculum import LeRaC
from lerac.layers import Layer, find_layers, group_layers

__version__ = "0.1.0"

__all__ = ["Layer", "LeRaC", "__version__", "curves", "find_layers", "group_layers"]
