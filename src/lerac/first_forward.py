"""Where pickles of whole models, written by lerac 0.1.0, look for what they need; the code is in `lerac.curriculum`."""

from lerac.curriculum.first_forward import _Watch

__all__ = ["_Watch"]
