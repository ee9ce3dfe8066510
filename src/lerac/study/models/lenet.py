"""LeNet, the network of the paper's Figure 4.

Source: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings of the
IEEE 86, 1998: LeNet-5. As there, tanh follows every layer but the last, and 2×2 averages are taken after the
convolutions. Simpler than there: the averages have no weights of their own, the second convolution sees all maps of the
first, the output is linear (with cross-entropy, where LeNet-5 has radial basis functions), tanh is not scaled, and
weights are drawn as torch draws them.
"""

from torch import Tensor, nn
from torch.nn import functional

from lerac.study.models.options import Options

__all__ = ["LeNet"]

SIZE = 32


class LeNet(nn.Module):
    """Two convolutions of 5×5 (6 and 16 maps), each averaged over 2×2, and three linear layers (120, 84, classes).

    It has 61,706 weights for 1 channel and 10 classes.
    """

    def __init__(self, channels: int, classes: int, options: Options) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, channels, 32, 32) to logits (batch, classes).

        Raises:
            ValueError: if the images have another size.
        """
        if images.shape[-2:] != (SIZE, SIZE):
            height, width = images.shape[-2:]
            raise ValueError(f"LeNet takes images of {SIZE}×{SIZE}, got {height}×{width}; resize them (data.size = 32)")
        x = functional.avg_pool2d(self.conv1(images).tanh(), 2)
        x = functional.avg_pool2d(self.conv2(x).tanh(), 2)
        x = self.fc1(x.flatten(1)).tanh()
        x = self.fc2(x).tanh()
        logits: Tensor = self.fc3(x)
        return logits
