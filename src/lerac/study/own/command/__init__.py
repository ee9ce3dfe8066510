"""Trainings that are a command: from its words to a study, its process and all that this starts, and its results."""
