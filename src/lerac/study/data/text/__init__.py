"""Data sets of pairs of texts."""
