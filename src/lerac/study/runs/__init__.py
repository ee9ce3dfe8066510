"""Runs and studies on disk: their folders, what came out of them, and what is read from it."""
