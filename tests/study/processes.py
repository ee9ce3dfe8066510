"""Which processes there are, for tests that end some of them."""

import time
from pathlib import Path


def children(*parents: int) -> set[int]:
    """Processes of these that run, zombies apart."""
    return {process for process, (parent, _) in _running().items() if parent in parents}


def group(leader: int) -> set[int]:
    """Processes of this group that run, zombies apart."""
    return {process for process, (_, own) in _running().items() if own == leader}


def mentioning(text: str) -> set[int]:
    """Processes that have a text in their command line."""
    found = set()
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in line.read_bytes():
                found.add(int(line.parent.name))
        except OSError:
            continue
    return found


def _running() -> dict[int, tuple[int, int]]:
    """Process → its parent and its group."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, own = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if state != "Z":
            found[int(status.parent.name)] = int(parent), int(own)
    return found


def alive(process: int) -> bool:
    """Whether it runs, and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone(*processes: int) -> bool:
    """Whether all of them end within a while."""
    deadline = time.monotonic() + 20
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, processes))
