"""LeRaC with a timm model, optimizer and scheduler, as in timm's training script, on scikit-learn's handwritten digits.

Run it: python examples/timm_script.py    (needs pip install lerac timm scikit-learn)
"""

import timm
import torch
from sklearn.datasets import load_digits
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import lerac

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (1797, 1, 8, 8), in [0, 1]
training, test = random_split(TensorDataset(images, torch.tensor(digits.target)), [1200, 597])
loader = DataLoader(training, batch_size=64, shuffle=True)

model = timm.create_model(
    "vit_tiny_patch16_224",
    img_size=8,
    patch_size=4,
    in_chans=1,
    embed_dim=64,
    depth=2,
    num_heads=4,
    num_classes=10,
)
epochs = 10
optimizer = create_optimizer_v2(model, opt="adamw", lr=5e-3, weight_decay=0.05)
scheduler, epochs = create_scheduler_v2(optimizer, sched="cosine", num_epochs=epochs, updates_per_epoch=len(loader))

curriculum = lerac.LeRaC(optimizer, model, k=3 * len(loader))  # <- the only line that is about LeRaC

updates = 0
for epoch in range(epochs):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        updates += 1
        scheduler.step_update(updates)
    scheduler.step(epoch + 1)
    if epoch == 0:
        print(curriculum)

model.eval()
with torch.no_grad():
    x, y = test[:]
    print(f"test accuracy after {epochs} epochs: {(model(x).argmax(1) == y).float().mean().item():.3f}")
