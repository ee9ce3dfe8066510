"""Does a regime help on this training? A plain loop on scikit-learn's digits, compared seed by seed.

Run it: lerac compare examples/compare/plain_loop.py:train --seeds 8 --metric accuracy --scale 100 --unit %
(needs pip install 'lerac[study]')
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

EPOCHS = 8


def train(trial):
    """Train once; the study has seeded Python, NumPy and torch from `trial.seed` before."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (1797, 1, 8, 8), in [0, 1]
    training, test = random_split(TensorDataset(images, torch.tensor(digits.target)), [600, 1197])
    loader = DataLoader(training, batch_size=50, shuffle=True)
    model = nn.Sequential(
        *[nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)]
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.settings.get("lr", 0.05), momentum=0.9)
    trial.attach(optimizer, model, epoch_steps=len(loader), epochs=EPOCHS)  # <- the only line that is about lerac

    for epoch in range(EPOCHS):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            x, y = test[:]
            accuracy = (model(x).argmax(1) == y).float().mean().item()
        trial.report(epoch, accuracy=accuracy)  # curves and progress; optional
    return {"accuracy": accuracy}
