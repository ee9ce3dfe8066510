"""LeRaC with the Trainer of Transformers: a small ViT, from scratch, on scikit-learn's handwritten digits.

Run it: python examples/transformers_trainer.py    (needs pip install 'lerac[transformers]' scikit-learn)
"""

import tempfile

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset, random_split
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

from lerac.integrations.transformers import LeRaCCallback


class Digits(Dataset):
    """The images as (1, 8, 8) in [0, 1], in the form that the Trainer wants."""

    def __init__(self) -> None:
        digits = load_digits()
        self.images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
        self.labels = digits.target

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor | int]:
        return {"pixel_values": self.images[i], "labels": int(self.labels[i])}


set_seed(0)
training, test = random_split(Digits(), [1200, 597])
model = ViTForImageClassification(
    ViTConfig(
        image_size=8,
        patch_size=2,
        num_channels=1,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_labels=10,
    )
)

with tempfile.TemporaryDirectory() as folder:
    curriculum = LeRaCCallback(epochs=3)  # <- LeRaC: every layer reaches its full learning rate after three epochs
    trainer = Trainer(
        model,
        TrainingArguments(
            folder,
            num_train_epochs=10,
            per_device_train_batch_size=64,
            learning_rate=3e-3,
            lr_scheduler_type="cosine",
            save_strategy="no",
            logging_strategy="epoch",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=training,
        callbacks=[curriculum],
    )
    trainer.train()
    print(curriculum.curriculum)
    predicted = trainer.predict(test)

print(f"test accuracy after 10 epochs: {np.mean(predicted.predictions.argmax(1) == predicted.label_ids):.3f}")
