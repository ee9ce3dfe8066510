"""What is known of a network without building it, and how it is built: `Network`, an entry of `MODELS`."""

import hashlib
import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from lerac.study import errors
from lerac.study.errors import StudyError, near
from lerac.study.models.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["LIBRARIES", "THEIRS", "Network", "find_function", "home_of", "library", "parts_of"]

THEIRS = "timm:NAME, torchvision:NAME, hf:CONFIG, module:function or FILE.py:function"
LIBRARIES = ("timm", "torchvision", "hf")

Kind = Literal["images", "spectrograms", "signals", "text"]


@dataclass(frozen=True)
class Network:
    """A network that a recipe can name.

    Its `forward` takes one batch and gives one tensor of logits (batch, classes), before any softmax; with one
    class, a regression's estimates (batch, 1). What a batch is depends on `inputs`:

    - `images`: float (batch, channels, height, width).
    - `spectrograms`: float (batch, channels, mel bins, frames).
    - `signals`: float (batch, channels, samples).
    - `text`: a dict of `input_ids`, `attention_mask` and `token_type_ids`, each int64 (batch, length).

    Args:
        home: `module:callable` of this package that builds it, from the number of input channels (for text: the size
            of the vocabulary), the number of classes, and the options as one object.
        takes: what a recipe's section [network] can set.
        inputs: kind of batch.
        also: other kinds that it takes with other options.
        example: shape of one usual example without the batch, (channels, height, width), of signals
            (channels, samples), of text (vocabulary, length).
        outputs: `logits`, or `detections` for a network that brings its own loss.
        published: `module:function` that fills the built network with published weights from a folder, where the
            options have `pretrained` and it is true.
        sizes: option → positions in `example` that it decides.
        traced_by_values: whether its data flow depends on values, so that a skeleton has to have some.
    """

    home: str
    takes: type[Options]
    inputs: Kind
    example: tuple[int, ...]
    also: tuple[Kind, ...] = ()
    outputs: Literal["logits", "detections"] = "logits"
    published: str | None = None
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    traced_by_values: bool = False

    def __call__(self, channels: int, classes: int, *, weights: Path | None = None, **options: Any) -> "nn.Module":
        """Build the network; weights that are not loaded are drawn from torch's global generator.

        Args:
            channels: of the inputs, at least 1; for text the size of the vocabulary.
            classes: size of the output, at least 1.
            weights: folder of published weights; None takes that of the environment, LERAC_WEIGHTS.
            **options: see `check`.

        Raises:
            StudyError: if an option is refused, a library is not installed, or weights are missing or do not fit.
        """
        taken = self.check(options)
        network = self._build(channels, classes, taken)
        if self.published is not None and getattr(taken, "pretrained", False):
            self._of(self.published)(network, weights)
        return network

    def check(self, options: Mapping[str, Any]) -> Options:
        """Give options as one object; unknown ones and values of a wrong type or range are refused.

        Raises:
            StudyError: for the first one, with what is allowed.
        """
        try:
            return self.takes.model_validate(dict(options))
        except ValidationError as error:
            first = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")[0]
            where = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                allowed = ", ".join(self.options) or "none"
                raise StudyError(f"unknown network option {where!r}; allowed: {allowed}") from None
            said = first["msg"][:1].lower() + first["msg"][1:]
            raise StudyError(f"network option {where}: {said}, got {first['input']!r}") from None

    @property
    def options(self) -> dict[str, Any]:
        """What a recipe can set, with its default."""
        return {name: known.default for name, known in self.takes.model_fields.items()}

    def skeleton(self, classes: int = 10, channels: int | None = None, /, **options: Any) -> "nn.Module":
        """Build the network without published weights, on the meta device unless `traced_by_values`.

        Args:
            classes: size of the output.
            channels: of the inputs; None: those of its example.
            **options: see `check`.

        Raises:
            StudyError: as for a call, weights excepted.
        """
        import torch

        taken, channels = self.check(options), channels or self.example[0]
        if self.traced_by_values:
            return self._build(channels, classes, taken)
        with torch.device("meta"):
            return self._build(channels, classes, taken).to("meta")

    def example_batch(self, count: int = 2, /, **options: Any) -> "Tensor | dict[str, Tensor]":
        """Give a batch of zeros that the network with these options takes; of text, none of its tokens is padding."""
        import torch

        if self.inputs != "text":
            shape = list(self.example)
            for name, positions in self.sizes.items():
                for position in positions:
                    shape[position] = options.get(name) or shape[position]
            return torch.zeros(count, *shape)
        ids = torch.zeros(count, self.example[1], dtype=torch.int64)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}

    def _build(self, channels: int, classes: int, options: Options) -> "nn.Module":
        network: nn.Module = self._of(self.home)(channels, classes, options)
        return network

    def _of(self, entry: str) -> Any:
        return pkgutil.resolve_name(f"{__package__}.{entry}")


def library(module: str, network: str, install: str) -> Any:
    """Import what builds a network, never on the device of a skeleton: what a library makes when imported, it keeps.

    Raises:
        StudyError: if it is not installed; says what to install.
    """
    import torch

    with torch.device("cpu"):
        return errors.library(module, network, install)


def find_function(name: str, folder: str = "") -> Callable[..., Any]:
    """Give the function that `module:function` or `FILE.py:function` names; runs the file.

    Args:
        name: of it.
        folder: that a relative path is of, and in which modules are looked for first.

    Raises:
        StudyError: if there is none; says what there is.
    """
    module, _, function = parts_of(name)
    home_of(module, Path(folder, module))
    try:
        found = _loaded(Path(folder, module)) if module.endswith(".py") else _imported(module, folder)
    except Exception as error:  # whatever the file raises
        raise StudyError(f"{name}: {module} cannot be loaded: {type(error).__name__}: {error}") from error
    made = getattr(found, function, None)
    if not callable(made):
        there = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
        raise StudyError(f"{name}: {module} has no function {function!r}{near(function, there)}")
    return made  # type: ignore[no-any-return]


def parts_of(name: str) -> tuple[str, str, str]:
    """Give library, or module or file, the colon, and the name there."""
    head = name.partition(":")
    return head if head[0] in LIBRARIES else name.rpartition(":")


def home_of(module: str, file: Path) -> Path | None:
    """Give the file of a module that a function is in; None if it has none."""
    if module.endswith(".py"):
        if not file.is_file():
            there = [str(one.name) for one in file.parent.glob("*.py")] if file.parent.is_dir() else []
            raise StudyError(f"there is no file {file.absolute()}{near(file.name, there)}")
        return file
    if not re.fullmatch(r"\w+(\.\w+)*", module):
        raise StudyError(f"{module!r} is no module: expected {THEIRS}")
    with _on_path(str(file.parent)):
        meant, loaded = PathFinder.find_spec(top := module.partition(".")[0]), sys.modules.get(top)
        if meant and loaded and (other := getattr(loaded, "__file__", meant.origin)) != meant.origin:
            raise StudyError(f"{top} is loaded from {other} already, and {meant.origin} is meant: use FILE.py:function")
        try:
            spec = importlib.util.find_spec(module)
        except Exception:  # whatever the packages around it raise when they are loaded
            spec = None
    if spec is None:
        raise StudyError(f"there is no module {module!r} here: expected {THEIRS}")
    return Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None


def _imported(module: str, folder: str) -> Any:
    with _on_path(folder or "."):
        return importlib.import_module(module)


class _on_path:  # noqa: N801 - a context
    """Has modules looked for in a folder, and in the working directory, first."""

    def __init__(self, folder: str) -> None:
        self._added = [str(Path(folder).absolute()), str(Path.cwd())]

    def __enter__(self) -> None:
        sys.path[:0] = self._added

    def __exit__(self, *error: object) -> None:
        for folder in self._added:
            sys.path.remove(folder)


def _loaded(file: Path) -> Any:
    """Load a file, once in a process as long as it does not change."""
    digest = hashlib.sha256(str(file.absolute()).encode() + file.read_bytes()).hexdigest()[:16]
    name = f"lerac_network_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that what it defines can be pickled
    try:
        with _on_path(str(file.parent)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
