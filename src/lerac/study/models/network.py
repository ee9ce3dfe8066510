"""What is known of a network without building it, and how it is built: `Network`, an entry of `MODELS`."""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from lerac.study import errors
from lerac.study.errors import StudyError
from lerac.study.models.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Network", "library"]


@dataclass(frozen=True)
class Network:
    """A network that a recipe can name.

    Its `forward` takes one batch and gives one tensor of logits (batch, classes), before any softmax; with one
    class, a regression's estimates (batch, 1). What a batch is depends on `inputs`:

    - `images`: float (batch, channels, height, width).
    - `spectrograms`: float (batch, channels, mel bins, frames).
    - `text`: a dict of `input_ids`, `attention_mask` and `token_type_ids`, each int64 (batch, length).

    Args:
        home: `module:callable` of this package that builds it, from the number of input channels (for text: the size
            of the vocabulary), the number of classes, and the options as one object.
        takes: what a recipe's section [network] can set.
        inputs: kind of batch.
        example: shape of one usual example without the batch, (channels, height, width); for text (vocabulary, length).
        outputs: `logits`, or `detections` for a network that brings its own loss.
        published: `module:function` that fills the built network with published weights from a folder, where the
            options have `pretrained` and it is true.
        sizes: option → positions in `example` that it decides.
        traced_by_values: whether its data flow depends on values, so that a skeleton has to have some.
    """

    home: str
    takes: type[Options]
    inputs: Literal["images", "spectrograms", "text"]
    example: tuple[int, ...]
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

    def skeleton(self, classes: int = 10, channels: int | None = None, **options: Any) -> "nn.Module":
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

    def example_batch(self, size: int = 2, **options: Any) -> "Tensor | dict[str, Tensor]":
        """Give a batch of zeros that the network with these options takes; of text, none of its tokens is padding."""
        import torch

        if self.inputs != "text":
            shape = list(self.example)
            for name, positions in self.sizes.items():
                for position in positions:
                    shape[position] = options.get(name, shape[position])
            return torch.zeros(size, *shape)
        ids = torch.zeros(size, self.example[1], dtype=torch.int64)
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
