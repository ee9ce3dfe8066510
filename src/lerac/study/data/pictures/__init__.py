"""Data sets of pictures with a class or a number each."""
