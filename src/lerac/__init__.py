"""Learning Rate Curriculum (LeRaC) for PyTorch: see `lerac.LeRaC`."""

from lerac import curves

__version__ = "0.1.0"

__all__ = ["__version__", "curves"]
