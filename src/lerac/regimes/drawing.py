"""Every random choice comes from a seed and a word that names the choice, so none depends on what was drawn before."""

import hashlib

__all__ = ["derive"]


def derive(seed: int, *purpose: str | int) -> int:
    """Give a seed in [0, 2**32) that depends on the run's seed and on what it is for, and on nothing else."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
