"""Data sets of pictures with objects in boxes."""
