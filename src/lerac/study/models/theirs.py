"""Networks that are none of ours: of timm, torchvision and transformers, or built by a function of one's own.

Weights are random; published ones come from a local file that is named. Nothing is downloaded.
"""

import hashlib
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lerac.study.errors import StudyError, near
from lerac.study.models.network import LIBRARIES, THEIRS, find_function, home_of, library, parts_of

__all__ = ["Theirs", "called", "is_theirs"]

NAMED = frozenset({"channels", "vocabulary", "classes"})  # what functions are told beside their options
TOLD = {  # what libraries are
    "timm": {"in_chans", "num_classes", "pretrained", "pretrained_cfg", "checkpoint_path", "features_only"},
    "torchvision": {"num_classes", "weights", "weights_backbone", "progress"},
    "hf": {"num_labels", "num_channels", "vocab_size"},
}


def is_theirs(name: str) -> bool:
    """Whether a recipe's `model` names none of our networks."""
    return ":" in name


def called(name: str) -> str:
    """Give a short name for tables and folders: of a file, or a path, its last part without the ending."""
    kind, _, rest = parts_of(name)
    if kind in LIBRARIES:
        return f"{kind}:{Path(rest).stem if kind == 'hf' and '/' in rest else rest}"
    return f"{Path(kind).stem if kind.endswith('.py') else kind}:{rest}"


@dataclass(frozen=True)
class Theirs:
    """A network as a recipe names it.

    Args:
        name: one of `THEIRS`.
        folder: that relative paths are of.
    """

    name: str
    folder: str = ""

    def check(self, options: Mapping[str, Any]) -> None:
        """See that there is such a network, as far as can be seen without building it.

        Raises:
            StudyError: if not; says what there is.
        """
        kind, _, rest = parts_of(self.name)
        if not kind or not rest:
            raise StudyError(f"{self.name!r} names no network: expected {THEIRS}")
        if told := TOLD.get(kind, NAMED) & options.keys():
            raise StudyError(
                f"network option {sorted(told)[0]!r} is no option of {self.name}: sizes follow from the data, weights "
                "are random, and published ones come from the file that the recipe's key weights names"
            )
        if kind == "hf":
            self._config(options)
        elif kind in LIBRARIES:
            _known(kind, rest)
        else:
            self._file()

    def code(self, weights: str | None = None) -> dict[str, str]:
        """Give the sha256 of the files that make it: its source or configuration, and its weights."""
        files = {"model": self._file(), "weights": self.path(weights) if weights else None}
        return {key: _hash(file, self.name) for key, file in files.items() if file is not None}

    def path(self, file: str) -> Path:
        """Give a path that is relative to the recipe's file."""
        return Path(self.folder, file)

    def build(self, sizes: Mapping[str, int], options: Mapping[str, Any], weights: str | None = None) -> Any:
        """Build it; weights that are not loaded are drawn from torch's global generator.

        Args:
            sizes: `channels` of the inputs (of text: `vocabulary`), and `classes`.
            options: of the recipe's section [network].
            weights: path of a file of weights, or None.

        Raises:
            StudyError: if it cannot be built, is no module, or the weights do not fit.
        """
        from torch import nn

        self.check(options)
        kind, _, rest = parts_of(self.name)
        builders: dict[str, Callable[..., Any]] = {"timm": _timm, "torchvision": _torchvision, "hf": self._transformer}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # the libraries' own plans
                make: Callable[..., Any] = builders.get(kind, self._own)
                network = make(rest, sizes, dict(options))
        except StudyError:
            raise
        except Exception as error:  # whatever somebody else's constructor may raise
            given = ", ".join(f"{key}={value!r}" for key, value in {**sizes, **options}.items())
            raise StudyError(f"{self.name} could not be built of {given}: {type(error).__name__}: {error}") from error
        if not isinstance(network, nn.Module):
            raise StudyError(f"{self.name} must return a torch.nn.Module, got {type(network).__name__}")
        if weights is not None:
            from lerac.study.models.weights import load_file

            load_file(network, self.path(weights), sizes["classes"])
        return network

    def see(self, network: Any, inputs: Any, classes: int) -> None:
        """See that it gives logits for a few inputs, in training and in evaluation; nothing of it changes.

        Raises:
            StudyError: if not.
        """
        import torch

        from lerac.undisturbed import evaluating

        count = len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)
        for training in (True, False):
            with evaluating(network):
                for module in network.modules():
                    module.training = training
                try:
                    outputs = network(inputs)
                except Exception as error:  # of whatever is in there
                    raise StudyError(
                        f"{self.name} cannot be called with {_shapes(inputs)}: {type(error).__name__}: {error}"
                    ) from error
            if not isinstance(outputs, torch.Tensor) or tuple(outputs.shape) != (count, classes):
                raise StudyError(
                    f"{self.name} must give logits, one tensor (examples, classes), here ({count}, {classes}), and in "
                    f"{'training' if training else 'evaluation'} gives {_shapes(outputs)}"
                )

    def _file(self) -> Path | None:
        """Give the file in which it is made, None if that is of a library."""
        kind, _, rest = parts_of(self.name)
        if kind == "hf":
            path = self.path(rest)
            return path / "config.json" if path.is_dir() else path if path.is_file() else None
        return None if kind in LIBRARIES else home_of(kind, self.path(kind))

    def _own(self, rest: str, sizes: Mapping[str, int], options: dict[str, Any]) -> Any:
        function = find_function(self.name, self.folder)
        given = {**sizes, **options}
        try:
            inspect.signature(function).bind(**given)
        except TypeError as error:
            raise StudyError(
                f"{self.name} is called by keyword with {', '.join(given)} (sizes, and the options of [network]), and "
                f"takes {inspect.signature(function)}: {error}"
            ) from None
        except ValueError:
            pass  # of some callables nobody knows
        return function(**given)

    def _config(self, options: Mapping[str, Any]) -> Any:
        transformers = library("transformers", self.name, "lerac[experiments]")
        rest = parts_of(self.name)[2]
        if (path := self.path(rest)).exists():
            try:
                config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
            except Exception as error:  # whatever is wrong with it
                raise StudyError(f"{path.absolute()} is no configuration of transformers: {error}") from None
        else:
            known = [name for name in dir(transformers) if name.endswith("Config")]
            kind = getattr(transformers, rest, None) if rest in known else None
            if not (isinstance(kind, type) and issubclass(kind, transformers.PretrainedConfig)):
                raise StudyError(
                    f"{rest!r} is neither a file in {Path(self.folder).absolute()} nor a config class of transformers, "
                    f"as BertConfig is{near(rest, known)}"
                )
            config = kind()
        for key, value in options.items():
            if not hasattr(config, key):
                raise StudyError(f"network option {key!r} is unknown to {self.name}{near(key, vars(config))}")
            try:
                setattr(config, key, value)
            except Exception as error:  # it may check its values
                raise StudyError(f"network option {key!r} of {self.name} cannot be {value!r}: {error}") from None
        return config

    def _transformer(self, rest: str, sizes: Mapping[str, int], options: dict[str, Any]) -> Any:
        transformers = library("transformers", self.name, "lerac[experiments]")
        from lerac.study.models.from_transformers import Logits

        config = self._config(options)
        size, key = ("vocab_size", "vocabulary") if "vocabulary" in sizes else ("num_channels", "channels")
        if hasattr(config, size):
            setattr(config, size, sizes[key])
        elif size == "vocab_size" or sizes[key] != 3:
            raise StudyError(f"{self.name} has no {size}, and the data has {sizes[key]}")
        config.num_labels = sizes["classes"]
        auto = "SequenceClassification" if "vocabulary" in sizes else "ImageClassification"
        return Logits(getattr(transformers, f"AutoModelFor{auto}").from_config(config))


def _known(kind: str, name: str) -> Any:
    found = library("torchvision.models" if kind == "torchvision" else kind, f"{kind}:{name}", "lerac[experiments]")
    if kind == "timm":
        if not found.is_model(name):
            raise StudyError(f"timm has no model {name!r}{near(name, found.list_models())}")
    elif name not in found.list_models():
        raise StudyError(f"torchvision has no model {name!r}{near(name, found.list_models())}")
    return found


def _timm(name: str, sizes: Mapping[str, int], options: dict[str, Any]) -> Any:
    _need_channels(f"timm:{name}", sizes)
    timm = _known("timm", name)
    given = {"in_chans": sizes["channels"], "num_classes": sizes["classes"], **options}
    return timm.create_model(name, pretrained=False, **given)


def _torchvision(name: str, sizes: Mapping[str, int], options: dict[str, Any]) -> Any:
    _need_channels(f"torchvision:{name}", sizes)
    if sizes["channels"] not in (1, 3):
        raise StudyError(f"torchvision:{name} takes pictures of 3 channels, and the data has {sizes['channels']}")
    models = _known("torchvision", name)
    own = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    network = models.get_model(name, weights=None, num_classes=sizes["classes"], **own | options)
    if sizes["channels"] == 3:
        return network
    from lerac.study.models.from_timm import Grey

    return Grey(network)


def _need_channels(name: str, sizes: Mapping[str, int]) -> None:
    if "channels" not in sizes:
        raise StudyError(f"{name} takes pictures, and the data is text")


def _hash(file: Path, name: str) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise StudyError(f"{name}: {file.absolute()} cannot be read: {error.strerror}") from None


def _shapes(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"a tensor {tuple(shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shapes(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"{type(value).__name__} of {', '.join(_shapes(one) for one in value)}"
    return type(value).__name__
