"""Packages whose names load on first use (PEP 562), so that what needs no torch does not wait for it."""

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["lazily"]


def lazily(
    package: str, homes: Mapping[str, str], listed: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and the `__dir__` of a package that loads its names and submodules on first use.

    Args:
        package: its full name.
        homes: each public name → the submodule that defines it.
        listed: submodules that `dir` shows before they are loaded. Whoever asks for every name that `dir` shows, as
            `inspect.getmembers` does, must not meet an ImportError, so these need nothing that may be missing.
    """

    def load(name: str) -> Any:
        if name in homes:
            found = getattr(import_module(f"{package}.{homes[name]}"), name)
        elif name.isidentifier() and not name.startswith("_") and find_spec(f"{package}.{name}"):
            found = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        vars(sys.modules[package])[name] = found  # the next time it is found without asking here
        return found

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes, *listed})

    return load, names
