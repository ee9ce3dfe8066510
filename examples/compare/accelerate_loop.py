"""Does a regime help on a training with Accelerate, gradients accumulated over two batches?

Run it: lerac compare examples/compare/accelerate_loop.py:train --seeds 8 --scale 100 --unit %
(needs pip install 'lerac[study]')
"""

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

EPOCHS, ACCUMULATED = 8, 2


def train(trial):
    """Train once, and give the accuracy on images that were not trained on."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (1797, 1, 8, 8), in [0, 1]
    training, test = random_split(TensorDataset(images, torch.tensor(digits.target)), [600, 1197])
    accelerator = Accelerator(gradient_accumulation_steps=ACCUMULATED, cpu=trial.device == "cpu")
    loader = DataLoader(training, batch_size=25, shuffle=True)
    model = nn.Sequential(
        *[nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)]
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    # After `prepare`, which shares the loader out; optimizer steps are counted, not batches.
    trial.attach(optimizer, model, epoch_steps=len(loader) // ACCUMULATED, epochs=EPOCHS)

    for epoch in range(EPOCHS):
        model.train()
        for x, y in loader:
            with accelerator.accumulate(model):
                accelerator.backward(nn.functional.cross_entropy(model(x), y))
                optimizer.step()
                optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            x, y = (tensor.to(accelerator.device) for tensor in test[:])
            accuracy = (model(x).argmax(1) == y).float().mean().item()
        trial.report(epoch, accuracy=accuracy)
    return accuracy
