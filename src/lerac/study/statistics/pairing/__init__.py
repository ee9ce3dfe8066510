"""Runs of a seed that have too little in common: why they are not compared one by one, and what is done instead."""
