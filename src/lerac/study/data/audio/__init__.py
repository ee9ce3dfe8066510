"""Data sets of recordings."""
