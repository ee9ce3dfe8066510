"""Functions `train(trial)`: where they are defined, what their source hashes to, and loading them in any process."""

import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from lerac.study.errors import StopStudyError, StudyError

__all__ = ["Source", "check_not_loading", "find_function", "is_function", "load", "source_of"]

_WORD = re.compile(r"(?P<file>.+\.py):(?P<function>[^:]*)")
LOADING = "LERAC_LOADING"  # the file that this process loads, which must not start a study itself
HERE = "or pass workers=0, which trains in this process"


@dataclass(frozen=True)
class Source:
    """Where a function is.

    Args:
        file: absolute; empty where there is none.
        function: its name there.
        module: by which the file is imported; None: from the file itself, as a script.
        code: sha256 of the file, or of the function's own source where there is no file.
    """

    file: str
    function: str
    module: str | None
    code: str

    @property
    def name(self) -> str:
        """What tables call it: `mine:train`."""
        return f"{Path(self.file).stem if self.file else 'notebook'}:{self.function}"


def is_function(word: str) -> bool:
    """Whether a word of the command line names a function, as `mine.py:train` does."""
    return _WORD.fullmatch(word) is not None


def find_function(word: str) -> Source:
    """Find what `FILE.py:FUNCTION` names; the file is read, not run.

    Raises:
        StudyError: if there is no such file, or the function is no name.
    """
    if (match := _WORD.fullmatch(word)) is None:
        raise StudyError(f"{word}: FILE.py:FUNCTION was expected, such as mine.py:train")
    file, function = Path(match["file"]), match["function"]
    if not function.isidentifier():
        raise StudyError(f"{word}: the name of a function was expected after the colon, got {function!r}")
    return Source(str(file.absolute()), function, None, code_hash(file, word))


def code_hash(file: Path, word: str) -> str:
    """Give the sha256 of a file.

    Raises:
        StudyError: if it cannot be read.
    """
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise StudyError(f"{word}: there is no file {file}") from None
    except OSError as error:
        raise StudyError(f"{word}: {file} cannot be read: {error.strerror}") from None


def source_of(function: Any, *, elsewhere: bool) -> Source:
    """Say where a function object is defined.

    Args:
        function: which.
        elsewhere: whether other processes are to load it, so that it must be found there by its name.

    Raises:
        StudyError: if it cannot be loaded elsewhere and must be; says why and what to do.
    """
    if not callable(function):
        raise StudyError(f"a function train(trial) was expected, got {function!r}")
    shown = getattr(function, "__qualname__", None) or type(function).__qualname__
    if (wrong := _not_importable(function, shown)) is not None:
        if elsewhere:
            raise StudyError(f"{wrong}: define it with def in a file of its own, at its top level, {HERE}")
        return _unnamed(function, shown)
    module = sys.modules[function.__module__]
    file = Path(str(module.__file__)).absolute()
    name = None if module.__name__ == "__main__" else module.__name__
    return Source(str(file), shown, name, code_hash(file, shown))


def _not_importable(function: Any, shown: str) -> str | None:
    """Say why another process could not load a function; None if it could."""
    if not isinstance(function, FunctionType):
        return f"{function!r} is no plain function, and worker processes cannot load it"
    if function.__name__ == "<lambda>":
        return "train is a lambda, which worker processes cannot load"
    if "<locals>" in shown:
        return f"{shown} is defined inside of another function, and worker processes cannot load it"
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    if module is None or file is None or not Path(file).is_file():
        return f"{shown} is defined in a notebook or at a prompt, and worker processes cannot load it"
    if getattr(module, shown, None) is not function:
        return f"{shown} is not what {file} calls so (defined anew?), and worker processes cannot load it"
    return None


def _unnamed(function: Any, shown: str) -> Source:
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        text = repr((code.co_code, code.co_consts, code.co_names)) if code else repr(type(function))
        text = re.sub(r" at 0x[0-9a-f]+", "", text)
    shown = "lambda" if shown == "<lambda>" else shown.rpartition(".")[2]
    return Source("", shown, None, hashlib.sha256(text.encode()).hexdigest())


def load(source: dict[str, Any], code: str) -> Callable[[Any], Any]:
    """Load a function in this process.

    Args:
        source: `file`, `function` and `module` of a `Source`.
        code: sha256 that its file must have.

    Raises:
        StopStudyError: if the file has changed, or has no such function.
        Exception: whatever the file raises when it is run.
    """
    file = Path(source["file"])
    if code_hash(file, source["function"]) != code:
        raise StopStudyError(f"{file} has changed since the study began; let it be while runs are trained")
    module = _import(file, source["module"])
    function = getattr(module, source["function"], None)
    if not callable(function):
        there = [name for name, value in vars(module).items() if isinstance(value, FunctionType)]
        raise StopStudyError(
            f"{file} has no function {source['function']}; there is {', '.join(there) or 'none'} in it"
        )
    loaded: Callable[[Any], Any] = function
    return loaded


def _import(file: Path, name: str | None) -> ModuleType:
    with _loading(file):
        if name is not None:
            above = name.count(".") + (file.name == "__init__.py")
            _first_on_path(file.parents[above])
            return importlib.import_module(name)
        _first_on_path(file.parent)
        name = file.stem if file.stem.isidentifier() and file.stem not in sys.modules else f"lerac_own_{file.stem}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise StopStudyError(f"{file} cannot be loaded: it is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # so that what it defines can be pickled
        spec.loader.exec_module(module)
        return module


def _first_on_path(folder: Path) -> None:
    """Let modules beside it be imported, as by a script."""
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))


@contextmanager
def _loading(file: Path) -> Iterator[None]:
    os.environ[LOADING] = str(file)
    try:
        yield
    finally:
        del os.environ[LOADING]


def check_not_loading() -> None:
    """Keep a file from starting a study while a study loads it.

    Raises:
        StopStudyError: if one is being loaded.
    """
    if (file := os.environ.get(LOADING)) is not None:
        raise StopStudyError(
            f"{file} starts a study when it is loaded, as every run has to; put that under "
            'if __name__ == "__main__": so that it happens only when the file is run as a script'
        )
