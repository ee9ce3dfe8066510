"""Plain feed-forward networks: LeNet, the network of the paper's Figure 4, for images; linear, MLP and CNN for signals.

Source of LeNet: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings
of the IEEE 86, 1998: LeNet-5. As there, tanh follows every layer but the last, and 2×2 averages are taken after the
convolutions. Simpler than there: the averages have no weights of their own, the second convolution sees all maps of the
first, the output is linear (with cross-entropy, where LeNet-5 has radial basis functions), tanh is not scaled, and
weights are drawn as torch draws them.

Source of the others: Greydanus and Kobak, "Scaling Down Deep Learning with MNIST-1D", ICML 2024, whose networks these
are by default, but for the dropout, which they do not have. `recurrent.GRU` reads signals, too.
"""

from torch import Tensor, nn
from torch.nn import functional

from lerac.study.errors import StudyError
from lerac.study.models.options import CNN1DOptions, LinearOptions, MLPOptions, Options

__all__ = ["CNN1D", "MLP", "LeNet", "Linear"]

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


class Linear(nn.Module):
    """Logistic regression: one linear layer; 410 weights for signals of 40 samples and 10 classes."""

    def __init__(self, channels: int, classes: int, options: LinearOptions) -> None:
        super().__init__()
        self.length = options.length
        self.fc = nn.Linear(channels * options.length, classes)

    def forward(self, signals: Tensor) -> Tensor:
        """Map signals (batch, channels, length) to logits (batch, classes).

        Raises:
            StudyError: if the signals have another length.
        """
        logits: Tensor = self.fc(_checked("linear", signals, self.length).flatten(1))
        return logits


class MLP(nn.Module):
    """Three linear layers with ReLU between, the second added to its input; 15,210 weights by default."""

    def __init__(self, channels: int, classes: int, options: MLPOptions) -> None:
        super().__init__()
        self.length = options.length
        self.fc1 = nn.Linear(channels * options.length, options.width)
        self.fc2 = nn.Linear(options.width, options.width)
        self.fc3 = nn.Linear(options.width, classes)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, signals: Tensor) -> Tensor:
        """Map signals (batch, channels, length) to logits (batch, classes).

        Raises:
            StudyError: if the signals have another length.
        """
        x = functional.relu(self.fc1(_checked("mlp", signals, self.length).flatten(1)))
        x = self.dropout(x)
        x = x + self.dropout(functional.relu(self.fc2(x)))
        logits: Tensor = self.fc3(x)
        return logits


class CNN1D(nn.Module):
    """Three convolutions of 5, 3 and 3 samples, each of stride 2, and a linear layer; 5,210 weights by default.

    Raises:
        StudyError: if so short a signal leaves nothing to classify.
    """

    def __init__(self, channels: int, classes: int, options: CNN1DOptions) -> None:
        super().__init__()
        self.length = options.length
        width, left = options.width, options.length
        for kernel in (5, 3, 3):
            left = (left + 2 - kernel) // 2 + 1
        if left < 1:
            raise StudyError(f"cnn1d: length must be 3 or more, got {options.length}")
        self.conv1 = nn.Conv1d(channels, width, 5, stride=2, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.dropout = nn.Dropout(options.dropout)
        self.fc = nn.Linear(width * left, classes)

    def forward(self, signals: Tensor) -> Tensor:
        """Map signals (batch, channels, length) to logits (batch, classes).

        Raises:
            StudyError: if the signals have another length.
        """
        x = _checked("cnn1d", signals, self.length)
        for convolution in (self.conv1, self.conv2, self.conv3):
            x = functional.relu(convolution(x))
        logits: Tensor = self.fc(self.dropout(x.flatten(1)))
        return logits


def _checked(name: str, signals: Tensor, length: int) -> Tensor:
    if signals.shape[-1] != length:
        raise StudyError(
            f"{name} reads signals of {length} samples, got signals {tuple(signals.shape)}: set network.length"
        )
    return signals
