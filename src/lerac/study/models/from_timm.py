"""Networks of timm: Wide-ResNet-50-2, DenseNet-121 and a small vision transformer for digits.

Sources: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016; Huang et al., "Densely Connected
Convolutional Networks", CVPR 2017; Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from lerac.study.errors import StudyError
from lerac.study.models.network import library
from lerac.study.models.options import DenseNetOptions, SmallViTOptions, WideResNet50Options

__all__ = ["Grey", "densenet121", "small_vit", "wide_resnet50"]


class Grey(nn.Module):
    """Shows pictures of one channel to a network that takes three, in each of them; names are those of the network."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pictures: Tensor) -> Tensor:
        """Map pictures (batch, 1, height, width) to what the network gives."""
        outputs: Tensor = self.module(pictures.expand(-1, 3, -1, -1))
        return outputs


def wide_resnet50(channels: int, classes: int, options: WideResNet50Options) -> nn.Module:
    """Build Wide-ResNet-50-2: 67,244,040 weights for 3 channels and 200 classes.

    The LeRaC authors' code for ImageNet-200 leaves out the width, so that what it trains as Wide-ResNet-50-2 is the
    plain ResNet-50 (23,917,832 weights): `base_width=64` builds that one. As there, and in torchvision, the last
    normalisation of a block starts with scale 1; timm's own default is 0.

    Raises:
        StudyError: if timm is not installed.
    """
    timm = library("timm", "wide-resnet50", "lerac[experiments]")
    _check_stages(options.blocks)
    network: nn.Module = timm.create_model(
        "wide_resnet50_2",
        in_chans=channels,
        num_classes=classes,
        layers=tuple(options.blocks),
        base_width=options.base_width,
        zero_init_last=False,
    )
    return network


def densenet121(channels: int, classes: int, options: DenseNetOptions) -> nn.Module:
    """Build DenseNet-121: 6,998,834 weights for 1 channel and 50 classes (7,978,856 for 3 and 1000).

    Images and spectrograms must be 32 or more high and wide.

    Raises:
        StudyError: if timm is not installed.
    """
    timm = library("timm", "densenet121", "lerac[experiments]")
    _check_stages(options.blocks)
    network: nn.Module = timm.create_model(
        "densenet121",
        in_chans=channels,
        num_classes=classes,
        block_config=tuple(options.blocks),
        growth_rate=options.growth,
    )
    return network


def small_vit(channels: int, classes: int, options: SmallViTOptions) -> nn.Module:
    """Build a vision transformer for digits: 16 patches of 2×2 and a class token; 202 thousand weights.

    Matrices are drawn from the Xavier uniform distribution, as in the ViT authors' code: with timm's default, a
    standard deviation of 0.02, so narrow a network hardly learns. So is the head, which they start at zero: then
    nothing before it would learn until the head, last in a curriculum, has moved.

    Raises:
        StudyError: if sizes do not divide, or timm is not installed.
    """
    models = library("timm.models", "small-vit", "lerac[experiments]")
    for name, by in (("size", "patch"), ("width", "heads")):
        value, divisor = getattr(options, name), getattr(options, by)
        if value % divisor:
            raise StudyError(f"small-vit: {name} must be a multiple of {by}, got {name} {value} and {by} {divisor}")
    network: nn.Module = models.VisionTransformer(
        img_size=options.size,
        patch_size=options.patch,
        in_chans=channels,
        num_classes=classes,
        embed_dim=options.width,
        depth=options.depth,
        num_heads=options.heads,
        weight_init="jax",
    )
    nn.init.xavier_uniform_(network.get_parameter("head.weight"))
    return network


def _check_stages(blocks: Sequence[int]) -> None:
    if len(blocks) != 4:
        raise StudyError(f"blocks must be four numbers, one per stage, got {list(blocks)}")
