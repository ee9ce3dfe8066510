"""Trainings that people bring themselves: found, loaded, run in a process of their own, and what came of it."""
