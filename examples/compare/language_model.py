"""Does a regime help on a small language model? Characters, causal attention, AdamW with a cosine schedule.

Run it: lerac compare examples/compare/language_model.py:train --seeds 8 --metric loss --goal min --unit nats
(needs pip install 'lerac[study]'; the text is the help of the Python that runs it)
"""

import pydoc

import torch
from torch import nn

STEPS, EPOCH, BATCH, CONTEXT = 150, 50, 16, 48


class Block(nn.Module):
    """Attention to what came before, then an MLP, each beside a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give (batch, tokens, width) for the same."""
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, normed, attn_mask=mask, need_weights=False, is_causal=True)[0]
        return x + self.mlp(self.norm2(x))


class Language(nn.Module):
    """Predicts the next character."""

    def __init__(self, characters: int, width: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(characters, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, characters)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Give (batch, tokens, characters) for (batch, tokens)."""
        x = self.token(tokens) + self.place(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))


def train(trial):
    """Train once, and give the loss on text that was not trained on, in nats per character."""
    text = pydoc.render_doc("builtins", renderer=pydoc.plaintext)[:60_000]  # the help of Python itself
    known = sorted(set(text))
    tokens = torch.tensor([known.index(character) for character in text])
    training, test = tokens[:50_000], tokens[50_000:]
    model = Language(len(known))
    optimizer = torch.optim.AdamW(model.parameters(), lr=trial.settings.get("lr", 3e-3))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    trial.attach(optimizer, model, epoch_steps=EPOCH, epochs=STEPS // EPOCH)  # <- "epoch": any number of steps

    def loss_of(source: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        windows = torch.stack([source[start : start + CONTEXT + 1] for start in starts])
        return nn.functional.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())

    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(training, torch.randint(len(training) - CONTEXT, (BATCH,))).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if (step + 1) % EPOCH == 0:
            model.eval()
            with torch.no_grad():
                loss = loss_of(test, torch.arange(0, len(test) - CONTEXT - 1, CONTEXT)).item()
            model.train()
            trial.report(step // EPOCH, loss=loss)
    return {"loss": loss}
