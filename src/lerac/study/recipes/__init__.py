"""Recipes: what a model needs to be trained on a data set, one TOML file each, and how it is read."""
