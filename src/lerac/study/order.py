"""In which order a run sees its training examples."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from lerac.study.seeds import derive

__all__ = ["EpochOrder"]


class EpochOrder(Sampler[list[int]]):
    """Batches of positions in an order that depends on the seed and the epoch only, never on the regime.

    Args:
        examples: how many there are.
        batch_size: of all batches but the last, which may be smaller.
        seed: of the run.
        drop_last: whether a smaller last batch is left out.
    """

    def __init__(self, examples: int, batch_size: int, seed: int, *, drop_last: bool = False) -> None:
        self.examples, self.batch_size, self.seed, self.drop_last = examples, batch_size, seed, drop_last
        self.epoch = 0

    def __len__(self) -> int:
        return self.examples // self.batch_size if self.drop_last else -(-self.examples // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(derive(self.seed, "order", self.epoch))
        batches = torch.split(torch.randperm(self.examples, generator=generator), self.batch_size)
        for batch in batches[: len(self)]:
            yield batch.tolist()
