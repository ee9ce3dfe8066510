"""What the batches of an epoch said while they were trained on."""

from collections.abc import Iterator

import torch
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from torch import Tensor

from lerac.study.training.order import Part

__all__ = ["EpochRecord"]


class EpochRecord:
    """Losses and scores, left where they are until the epoch ends: to ask for one makes an accelerator wait."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._scores: list[Tensor] = []
        self._sizes: list[int] = []
        self._steps: list[int] = []

    def add(self, loss: Tensor, score: Tensor | None, part: Part, step: int) -> None:
        """Note a batch.

        Args:
            loss: mean over its examples.
            score: sum over its examples; None where the metric takes a whole split.
            part: which part of the batch this process has computed.
            step: optimizer steps taken before it.
        """
        self._losses.append(loss)
        self._sizes.append(part.size)
        self._steps.append(step)
        if part.size and score is not None:
            self._scores.append(score)

    def close(self) -> None:
        """End the epoch: look at the values, those of all processes together. Every process must call this."""
        each = torch.stack(self._losses).double().cpu()
        score = torch.stack(self._scores).sum().item() if self._scores else None
        shares = gather_object([(each, torch.tensor(self._sizes, dtype=torch.float64), score)])
        self._weights = torch.stack([sizes for _, sizes, _ in shares])
        self._each = torch.stack([losses for losses, _, _ in shares]).masked_fill(self._weights == 0, 0.0)
        self._known = [score for _, _, score in shares if score is not None]

    @property
    def loss(self) -> float:
        """Mean loss of the examples, each as it was when trained on."""
        weights = self._weights.flatten()
        return float((self._each.flatten() * weights).sum() / weights.sum())

    @property
    def score(self) -> float | None:
        """Mean score of the examples; None where the metric takes a whole split."""
        return sum(self._known) / int(self._weights.sum()) if self._known else None

    @property
    def broken_at(self) -> int | None:
        """The optimizer step, from 0, that had the first loss that is not finite; None without one."""
        broken = (~self._each.isfinite()).any(dim=0).nonzero()
        return self._steps[int(broken[0])] if len(broken) else None

    def step_losses(self) -> Iterator[tuple[int, float]]:
        """Give every optimizer step, from 0, and the mean loss of its examples."""
        steps = torch.tensor(self._steps)
        sums, sizes = (self._each * self._weights).sum(dim=0), self._weights.sum(dim=0)
        for step in dict.fromkeys(self._steps):
            mine = steps == step
            yield step, float(sums[mine].sum() / sizes[mine].sum())
