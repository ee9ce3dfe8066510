"""Networks by name, such as `timm:resnet18`, `hf:BertConfig` and `package.module:function`, with example inputs.

Nothing is downloaded, and where the library allows it no weight is allocated.
"""

import contextlib
import inspect
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lerac.commands.options import KINDS
from lerac.study.errors import StudyError, near
from lerac.study.models import MODELS
from lerac.study.models.network import find_function, parts_of

__all__ = ["NamedModel", "named_model"]

_TOLD = {"channels": 3, "classes": 10, "vocabulary": 30522}


@dataclass
class NamedModel:
    """A model and how to call it: `model(*args, **kwargs)`."""

    model: nn.Module
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


def named_model(name: str) -> NamedModel:
    """Build a model with example inputs.

    Args:
        name: one of `KINDS`. A function returns the model, or the model and its example inputs: a tensor, a tuple
            of positional or a dict of keyword arguments.

    Raises:
        StudyError: if there is no such model or its library is missing.
    """
    kind, colon, rest = parts_of(name) if ":" in name else (name, "", "")
    if not colon:
        return _ours(name)
    if not rest:
        raise StudyError(f"{name!r} names no model: expected {KINDS}")
    builders = {"timm": _timm, "torchvision": _torchvision, "hf": _transformers}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the libraries' own plans
            return builders[kind](rest) if kind in builders else _function(name)
    except StudyError:
        raise
    except Exception as error:  # whatever somebody else's constructor may raise
        raise StudyError(f"{name} could not be built, {type(error).__name__}: {error}") from error


def _ours(name: str) -> NamedModel:
    if name not in MODELS:
        raise StudyError(f"unknown model {name!r}: expected {', '.join(sorted(MODELS))}, {KINDS}")
    with contextlib.redirect_stdout(sys.stderr):  # Ultralytics tells what it does when it is first imported
        return NamedModel(MODELS[name].skeleton(), (MODELS[name].example_batch(),))


def _timm(name: str) -> NamedModel:
    with _needs("timm"):
        import timm
    if not timm.is_model(name):
        raise StudyError(f"timm has no model {name!r}{near(name, timm.list_models())}")
    try:
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False)
    except (RuntimeError, NotImplementedError):  # it computes something while it is built
        model = timm.create_model(name, pretrained=False)
    config: Any = model.pretrained_cfg
    return NamedModel(model, (torch.zeros(2, *config["input_size"]),))


def _torchvision(name: str) -> NamedModel:
    with _needs("torchvision"):
        from torchvision import models
    if name not in models.list_models():
        raise StudyError(f"torchvision has no model {name!r}{near(name, models.list_models())}")
    family = models.get_model_builder(name).__module__.removeprefix("torchvision.models.").partition(".")[0]
    own = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    backbone = {"weights_backbone": None} if family in ("detection", "segmentation") else {}
    model = models.get_model(name, weights=None, **own, **backbone)
    if family == "detection":
        return NamedModel(model, _detection_batch())
    if family == "video":
        return NamedModel(model, (torch.zeros(1, 3, 16, 224, 224, device="meta"),))
    if family == "optical_flow":
        return NamedModel(model, (torch.zeros(1, 3, 128, 128), torch.zeros(1, 3, 128, 128)))
    size = 299 if name == "inception_v3" else 224
    return NamedModel(model, (torch.zeros(2, 3, size, size),))


def _detection_batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    target = {
        "boxes": torch.tensor([[2.0, 2.0, 30.0, 30.0]]),
        "labels": torch.tensor([1]),
        "masks": torch.ones(1, 64, 64, dtype=torch.uint8),
        "keypoints": torch.tensor([[[4.0, 4.0, 1.0]] * 17]),
    }
    return [torch.rand(3, 64, 64)] * 2, [target] * 2


def _transformers(name: str) -> NamedModel:
    with _needs("transformers"):
        import transformers
    if Path(name).exists():
        config = transformers.AutoConfig.from_pretrained(name, local_files_only=True)
    else:
        config_class = getattr(transformers, name, None)
        if not (isinstance(config_class, type) and issubclass(config_class, transformers.PretrainedConfig)):
            raise StudyError(f"{name!r} is neither a file here nor a config class of transformers, as BertConfig is")
        config = config_class()
    class_name = (getattr(config, "architectures", None) or [None])[0]
    model_class = getattr(transformers, class_name, None) if class_name else None
    with torch.device("meta"):
        auto: Any = transformers.AutoModel
        model = model_class(config) if model_class else auto.from_config(config)
    return NamedModel(model, (), _transformer_inputs(model, name))


def _transformer_inputs(model: Any, name: str) -> dict[str, Any]:
    config = model.config
    part = getattr(config, "vision_config", config)
    size = getattr(part, "image_size", 224)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    possible = {
        "input_ids": torch.zeros(2, 16, dtype=torch.long),
        "pixel_values": torch.zeros(2, getattr(part, "num_channels", 3), height, width),
        "input_values": torch.zeros(2, 16000),
        "input_features": torch.zeros(
            2, getattr(config, "num_mel_bins", 80), 2 * getattr(config, "max_source_positions", 200)
        ),
    }
    wanted = {model.main_input_name}
    if hasattr(config, "text_config") and hasattr(config, "vision_config"):
        wanted |= {"input_ids", "pixel_values"}
    if unknown := wanted - possible.keys():
        raise StudyError(
            f"hf:{name}: no example is known for the input {', '.join(unknown)}; write a function that returns the "
            "model and its inputs, and name it as module:function"
        )
    inputs: dict[str, Any] = {key: possible[key] for key in sorted(wanted)}
    if getattr(config, "is_encoder_decoder", False) and "pixel_values" not in wanted:
        inputs["decoder_input_ids"] = possible["input_ids"]
    return inputs


def _function(name: str) -> NamedModel:
    build = find_function(name)
    try:
        wanted = inspect.signature(build).parameters.values()
        told = {one.name: _TOLD[one.name] for one in wanted if one.default is one.empty and one.name in _TOLD}
    except ValueError:  # of some callables nobody knows
        told = {}
    made = build(**told)  # what a recipe tells it, if it asks
    model, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise StudyError(f"{name} must return a torch.nn.Module, or one and its inputs, not {type(made).__name__}")
    if inputs is None:
        inputs = _guessed(model, name)
    if isinstance(inputs, dict):
        return NamedModel(model, (), inputs)
    return NamedModel(model, inputs if isinstance(inputs, tuple) else (inputs,))


def _guessed(model: nn.Module, name: str) -> Any:
    """Inputs that fit the module that is registered first."""
    given = getattr(model, "example_input_array", None)  # Lightning's
    if given is not None:
        return given
    first = next((m for m in model.modules() if next(m.parameters(recurse=False), None) is not None), None)
    match first:
        case nn.Linear():
            return torch.zeros(2, first.in_features)
        case nn.Conv1d():
            return torch.zeros(2, first.in_channels, 256)
        case nn.Conv2d():
            return torch.zeros(2, first.in_channels, 64, 64)
        case nn.Conv3d():
            return torch.zeros(2, first.in_channels, 16, 64, 64)
        case nn.Embedding():
            return torch.zeros(2, 16, dtype=torch.long)
        case nn.RNNBase():
            return torch.zeros(2, 16, first.input_size)
    raise StudyError(
        f"{name} returned a model without inputs, and none can be guessed from its first layer: return "
        "(model, inputs), where inputs is a tensor, a tuple of arguments or a dict of keyword arguments"
    )


@contextlib.contextmanager
def _needs(package: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise StudyError(f"this needs {error.name or package}: pip install '{package}'") from None
