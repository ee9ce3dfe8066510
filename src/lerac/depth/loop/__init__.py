"""Modules that only share a list: what a training loop calls is watched, and done again on a copy of them."""
