"""Figures of the paper, drawn again from this library: one module for each kind."""

__all__: list[str] = []
