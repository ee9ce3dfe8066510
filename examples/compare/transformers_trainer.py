"""Does a regime help on a training with Transformers' Trainer? The callback attaches it.

Run it: lerac compare examples/compare/transformers_trainer.py:train --seeds 8 --scale 100 --unit %
(needs pip install 'lerac[study,transformers]')
"""

import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

LENGTH, WORDS = 12, 40


class Majority(Dataset):
    """Sequences of words, each with the label whether more of them come from the first half of the vocabulary."""

    def __init__(self, count: int) -> None:
        self.words = torch.randint(1, WORDS, (count, LENGTH))
        self.labels = ((self.words <= WORDS // 2).float().mean(1) > 0.5).long()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.words[index], "labels": self.labels[index]}


def train(trial):
    """Train once, and give the accuracy on sequences that were not trained on."""
    training, test = Majority(512), Majority(1024)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=WORDS,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=LENGTH,
            num_labels=2,
        )
    )
    arguments = TrainingArguments(
        output_dir=str(trial.folder),
        num_train_epochs=4,
        per_device_train_batch_size=32,
        learning_rate=trial.settings.get("lr", 2e-3),
        seed=trial.seed,
        use_cpu=trial.device == "cpu",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    callback = trial.callback("transformers")  # <- the only line that is about lerac
    Trainer(model=model, args=arguments, train_dataset=training, callbacks=[callback]).train()
    model.eval()
    with torch.no_grad():
        predicted = model(input_ids=test.words).logits.argmax(1)
    return (predicted == test.labels).float().mean()
