"""docs/compatibility.md: what the tests of this folder show, as a page."""

import ast
import sys
from collections.abc import Iterable
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import NamedTuple

__all__ = ["COMMAND", "HERE", "PAGE", "Shown", "render", "rows_of_page", "rows_of_tests", "sections"]

HERE = Path(__file__).parents[1]
PAGE = HERE.parents[1] / "docs" / "compatibility.md"
COMMAND = "pytest tests/compatibility --write-compatibility"
INTRODUCTION = f"""# What LeRaC works with

Each row is shown by tests, which run with every `make test`; this page is written by

    {COMMAND}

"works" means that the comparison in the last column holds, not only that it runs. For "does not work" the reason is
given; it lies outside of LeRaC, and a test shows it.

"By a stand-in" means that the package is not installed where the tests run: the test has a small class that does what
the package does in the respect that matters. The package itself, in the version that is named, was tried once by hand
with the same comparison and gave what the row says.
"""


HEAD = ("| what | LeRaC | compared with, or why not |", "|---|---|---|")


class Shown(NamedTuple):
    """One test and the row that it belongs to."""

    file: str  # such as test_torch.py
    row: str
    test: str  # its docstring's first paragraph, or its name in words
    reason: str | None  # why the row does not work


def sections() -> list[Path]:
    """Give the test files that have a section, in the page's order."""
    return sorted(path for path in HERE.glob("test_*.py") if path.name != "test_page.py")


def render(shown: Iterable[Shown]) -> str:
    """Write the page; `shown` is in the order of the tests."""
    shown = list(dict.fromkeys(shown))  # a parametrized test is told once
    parts = [INTRODUCTION, _environment()]
    for file in sections():
        lines = [f"## {_section(file.name)}", "", _versions(file), "", *HEAD]
        for row in dict.fromkeys(s.row for s in shown if s.file == file.name):
            tests = [s for s in shown if (s.file, s.row) == (file.name, row)]
            reasons = [s.reason for s in tests if s.reason]
            works = "**does not work**" if reasons else "works"
            told = "; ".join(dict.fromkeys(reasons or [s.test for s in tests]))
            lines.append(f"| {_cell(row)} | {works} | {_cell(told[0].upper() + told[1:])} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def rows_of_page(page: str) -> set[tuple[str, str]]:
    """Give (section, row) of every row of the page."""
    rows, section = set(), ""
    for line in page.splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("| ") and line not in HEAD:
            rows.add((section, line.split(" | ")[0].removeprefix("| ")))
    return rows


def rows_of_tests(shown: Iterable[Shown]) -> set[tuple[str, str]]:
    """Give what `rows_of_page` should give for these tests."""
    return {(_section(s.file), _cell(s.row)) for s in shown}


def _section(file: str) -> str:
    return file.removeprefix("test_").removesuffix(".py")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _environment() -> str:
    return f"Last run on {sys.platform}, CPU, Python {sys.version_info.major}.{sys.version_info.minor}.\n"


def _versions(file: Path) -> str:
    """Name the versions of what a test file imports, wherever in it."""
    imported = {"torch"}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.partition(".")[0])
    known = packages_distributions()
    libraries = {known[name][0] for name in imported - {"lerac", "pytest", "tests"} if name in known}
    return ", ".join(f"{library} {version(library)}" for library in sorted(libraries))
