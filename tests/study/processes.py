"""Which processes there are, for tests that end some of them."""

from pathlib import Path


def children(*parents: int) -> set[int]:
    """Processes of these that run, zombies apart."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) in parents and state != "Z":
            found.add(int(status.parent.name))
    return found
