"""LeRaC in a training loop as everybody writes it, on scikit-learn's handwritten digits.

Run it: python examples/plain_loop.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import lerac

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (1797, 1, 8, 8), in [0, 1]
training, test = random_split(TensorDataset(images, torch.tensor(digits.target)), [1200, 597])
loader = DataLoader(training, batch_size=64, shuffle=True)

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, stride=2, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(512, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
)
epochs = 10
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * len(loader))

curriculum = lerac.LeRaC(optimizer, model, k=3 * len(loader))  # <- the only line that is about LeRaC

for epoch in range(epochs):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        scheduler.step()
    if epoch == 0:
        print(curriculum)

model.eval()
with torch.no_grad():
    x, y = test[:]
    print(f"test accuracy after {epochs} epochs: {(model(x).argmax(1) == y).float().mean().item():.3f}")
