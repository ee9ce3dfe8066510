"""What a recipe's section [network] can set of each network, with its default."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "BertOptions",
    "CNN1DOptions",
    "CvTOptions",
    "DenseNetOptions",
    "GRUOptions",
    "LSTMOptions",
    "LinearOptions",
    "MLPOptions",
    "Options",
    "PretrainedCvTOptions",
    "ResNetOptions",
    "SepTrOptions",
    "SmallCNNOptions",
    "SmallViTOptions",
    "WideResNet50Options",
    "WideResNetOptions",
    "YOLOOptions",
]

Count = Annotated[int, Field(ge=1)]
Counts = Annotated[Sequence[Count], Field(min_length=1)]
Gain = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
First = Literal["time", "frequency"]


class Options(BaseModel):
    """Of a network without options. Values are checked, never converted; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ResNetOptions(Options):
    """Of ResNet-18 for small images.

    Args:
        widths: channels of each stage.
        blocks: per stage.
    """

    widths: Counts = (64, 128, 256, 512)
    blocks: Count = 2


class SmallCNNOptions(ResNetOptions):
    """Of the network of the digits demo.

    Args:
        widths: channels of each stage.
        blocks: per stage.
        gain: factor on all initial weights but those of normalisation: 1 for Kaiming's, less for a smaller start.
    """

    widths: Counts = (16, 32, 64)
    blocks: Count = 1
    gain: Gain = 1.0


class WideResNetOptions(Options):
    """Of the Wide-ResNet for small images.

    Args:
        depth: 6 · blocks per stage + 4.
        widening: factor on the channels.
        dropout: probability in [0, 1) between the two convolutions of a block.
    """

    depth: Count = 52
    widening: Count = 2
    dropout: Share = 0.3


class WideResNet50Options(Options):
    """Of Wide-ResNet-50-2.

    Args:
        blocks: per stage, four numbers.
        base_width: channels inside the blocks of the first stage; 128 is twice that of a ResNet-50.
    """

    blocks: Sequence[Count] = (3, 4, 6, 3)
    base_width: Count = 128


class DenseNetOptions(Options):
    """Of DenseNet-121.

    Args:
        blocks: layers per dense block, four numbers.
        growth: channels that each layer adds.
    """

    blocks: Sequence[Count] = (6, 12, 24, 16)
    growth: Count = 32


class SmallViTOptions(Options):
    """Of the vision transformer for digits.

    Args:
        size: of the images, a multiple of `patch`.
        patch: height and width of a patch.
        width: of a token, a multiple of `heads`.
        depth: number of blocks.
        heads: of the attention in each block.
    """

    size: Count = 8
    patch: Count = 2
    width: Count = 64
    depth: Count = 4
    heads: Count = 4


class CvTOptions(Options):
    """Of CvT-13.

    Args:
        widths: of the tokens in each of the three stages.
        depths: blocks per stage; transformers needs at least 1, 2 and 3.
        heads: of the attention in each stage; divide `widths`.
        drop_path: probability that the residual branch of the last block of the last stage is dropped.
        activation: in the MLPs.
    """

    widths: Sequence[Count] = (64, 192, 384)
    depths: Sequence[Count] = (1, 2, 10)
    heads: Sequence[Count] = (1, 3, 6)
    drop_path: Share = 0.1
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"


class PretrainedCvTOptions(CvTOptions):
    """Of CvT-13 with published weights; `pretrained` says whether they are loaded."""

    pretrained: bool = True


class BertOptions(Options):
    """Of BERT-large.

    Args:
        layers: of the encoder.
        width: of a token, a multiple of `heads`.
        heads: of the attention in each layer.
        mlp_width: inside the MLP of each layer.
        positions: the most tokens of a text.
        pretrained: whether published weights are loaded.
    """

    layers: Count = 24
    width: Count = 1024
    heads: Count = 16
    mlp_width: Count = 4096
    positions: Count = 512
    pretrained: bool = True


class GRUOptions(Options):
    """Of the recurrent network for digits, and for signals.

    Args:
        columns: width of the images; 1 for signals.
        width: of the state.
        layers: of the GRU.
        bidirectional: whether another one reads from the end to the beginning.
        steps: rows of the images, or samples of the signals, if the states after all of them are classified together;
            None: the last state is, whatever came before.
    """

    columns: Count = 8
    width: Count = 64
    layers: Count = 2
    bidirectional: bool = False
    steps: Count | None = None


class LinearOptions(Options):
    """Of logistic regression.

    Args:
        length: of the signals.
    """

    length: Count = 40


class MLPOptions(LinearOptions):
    """Of the network without convolutions for signals.

    Args:
        length: of the signals.
        width: of both hidden layers.
        dropout: probability in [0, 1) after each of them.
    """

    width: Count = 100
    dropout: Share = 0.0


class CNN1DOptions(LinearOptions):
    """Of the convolutional network for signals.

    Args:
        length: of the signals.
        width: channels of each convolution.
        dropout: probability in [0, 1) before the last layer.
    """

    width: Count = 25
    dropout: Share = 0.0


class LSTMOptions(Options):
    """Of the paper's LSTM; the width of its first fully connected layer is not published: `hidden` is our choice.

    Args:
        embedding: width of a token.
        width: of the state.
        layers: of the LSTM.
        hidden: width of the first fully connected layer.
    """

    embedding: Count = 128
    width: Count = 256
    layers: Count = 2
    hidden: Count = 256


class SepTrOptions(Options):
    """Of SepTr.

    Args:
        bins: mel bins of the spectrograms, a multiple of `patch`.
        frames: of the spectrograms, a multiple of `patch`.
        patch: height and width of a patch.
        width: of a token.
        depth: number of blocks, each of two transformer layers.
        heads: of the attention in each layer.
        head_width: of each head; heads · head_width need not be `width`.
        mlp_width: inside the MLP of each layer.
        first: `time` attends among the tokens of a time step first, then among those of a frequency bin; `frequency`
            the other way round.
    """

    bins: Count = 128
    frames: Count = 128
    patch: Count = 8
    width: Count = 256
    depth: Count = 3
    heads: Count = 5
    head_width: Count = 64
    mlp_width: Count = 1024
    first: First = "time"


class YOLOOptions(Options):
    """Of YOLOv5; `scale` is from nano to extra large. Which one the paper trained is not known: s is our choice."""

    scale: Literal["n", "s", "m", "l", "x"] = "s"
