"""Curriculum by Smoothing: see `lerac.CBS`."""

from lerac.smoothing.cbs import CBS

__all__ = ["CBS"]
