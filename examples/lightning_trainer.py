"""LeRaC with Lightning's Trainer, on scikit-learn's handwritten digits.

Run it: python examples/lightning_trainer.py    (needs pip install 'lerac[lightning]' scikit-learn)
"""

import logging
import warnings

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from lerac.integrations.lightning import LeRaCCallback

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", ".*does not have many workers")  # the loader: it has its data in memory
warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # Lightning's own call of torch


class Digits(pl.LightningModule):
    """A small convolutional network; nothing in it is about LeRaC."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Give the loss of a batch."""
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give the optimizer of a conventional training."""
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


pl.seed_everything(0, verbose=False)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (1797, 1, 8, 8), in [0, 1]
training, test = random_split(TensorDataset(images, torch.tensor(digits.target)), [1200, 597])

module = Digits()
curriculum = LeRaCCallback(epochs=3)  # <- LeRaC: every layer reaches its full learning rate after three epochs
trainer = pl.Trainer(
    callbacks=[curriculum],
    max_epochs=10,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(module, DataLoader(training, batch_size=64, shuffle=True))
print(*curriculum.curricula)

module.eval()
with torch.no_grad():
    x, y = test[:]
    print(f"test accuracy after 10 epochs: {(module.net(x).argmax(1) == y).float().mean().item():.3f}")
