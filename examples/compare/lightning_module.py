"""Does a regime help on a Lightning module? The callback attaches it; the module stays as it is.

Run it: lerac compare examples/compare/lightning_module.py:train --seeds 8 --scale 100 --unit %
(needs pip install 'lerac[study,lightning]')
"""

import logging
import warnings

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", ".*does not have many workers")  # the loader: it has its data in memory


class Digits(pl.LightningModule):
    """A small convolutional network; nothing in it is about lerac."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(
            *[nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)]
        )

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Give the loss of a batch."""
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give the optimizer of a conventional training."""
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def train(trial):
    """Train once, and give the accuracy on images that were not trained on."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (1797, 1, 8, 8), in [0, 1]
    training, test = random_split(TensorDataset(images, torch.tensor(digits.target)), [600, 1197])
    module = Digits(trial.settings.get("lr", 0.05))
    trainer = pl.Trainer(
        callbacks=[trial.callback("lightning")],  # <- the only line that is about lerac
        max_epochs=8,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(training, batch_size=50, shuffle=True))
    module.eval()
    with torch.no_grad():
        x, y = test[:]
        return (module.net(x).argmax(1) == y).float().mean()
