"""The Learning Rate Curriculum: see `lerac.LeRaC`."""

from lerac.curriculum.lerac import LeRaC

__all__ = ["LeRaC"]
