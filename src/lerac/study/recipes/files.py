"""Recipe files: where they are, and the settings of one source in them."""

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from lerac.study.errors import StudyError

__all__ = [
    "ALIASES",
    "SOURCES",
    "Source",
    "asked_by",
    "folder_of",
    "read_settings",
    "recipe_names",
    "recipe_sources",
    "recipe_text",
]

Source = Literal["paper", "official", "ours", "user"]
SOURCES: tuple[Source, ...] = get_args(Source)
ALIASES = {"digits": "small-cnn/digits"}


def recipe_names() -> list[str]:
    """Name the recipes that come with lerac, sorted."""
    return sorted(_built_in())


def recipe_text(name: str) -> str:
    """Give the TOML of a recipe: of ours by name or alias, or of the file at that path.

    Raises:
        StudyError: if there is neither.
    """
    built_in = _built_in()
    if (full := ALIASES.get(name, name)) in built_in:
        return built_in[full]
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StudyError(f"recipe {name}: cannot be read as UTF-8 text ({error})") from None
    if path.is_dir():
        raise StudyError(f"recipe {name}: this is a folder; give a TOML file, or the name of a recipe of ours")
    if path.suffix == ".toml":
        raise StudyError(f"recipe {name}: there is no such file")
    known = ", ".join([*built_in, *ALIASES])
    raise StudyError(f"unknown recipe {name!r}: give the path of a .toml file or one of {known}")


def asked_by(word: str) -> str:
    """Give the word that asks for the same recipe from any folder: of a file, its whole path."""
    return str(Path(word).absolute()) if _is_file(word) else word


def folder_of(word: str) -> str:
    """Give the folder that relative paths of a recipe are of: that of its file, or the working directory."""
    return str(Path(word).absolute().parent) if _is_file(word) else str(Path.cwd())


def _is_file(word: str) -> bool:
    return ALIASES.get(word, word) not in _built_in() and Path(word).is_file()


def recipe_sources(name: str) -> list[Source]:
    """List the sources that a recipe has settings from, the default first.

    Raises:
        StudyError: if the recipe is not found or is not TOML.
    """
    values = _parsed(name)
    return _tables(values) or [source for source in SOURCES if source == values.get("source")]


def _built_in() -> dict[str, str]:
    files = (f for f in resources.files(__package__).iterdir() if f.name.endswith(".toml"))
    texts = {f.name.removesuffix(".toml").replace("__", "/"): f.read_text(encoding="utf-8") for f in files}
    return dict(sorted(texts.items()))


def _parsed(name: str) -> dict[str, Any]:
    text = recipe_text(name)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise StudyError(f"recipe {name}: not valid TOML ({error})") from None


def _tables(values: Mapping[str, Any]) -> list[Source]:
    """List the sources with a table of their own, as the file orders them."""
    return [source for key in values for source in SOURCES if source == key]


def read_settings(name: str, source: Source | None = None) -> dict[str, Any]:
    """Give the settings of one source as they stand in a recipe: its table laid over what all have in common.

    Args:
        name: as for `recipe_text`.
        source: whose; None for the first in the file.

    Raises:
        StudyError: if the recipe is not found, is not TOML, or has no settings from that source.
    """
    values = _parsed(name)
    if tables := _tables(values):
        if "source" in values:
            raise StudyError(f"recipe {name}: remove source = …, the tables {', '.join(tables)} say it")
        if broken := [table for table in tables if not isinstance(values[table], dict)]:
            raise StudyError(f"recipe {name}: {broken[0]} must be a table with the sections of a recipe")
        chosen = source or tables[0]
        if chosen in tables:
            common = {key: value for key, value in values.items() if key not in tables}
            return _merged(common, values[chosen]) | {"source": chosen}
    elif source in (None, values.get("source")):
        return values
    has = ", ".join(map(repr, tables)) or repr(values.get("source"))
    raise StudyError(f"recipe {name} has no settings from source {source!r}, only from {has}")


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
