"""One run trained: see `Training`."""

from lerac.study.training.training import Training, build

__all__ = ["Training", "build"]
