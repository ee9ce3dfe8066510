r"""A training script that knows nothing of lerac, with the options and the `summary.csv` of timm's own.

Its arguments can be compared as they are, as arms (needs pip install 'lerac[study]' timm):

    lerac compare --command "python examples/compare/timm_train.py --seed {seed} --output {folder} {arm}" \
        --arm "conventional=" --arm "warmup=--warmup-epochs 2" --arm "clip=--clip-grad 1" \
        --results "{folder}/summary.csv" --metric eval_top1 --unit % --seeds 8
"""

import argparse
import csv
from pathlib import Path

import timm
import torch
from sklearn.datasets import load_digits
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import random_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=42)
parser.add_argument("--output", type=Path, required=True)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--lr", type=float, default=5e-3)
parser.add_argument("--warmup-epochs", type=int, default=0)
parser.add_argument("--warmup-lr", type=float, default=1e-5)
parser.add_argument("--clip-grad", type=float)
args = parser.parse_args()

random_seed(args.seed)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (1797, 1, 8, 8), in [0, 1]
training, test = random_split(TensorDataset(images, torch.tensor(digits.target)), [600, 1197])
loader = DataLoader(training, batch_size=50, shuffle=True)
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
optimizer = create_optimizer_v2(model, opt="adamw", lr=args.lr, weight_decay=0.05)
scheduler, epochs = create_scheduler_v2(
    optimizer,
    sched="cosine",
    num_epochs=args.epochs,
    warmup_epochs=args.warmup_epochs,
    warmup_lr=args.warmup_lr,
    updates_per_epoch=len(loader),
    step_on_epochs=False,
)

updates = 0
with (args.output / "summary.csv").open("w", newline="") as file:
    rows = csv.DictWriter(file, ["epoch", "train_loss", "eval_loss", "eval_top1"])
    rows.writeheader()
    for epoch in range(epochs):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            if args.clip_grad:
                nn.utils.clip_grad_norm_(model.parameters(), args.clip_grad)
            optimizer.step()
            updates += 1
            scheduler.step_update(updates)
        model.eval()
        with torch.no_grad():
            x, y = test[:]
            output = model(x)
        top1 = 100 * (output.argmax(1) == y).float().mean().item()
        eval_loss = nn.functional.cross_entropy(output, y).item()
        rows.writerow({"epoch": epoch, "train_loss": loss.item(), "eval_loss": eval_loss, "eval_top1": top1})
