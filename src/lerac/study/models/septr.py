"""SepTr, a separable transformer for spectrograms.

Source: Ristea, Ionescu and Khan, "SepTr: Separable Transformer for Audio Spectrogram Processing", INTERSPEECH 2022,
from its description: two transformers in a row, one among the tokens of a time step and one among those of a
frequency bin, a class token passed from one to the next, and parameters that grow linearly with the input's size.
Depth 3, 5 heads, width 256 and inputs of 1×128×128 are its authors' defaults. What the description leaves open is
our choice: patches of 8×8, heads 64 wide, MLPs of 4 times the width, normalisation before each part, a position
embedding per frequency bin and one per time step, and the mean of a class token's copies as the one passed on.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lerac.study.errors import StudyError
from lerac.study.models.options import First, SepTrOptions

__all__ = ["Attention", "SepTr", "SeparableBlock", "TransformerLayer"]


class SepTr(nn.Module):
    """A transformer over the patches of a spectrogram that never attends across both axes at once.

    Raises:
        StudyError: if patches do not divide the size.
    """

    def __init__(self, channels: int, classes: int, options: SepTrOptions) -> None:
        super().__init__()
        self.size, patch, width = (options.bins, options.frames), options.patch, options.width
        if options.bins % patch or options.frames % patch:
            raise StudyError(
                f"septr: mel bins and frames must be multiples of patch {patch}, got {options.bins} and "
                f"{options.frames}: set network.bins and network.frames to what the data has, and cut or pad that to "
                "multiples"
            )
        rows, columns = options.bins // patch, options.frames // patch
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(width))
        self.frequency_position = nn.Parameter(torch.empty(rows, 1, width))
        self.time_position = nn.Parameter(torch.empty(columns, width))
        sizes = (width, options.heads, options.head_width, options.mlp_width)
        self.blocks = nn.ModuleList(SeparableBlock(*sizes, options.first) for _ in range(options.depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        for parameter in (self.class_token, self.frequency_position, self.time_position):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Map spectrograms (batch, channels, mel bins, frames) to logits (batch, classes).

        Raises:
            StudyError: if they are not of the network's size.
        """
        if spectrograms.shape[2:] != self.size:
            raise StudyError(
                f"septr is built for {self.size[0]} mel bins and {self.size[1]} frames, got spectrograms "
                f"{tuple(spectrograms.shape)}: set network.bins and network.frames"
            )
        tokens = self.patches(spectrograms).permute(0, 2, 3, 1) + self.frequency_position + self.time_position
        token = self.class_token.expand(len(tokens), -1)
        for block in self.blocks:
            tokens, token = block(tokens, token)
        logits: Tensor = self.head(self.norm(token))
        return logits


class SeparableBlock(nn.Module):
    """Attends along one axis, then along the other, each by a transformer layer of its own.

    Args:
        width: of a token.
        heads: of the attention.
        head_width: of each head.
        mlp_width: inside the MLP.
        first: as in `SepTr`.
    """

    def __init__(self, width: int, heads: int, head_width: int, mlp_width: int, first: First) -> None:
        super().__init__()
        self.order: tuple[First, First] = ("time", "frequency") if first == "time" else ("frequency", "time")
        for within in self.order:
            self.add_module(f"within_{within}", TransformerLayer(width, heads, head_width, mlp_width))

    def forward(self, tokens: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens (batch, frequencies, times, width) and class token (batch, width) to the same shapes."""
        for within in self.order:
            tokens, token = self.attend(within, tokens, token)
        return tokens, token

    def attend(self, within: First, tokens: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """Attend among the tokens of each time step, or of each frequency bin, and a copy of the class token."""
        grouped = tokens.transpose(1, 2) if within == "time" else tokens
        copies = token[:, None, None].expand(-1, grouped.shape[1], -1, -1)
        sequences = torch.cat((copies, grouped), dim=2)
        out = self.get_submodule(f"within_{within}")(sequences.flatten(0, 1)).view(sequences.shape)
        grouped, token = out[:, :, 1:], out[:, :, 0].mean(dim=1)
        return (grouped.transpose(1, 2) if within == "time" else grouped), token


class TransformerLayer(nn.Module):
    """Attention and an MLP, each after a normalisation and added to its input."""

    num_prefix_tokens = 1  # the class token comes first; lerac.CBS and timm ask by this name

    def __init__(self, width: int, heads: int, head_width: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, head_width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, length, width) to the same shape."""
        x = x + self.attention(self.norm1(x))
        added: Tensor = x + self.mlp(self.norm2(x))
        return added


class Attention(nn.Module):
    """Self-attention whose heads may have any width; torch's MultiheadAttention divides the token's among them."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * heads * head_width)
        self.out = nn.Linear(heads * head_width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, length, width) to the same shape."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out
