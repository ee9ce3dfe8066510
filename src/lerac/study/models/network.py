"""What is known of a network without building it, and how it is built: `Network`, an entry of `MODELS`."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from torch import Tensor, nn

from lerac.study.errors import StudyError

__all__ = ["Count", "Counts", "Gain", "Network", "Share", "library"]

Count = Annotated[int, Field(ge=1)]
Counts = Annotated[Sequence[Count], Field(min_length=1)]
Gain = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Network:
    """A network that a recipe can name.

    Its `forward` takes one batch and gives one tensor of logits (batch, classes), before any softmax; with one
    class, a regression's estimates (batch, 1). What a batch is depends on `inputs`:

    - `images`: float (batch, channels, height, width).
    - `spectrograms`: float (batch, channels, mel bins, frames).
    - `text`: a dict of `input_ids`, `attention_mask` and `token_type_ids`, each int64 (batch, length).

    Args:
        build: called with the number of input channels (for text: the size of the vocabulary), the number of
            classes, and options by keyword: what a recipe's section [network] can set.
        inputs: kind of batch.
        example: shape of one usual example without the batch, (channels, height, width); for text (vocabulary, length).
        outputs: `logits`, or `detections` for a network that brings its own loss.
        load: fills the built network with published weights from a folder; adds the option `pretrained`, True
            unless a recipe says false.
        sizes: option → positions in `example` that it decides.
        traced_by_values: whether its data flow depends on values, so that a skeleton has to have some.
    """

    build: Callable[..., nn.Module]
    inputs: Literal["images", "spectrograms", "text"]
    example: tuple[int, ...]
    outputs: Literal["logits", "detections"] = "logits"
    load: Callable[[nn.Module, Path | None], None] | None = None
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    traced_by_values: bool = False

    def __call__(self, channels: int, classes: int, *, weights: Path | None = None, **options: Any) -> nn.Module:
        """Build the network; weights that are not loaded are drawn from torch's global generator.

        Args:
            channels: of the inputs, at least 1; for text the size of the vocabulary.
            classes: size of the output, at least 1.
            weights: folder of published weights; None takes that of the environment, LERAC_WEIGHTS.
            **options: see `check`.

        Raises:
            StudyError: if an option is refused, a library is not installed, or weights are missing or do not fit.
        """
        self.check(options)
        pretrained = options.pop("pretrained", True)
        network = self.build(channels, classes, **options)
        if self.load is not None and pretrained:
            self.load(network, weights)
        return network

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse unknown options and values of a wrong type or range.

        Raises:
            StudyError: for the first one, with what is allowed.
        """
        known = self._options()
        try:
            known.model_validate(dict(options))
        except ValidationError as error:
            first = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")[0]
            where = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                allowed = ", ".join(known.model_fields) or "none"
                raise StudyError(f"unknown network option {where!r}; allowed: {allowed}") from None
            said = first["msg"][:1].lower() + first["msg"][1:]
            raise StudyError(f"network option {where}: {said}, got {first['input']!r}") from None

    @property
    def options(self) -> dict[str, Any]:
        """What a recipe can set, with its default."""
        return {name: known.default for name, known in self._options().model_fields.items()}

    def skeleton(self, classes: int = 10, **options: Any) -> nn.Module:
        """Build the network for its example without published weights, on the meta device unless `traced_by_values`.

        Raises:
            StudyError: as for a call, weights excepted.
        """
        self.check(options)
        options.pop("pretrained", None)
        if self.traced_by_values:
            return self.build(self.example[0], classes, **options)
        with torch.device("meta"):
            return self.build(self.example[0], classes, **options).to("meta")

    def example_batch(self, size: int = 2, **options: Any) -> Tensor | dict[str, Tensor]:
        """Give a batch of zeros that the network with these options takes; of text, none of its tokens is padding."""
        if self.inputs != "text":
            shape = list(self.example)
            for name, positions in self.sizes.items():
                for position in positions:
                    shape[position] = options.get(name, shape[position])
            return torch.zeros(size, *shape)
        ids = torch.zeros(size, self.example[1], dtype=torch.int64)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}

    def _options(self) -> type[BaseModel]:
        hints = get_type_hints(self.build, include_extras=True)
        parameters = inspect.signature(self.build).parameters.values()
        fields: dict[str, Any] = {p.name: (hints[p.name], p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}
        if self.load is not None:
            fields["pretrained"] = (bool, True)
        config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
        return create_model("Options", __config__=config, **fields)


def library(module: str, network: str, install: str) -> Any:
    """Import what builds a network only when it is built.

    Raises:
        StudyError: if it is not installed; says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise StudyError(f"{network} needs {error.name or module}: pip install '{install}'") from None
