"""The house: which room may import which, and how many rooms, floors and files there are."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "docs" / "images" / "architecture_picture.py"

# From left to right: a room imports only rooms to its left. Rooms of one stage may import each other, without circles.
STAGES = [
    {"lazy"},
    {"curves", "layers", "arguments", "undisturbed", "depth", "smoothing", "snr", "curriculum", "first_forward"},
    {"regimes"},
    {"optax", "plot", "integrations"},
    {"__init__"},
    {"study/errors", "study/seeds", "study/files", "study/metrics"},
    {"study/statistics"},
    {"study/data"},
    {"study/models"},
    {"study/recipes"},
    {"study/plan"},
    {"study/training", "study/own"},
    {"study/runs", "study/folder"},
    {"study/engines"},
    {"study/snr"},
    {"study/figures", "study/terminal"},
    {"study/report"},
    {"study/__init__"},
    {"commands"},
    {"cli"},
    {"__main__", "benchmarks", "evidence"},
]
STRANGERS = [{"study/data", "study/models"}, {"study/figures", "study/terminal"}, {"benchmarks", "evidence"}]
"""Rooms that never import each other, though one stands left of the other."""
NOT_FOR_STATISTICS = {"study/data", "study/models", "study/runs", "study/plan"}

MOST_ROOMS, MOST_FLOORS, MOST_FILES = 40, 15, 12


@pytest.fixture(scope="module")
def house():
    spec = importlib.util.spec_from_file_location("architecture_picture", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wrong_ways(house, found):
    """Name file and line of every import that runs against the rule."""
    stage = {room: i for i, rooms in enumerate(STAGES) for room in rooms}
    wrong = []
    for one in found:
        a, b = house.room_of(one.file), house.room_of(one.target)
        if a != b and (stage[b] > stage[a] or {a, b} in STRANGERS):
            wrong.append(f"{one.file}:{one.line}: {a} imports {b} ({one.target})")
    return wrong


def test_a_room_imports_only_rooms_to_its_left(house):
    assert not wrong_ways(house, house.imports())


def test_every_room_has_its_place_in_the_rule(house):
    rooms = {house.room_of(file) for file in house.files()}
    assert rooms == set().union(*STAGES)


@pytest.mark.parametrize(
    ("file", "target"),
    [
        ("src/lerac/depth/trace.py", "src/lerac/study/models/__init__.py"),
        ("src/lerac/study/statistics/summary.py", "src/lerac/study/runs/run.py"),
        ("src/lerac/study/models/plain.py", "src/lerac/study/data/places.py"),
        ("src/lerac/study/data/places.py", "src/lerac/study/models/__init__.py"),
        ("src/lerac/curves.py", "src/lerac/__init__.py"),
    ],
)
def test_an_arrow_that_runs_the_wrong_way_is_named_by_file_and_line(house, file, target):
    [line] = wrong_ways(house, [house.Import(Path(file), 12, Path(target))])
    assert line.startswith(f"{file}:12: ")
    assert target in line


def test_imports_inside_functions_are_read(house, tmp_path, monkeypatch):
    monkeypatch.setattr(house, "ROOT", tmp_path)
    monkeypatch.setattr(house, "SOURCE", tmp_path / "src")
    house._file_of.cache_clear()
    for name, text in {
        "lerac/curves.py": "def f():\n    from lerac.study import errors\n",
        "lerac/study/errors.py": "import lerac.curves\n",
    }.items():
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    try:
        found = house.imports()
        assert wrong_ways(house, found) == [
            "src/lerac/curves.py:2: curves imports study/errors (src/lerac/study/errors.py)"
        ]
        with pytest.raises(ValueError, match="circle: curves → study/errors → curves"):
            house.floors(house.arrows(found))
    finally:
        house._file_of.cache_clear()


def test_statistics_need_no_data_no_runs_and_no_torch(house):
    reached, new = set(), {"study/statistics"}
    drawn = house.arrows(house.imports())
    while new:
        reached |= new
        new = set().union(*(drawn[room] for room in new)) - reached
    assert not reached & NOT_FOR_STATISTICS
    for file in (ROOT / "src/lerac/study/statistics").glob("*.py"):
        assert "import torch" not in file.read_text(encoding="utf-8"), file


def test_files_do_not_import_each_other_in_a_circle(house):
    drawn = {file: set() for file in house.files()}
    for one in house.imports():
        if not (one.for_types and one.file.name == "__init__.py"):  # such a face loads its names when they are used
            drawn[one.file].add(one.target)
    house.floors({str(a): {str(b) for b in inside} for a, inside in drawn.items()})


def test_the_house_stays_small(house):
    levels = house.floors(house.arrows(house.imports()))
    assert len(levels) <= MOST_ROOMS
    assert max(levels.values()) <= MOST_FLOORS
    crowded = {folder: n for folder, n in Counter(file.parent for file in house.files()).items() if n > MOST_FILES}
    assert not crowded


def test_no_file_is_long_without_a_reason(house):
    """Above 300 lines only with a comment `# Long because …`."""
    for file in house.files():
        text = (ROOT / file).read_text(encoding="utf-8")
        assert text.count("\n") <= 300 or "# Long because " in text, file


def test_the_picture_is_that_of_the_imports(house):
    assert SCRIPT.with_name("architecture.svg").read_text(encoding="utf-8") == house.picture(), (
        f"imports have changed: python {SCRIPT.relative_to(ROOT)}"
    )
