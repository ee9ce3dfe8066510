"""LeRaC in a loop with Accelerate, gradients accumulated over two batches, on scikit-learn's handwritten digits.

Run it: python examples/accelerate_loop.py    (needs pip install lerac accelerate scikit-learn)
"""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import lerac

set_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (1797, 1, 8, 8), in [0, 1]
training, test = random_split(TensorDataset(images, torch.tensor(digits.target)), [1200, 597])
loader = DataLoader(training, batch_size=32, shuffle=True)

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
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
steps_per_epoch = len(loader) // 2

curriculum = lerac.LeRaC(optimizer, model, k=3 * steps_per_epoch)  # <- LeRaC, in optimizer steps

epochs = 10
for epoch in range(epochs):
    for x, y in loader:
        with accelerator.accumulate(model):
            accelerator.backward(nn.functional.cross_entropy(model(x), y))
            optimizer.step()
            optimizer.zero_grad()
    if epoch == 0:
        print(curriculum)

model.eval()
with torch.no_grad():
    x, y = test[:]
    print(f"test accuracy after {epochs} epochs: {(model(x).argmax(1) == y).float().mean().item():.3f}")
