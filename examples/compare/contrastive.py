"""Does a regime help where there are no labels? Two views of each image are to lie close together (SimCLR's loss).

Run it: lerac compare examples/compare/contrastive.py:train --seeds 8 --scale 100 --unit %
(needs pip install 'lerac[study]')

What is measured is what people measure there: how well a linear classifier reads the labels off the features.
"""

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn

EPOCHS, BATCH = 6, 128


def two_views(images: torch.Tensor) -> torch.Tensor:
    """Shift each image by up to a pixel and add noise, twice: (2 × batch, 1, 8, 8)."""
    both = images.repeat(2, 1, 1, 1)
    shifts = torch.randint(-1, 2, (len(both), 2)).tolist()
    shifted = [torch.roll(one, shift, (1, 2)) for one, shift in zip(both, shifts, strict=True)]
    return torch.stack(shifted) + 0.1 * torch.randn_like(both)


def loss_of(features: torch.Tensor, temperature: float = 0.2) -> torch.Tensor:
    """Of all other views, the second one of the same image is to be the nearest."""
    normed = nn.functional.normalize(features, dim=1)
    alike = (normed @ normed.T / temperature).fill_diagonal_(float("-inf"))
    return nn.functional.cross_entropy(alike, torch.arange(len(features)).roll(len(features) // 2))


def train(trial):
    """Train encoder and projection head without labels, and give the accuracy of a linear probe."""
    digits = load_digits()
    images, labels = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16, digits.target
    encoder = nn.Sequential(*[nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten()])
    projection = nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 32))
    both = nn.Sequential(encoder, projection)
    optimizer = torch.optim.Adam(both.parameters(), lr=trial.settings.get("lr", 2e-3))
    steps = len(images) // BATCH
    trial.attach(optimizer, both, epoch_steps=steps, epochs=EPOCHS)  # <- the only line that is about lerac

    for epoch in range(EPOCHS):
        total = 0.0
        for batch in torch.randperm(len(images))[: steps * BATCH].split(BATCH):
            optimizer.zero_grad()
            loss = loss_of(both(two_views(images[batch])))
            loss.backward()
            optimizer.step()
            total += loss.item() / steps
        trial.report(epoch, contrastive_loss=total)
    with torch.no_grad():
        features = encoder(images).numpy()
    probe = LogisticRegression(max_iter=2000).fit(features[:200], labels[:200])
    return probe.score(features[200:], labels[200:])
