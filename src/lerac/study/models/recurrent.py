"""Recurrent networks: a GRU that reads the rows of digits or the samples of signals, and the paper's LSTM for text.

Sources: Cho et al., "Learning Phrase Representations using RNN Encoder–Decoder", EMNLP 2014; Hochreiter and
Schmidhuber, "Long Short-Term Memory", Neural Computation 1997; Croitoru et al., "Learning Rate Curriculum", IJCV 2024.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from lerac.study.errors import StudyError
from lerac.study.models.options import GRUOptions, LSTMOptions

__all__ = ["GRU", "LSTM"]


class GRU(nn.Module):
    """Reads the rows of an image, however many, from top to bottom; the state after the last one is classified.

    For digits it has 40 thousand weights. A signal is an image of one column; there, and of images of `steps` rows,
    the states after all rows can be classified together, as Greydanus and Kobak do (ICML 2024: `columns` 1, `width` 6,
    `layers` 1, `bidirectional`, `steps` 40: 5,134 weights).
    """

    def __init__(self, channels: int, classes: int, options: GRUOptions) -> None:
        super().__init__()
        self.columns, self.steps = options.columns, options.steps
        inputs = channels * options.columns
        self.gru = nn.GRU(inputs, options.width, options.layers, batch_first=True, bidirectional=options.bidirectional)
        self.fc = nn.Linear(options.width * (1 + options.bidirectional) * (options.steps or 1), classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, channels, height, columns), or signals without columns, to logits (batch, classes).

        Raises:
            StudyError: if the images have another width, or not as many rows as are classified together.
        """
        images = images.unsqueeze(-1) if images.ndim == 3 else images
        if images.shape[-1] != self.columns:
            raise StudyError(
                f"gru reads rows of {self.columns} columns, got images {tuple(images.shape)}: set network.columns"
            )
        if self.steps not in (None, images.shape[-2]):
            raise StudyError(
                f"gru classifies the states of {self.steps} steps, got images {tuple(images.shape)}: set network.steps"
            )
        rows = images.transpose(1, 2).flatten(2)
        with torch._C.DisableTorchFunction():  # so that depths stay those of the published evidence: docs/depth.md
            states, _ = self.gru(rows)
        logits: Tensor = self.fc(states[:, -1] if self.steps is None else states.flatten(1))
        return logits


class LSTM(nn.Module):
    """Reads the tokens of a text from first to last; two linear layers with ReLU between classify the last state.

    Where padding is, and how much, changes nothing, also when states are smoothed along time (`lerac.CBS`): the
    tokens that `attention_mask` keeps are moved to the front, in their order, and packed, so that the LSTM reads
    nothing else. A text of padding alone counts as one token of padding.
    """

    def __init__(self, vocabulary: int, classes: int, options: LSTMOptions) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, options.embedding)
        self.lstm = nn.LSTM(options.embedding, options.width, options.layers, batch_first=True)
        self.fc1 = nn.Linear(options.width, options.hidden)
        self.fc2 = nn.Linear(options.hidden, classes)

    def forward(self, text: Mapping[str, Tensor]) -> Tensor:
        """Map `input_ids` and `attention_mask` of `text`, each (batch, length), to logits (batch, classes)."""
        padding = text["attention_mask"] == 0
        order = padding.to(torch.uint8).argsort(dim=1, stable=True)
        lengths = (~padding).sum(dim=1).clamp(min=1).cpu()
        tokens = self.embedding(text["input_ids"].gather(1, order))
        _, (states, _) = self.lstm(pack_padded_sequence(tokens, lengths, batch_first=True, enforce_sorted=False))
        logits: Tensor = self.fc2(functional.relu(self.fc1(states[-1])))
        return logits
