"""In which order a run sees its training examples, and how batches make up optimizer steps."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler

from lerac.regimes.drawing import derive

__all__ = ["EpochOrder", "Part"]


@dataclass(frozen=True)
class Part:
    """What one process does of one batch.

    Args:
        size: how many examples of the batch are its own. Where a last batch has fewer examples than there are
            processes, it is 0 for some: all have to take part, so they compute an example of others, of weight 0.
        weight: factor on the mean loss of the part. Gradients of all parts of an optimizer step, summed over batches
            and averaged over processes, are then the gradient of the mean loss of all examples of that step.
        begins_step: whether it is the first of its optimizer step.
        ends_step: whether it is the last.
    """

    size: int
    weight: float
    begins_step: bool
    ends_step: bool


class EpochOrder(Sampler[list[int]]):
    """Batches of positions in an order that depends on the seed and the epoch only, never on the regime.

    Several processes deal out each batch among themselves, so that together they see what one process would see.

    Args:
        examples: how many there are.
        batch_size: of all batches but the last, which may be smaller; of all processes together.
        seed: of the run.
        drop_last: whether a smaller last batch is left out.
        accumulate: batches per optimizer step; the last step of an epoch may have fewer.
        process: which process this is, from 0.
        processes: how many train together.
    """

    def __init__(
        self,
        examples: int,
        batch_size: int,
        seed: int,
        *,
        drop_last: bool = False,
        accumulate: int = 1,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.examples, self.batch_size, self.seed, self.drop_last = examples, batch_size, seed, drop_last
        self.accumulate, self.process, self.processes = accumulate, process, processes
        self.epoch = 0

    def __len__(self) -> int:
        return self.examples // self.batch_size if self.drop_last else -(-self.examples // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(derive(self.seed, "order", self.epoch))
        batches = torch.split(torch.randperm(self.examples, generator=generator), self.batch_size)
        for batch in batches[: len(self)]:
            own = batch[self.process :: self.processes]
            yield (own if len(own) else batch[:1]).tolist()

    def parts(self) -> list[Part]:
        """Give what this process does of every batch of an epoch, in order; it is the same in all epochs."""
        sizes = [min(self.batch_size, self.examples - i * self.batch_size) for i in range(len(self))]
        parts = []
        for first in range(0, len(sizes), self.accumulate):
            group = sizes[first : first + self.accumulate]
            for i, size in enumerate(group):
                own = len(range(self.process, size, self.processes))
                weight = self.processes * own / sum(group)
                parts.append(Part(own, weight, begins_step=i == 0, ends_step=i == len(group) - 1))
        return parts
