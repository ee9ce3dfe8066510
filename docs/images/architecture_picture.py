"""Draws the rooms of the source, each above all that it imports, from the imports themselves.

A room is a folder, or a Python file that lies beside folders. Run it again when imports change:

    python docs/images/architecture_picture.py
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
HALLS = (Path("lerac"), Path("lerac/study"))  # folders whose entries are rooms each
BESIDE = ("benchmarks", "evidence")


@dataclass(frozen=True)
class Import:
    """One import of one file of ours by another: who, where, whom, and whether for types alone."""

    file: Path
    line: int
    target: Path
    for_types: bool = False


def room_of(file: Path) -> str:
    """Give the room of a file, both relative to the repository: `src/lerac/study/plan/rates.py` is in `study/plan`."""
    if file.parts[0] in BESIDE:
        return file.parts[0]
    inside = file.relative_to("src/lerac")
    within = Path("study") if len(inside.parts) > 1 and inside.parts[0] == "study" else Path()
    name = inside.relative_to(within).parts[0]
    return str(within / name).removesuffix(".py")


def files() -> list[Path]:
    """List every Python file that is in a room, relative to the repository."""
    folders = [SOURCE, *(ROOT / name for name in BESIDE)]
    return sorted(file.relative_to(ROOT) for folder in folders for file in folder.rglob("*.py"))


def imports() -> list[Import]:
    """Read every import of ours, those inside of functions too."""
    found = []
    for file in files():
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        unrun = {id(inner) for node in ast.walk(tree) if _is_for_types(node) for inner in ast.walk(node)}
        for node in ast.walk(tree):
            targets = (target for target in _targets(node, file) if target != file)
            found += [Import(file, node.lineno, target, id(node) in unrun) for target in targets]
    return found


def arrows(found: Iterable[Import]) -> dict[str, set[str]]:
    """Give for every room the rooms that it imports."""
    drawn: dict[str, set[str]] = {room_of(file): set() for file in files()}
    for one in found:
        if (a := room_of(one.file)) != (b := room_of(one.target)):
            drawn[a].add(b)
    return drawn


def floors(drawn: Mapping[str, set[str]]) -> dict[str, int]:
    """Give every room its floor: 1, or one more than the highest that it imports.

    Raises:
        ValueError: if rooms import each other in a circle, which is named.
    """
    known: dict[str, int] = {}

    def floor(room: str, above: tuple[str, ...]) -> int:
        if room in above:
            raise ValueError(f"circle: {' → '.join((*above[above.index(room) :], room))}")
        if room not in known:
            known[room] = 1 + max((floor(other, (*above, room)) for other in sorted(drawn[room])), default=0)
        return known[room]

    for room in sorted(drawn):
        floor(room, ())
    return known


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _targets(node: ast.AST, file: Path) -> Iterator[Path]:
    if isinstance(node, ast.Import):
        names = [(alias.name, None) for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [(node.module, alias.name) for alias in node.names]
    else:
        return
    for module, name in names:
        found = _file_of(f"{module}.{name}", file.parts[0]) if name else None
        if found := found or _file_of(module, file.parts[0]):
            yield found


@cache
def _file_of(module: str, top: str) -> Path | None:
    """Give the file of a module of ours; scripts import those beside them by their bare name."""
    start = Path("src") if module.split(".")[0] == "lerac" else Path(top) if top in BESIDE else None
    if start is None:
        return None
    path = start.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if (ROOT / file).exists()), None)


def _needed(drawn: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Leave out the arrows that others imply, so that the picture can be read."""

    @cache
    def below(room: str) -> frozenset[str]:
        return frozenset(drawn[room]).union(*(below(other) for other in drawn[room]))

    return {room: {b for b in inside if not any(b in below(c) for c in inside)} for room, inside in drawn.items()}


WIDTH, HEIGHT, GAP, ROW = 1180, 30, 14, 76


def picture() -> str:
    """Give the picture as SVG: rooms by floor, and of the arrows those that no others imply."""
    drawn = arrows(imports())
    levels, shown = floors(drawn), _needed(drawn)
    places: dict[str, tuple[float, float, float]] = {}
    top = max(levels.values())
    for level in range(1, top + 1):
        rooms = sorted(room for room in levels if levels[room] == level)
        sizes = [18 + 7.2 * len(room) for room in rooms]
        x = (WIDTH - sum(sizes) - GAP * (len(sizes) - 1)) / 2
        for room, size in zip(rooms, sizes, strict=True):
            places[room] = (x, 20 + (top - level) * ROW, size)
            x += size + GAP
    lines = [_arrow(places[a], places[b]) for a in sorted(shown) for b in sorted(shown[a])]
    boxes = [_box(room, place) for room, place in sorted(places.items())]
    height = 40 + top * ROW
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" font-family="monospace" font-size="12" '
            f'viewBox="0 0 {WIDTH} {height}">',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *lines,
            *boxes,
            "</svg>\n",
        ]
    )


def _box(room: str, place: tuple[float, float, float]) -> str:
    x, y, width = place
    fill = "#dcebf7" if room.startswith("study/") else "#f4efe2"
    box = f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{HEIGHT}" rx="4" fill="{fill}" stroke="#777"/>'
    return f'{box}<text x="{x + width / 2:.0f}" y="{y + 19}" text-anchor="middle">{escape(room)}</text>'


def _arrow(above: tuple[float, float, float], below: tuple[float, float, float]) -> str:
    x, y = above[0] + above[2] / 2, above[1] + HEIGHT
    to_x, to_y = below[0] + below[2] / 2, below[1]
    middle = (y + to_y) / 2
    return (
        f'<path d="M{x:.0f} {y} C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {to_y}" '
        'fill="none" stroke="#9ab" stroke-width="1"/>'
    )


if __name__ == "__main__":
    Path(__file__).with_name("architecture.svg").write_text(picture(), encoding="utf-8")
