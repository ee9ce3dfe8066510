"""Runs compared seed by seed, and those of a seed that have too little in common: why not, and what is done instead."""
