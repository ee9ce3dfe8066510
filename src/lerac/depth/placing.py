"""Rules for the parameters that no trace reached."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from statistics import median_low

from lerac.layers import modules_around

__all__ = ["place", "place_by_part"]


def place(names: Iterable[str], reached: Mapping[str, int]) -> tuple[dict[str, int], dict[str, str]]:
    """Give every parameter a level: its own, or what the first of three rules that applies says.

    1. The median of its siblings, whose names differ in exactly one number: an expert that received no token
       is where the other experts are.
    2. The median of the smallest module around it that was reached.
    3. The deepest level: what only a loss or an unused head needs has no distance from the input.

    Args:
        names: of all parameters, in the order of registration.
        reached: levels by name; at least one.

    Returns:
        The levels by name, and for the parameters that were not reached, the rule that placed them.
    """
    siblings: dict[tuple[str, ...], list[int]] = defaultdict(list)
    members: dict[str, list[int]] = defaultdict(list)
    for name, level in reached.items():
        for family in _families(name):
            siblings[family].append(level)
        for module in modules_around(name):
            members[module].append(level)
    levels, placed = {}, {}
    deepest = max(reached.values())
    for name in names:
        if name in reached:
            levels[name] = reached[name]
        elif families := [family for family in _families(name) if family in siblings]:
            levels[name], placed[name] = median_low(siblings[families[0]]), f"like {'.'.join(families[0])}"
        elif modules := [module for module in modules_around(name) if module in members]:
            levels[name], placed[name] = median_low(members[modules[0]]), f"median of {modules[0]}"
        else:
            levels[name], placed[name] = deepest, "deepest"
    return levels, placed


def place_by_part(
    names: Iterable[str], reached: Mapping[str, int], parts: Iterable[str]
) -> tuple[dict[str, int], dict[str, str]]:
    """Give every parameter a level as `place` does, from what its own part of the model says as far as there is any.

    Args:
        names: of all parameters, in the order of registration.
        reached: levels by name; at least one.
        parts: paths of modules that have nothing to do with each other but what a training loop makes of them.
    """
    names = list(names)
    levels, placed = dict(reached), dict[str, str]()
    for part in parts:
        members = [name for name in names if not part or name.startswith(f"{part}.")]
        if known := {name: reached[name] for name in members if name in reached}:
            within = place(members, known)
            levels |= within[0]
            placed |= within[1]
    deepest = max(reached.values())
    placed |= {name: "deepest" for name in names if name not in levels}
    return {name: levels.get(name, deepest) for name in names}, placed


def _families(name: str) -> Iterator[tuple[str, ...]]:
    """The name with one of its numbers left open, the innermost first."""
    parts = name.split(".")
    for i in reversed(range(len(parts))):
        if parts[i].isdigit():
            yield (*parts[:i], "*", *parts[i + 1 :])
