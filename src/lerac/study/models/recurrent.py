"""Recurrent networks: a GRU that reads the rows of digits, and the paper's LSTM for text.

Sources: Cho et al., "Learning Phrase Representations using RNN Encoder–Decoder", EMNLP 2014; Hochreiter and
Schmidhuber, "Long Short-Term Memory", Neural Computation 1997; Croitoru et al., "Learning Rate Curriculum", IJCV 2024.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from lerac.study.errors import StudyError
from lerac.study.models.network import Count

__all__ = ["GRU", "LSTM", "gru", "lstm"]


def gru(channels: int = 1, classes: int = 10, *, columns: Count = 8, width: Count = 64, layers: Count = 2) -> nn.Module:
    """Build the recurrent network for digits: two GRU layers of 64 read it row by row (40 thousand weights)."""
    return GRU(channels, classes, columns=columns, width=width, layers=layers)


def lstm(
    vocabulary: int,
    classes: int = 2,
    *,
    embedding: Count = 128,
    width: Count = 256,
    layers: Count = 2,
    hidden: Count = 256,
) -> nn.Module:
    """Build the paper's LSTM: embedding of 128, two LSTM layers of 256, two fully connected ones with ReLU between.

    The width of the first fully connected layer is not published: `hidden` is our choice, that of the LSTM.
    """
    return LSTM(vocabulary, classes, embedding=embedding, width=width, layers=layers, hidden=hidden)


class GRU(nn.Module):
    """Reads the rows of an image from top to bottom; the state after the last one is classified.

    Args:
        channels: of the images (batch, channels, height, columns); the height does not matter.
        classes: size of the output, (batch, classes).
        columns: width of the images.
        width: of the state.
        layers: of the GRU.
    """

    def __init__(self, channels: int, classes: int, *, columns: int, width: int, layers: int) -> None:
        super().__init__()
        self.columns = columns
        self.gru = nn.GRU(channels * columns, width, layers, batch_first=True)
        self.fc = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, channels, height, columns) to logits (batch, classes).

        Raises:
            StudyError: if the images have another width.
        """
        if images.shape[-1] != self.columns:
            raise StudyError(
                f"gru reads rows of {self.columns} columns, got images {tuple(images.shape)}: set network.columns"
            )
        rows = images.transpose(1, 2).flatten(2)
        states, _ = self.gru(rows)
        logits: Tensor = self.fc(states[:, -1])
        return logits


class LSTM(nn.Module):
    """Reads the tokens of a text from first to last; the state after the last one is classified.

    Where padding is, and how much, changes nothing, also when states are smoothed along time (`lerac.CBS`): the
    tokens that `attention_mask` keeps are moved to the front, in their order, and packed, so that the LSTM reads
    nothing else. A text of padding alone counts as one token of padding.

    Args:
        vocabulary: number of token ids.
        classes: size of the output, (batch, classes).
        embedding: width of a token.
        width: of the state.
        layers: of the LSTM.
        hidden: width of the first fully connected layer.
    """

    def __init__(self, vocabulary: int, classes: int, *, embedding: int, width: int, layers: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, width, layers, batch_first=True)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, text: Mapping[str, Tensor]) -> Tensor:
        """Map `input_ids` and `attention_mask` of `text`, each (batch, length), to logits (batch, classes)."""
        padding = text["attention_mask"] == 0
        order = padding.to(torch.uint8).argsort(dim=1, stable=True)
        lengths = (~padding).sum(dim=1).clamp(min=1).cpu()
        tokens = self.embedding(text["input_ids"].gather(1, order))
        _, (states, _) = self.lstm(pack_padded_sequence(tokens, lengths, batch_first=True, enforce_sorted=False))
        logits: Tensor = self.fc2(functional.relu(self.fc1(states[-1])))
        return logits
