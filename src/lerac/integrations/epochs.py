"""How many optimizer steps each epoch of a training has: epochs may differ in length."""

from collections.abc import Sequence

__all__ = ["Epochs"]


class Epochs:
    """The lengths of a training's epochs.

    Args:
        steps: optimizer steps, each at least 1, of epochs 0, 1, …; later ones are as long as the last of them.
    """

    def __init__(self, steps: Sequence[int]) -> None:
        self._steps = steps

    @property
    def common(self) -> int | None:
        """The optimizer steps of every epoch; None if they differ."""
        return self._steps[0] if len(set(self._steps)) == 1 else None

    def __str__(self) -> str:
        shown = [str(steps) for steps in self._steps[:8]]
        return ", ".join([*shown, "…"])

    def steps_in(self, epoch: int) -> int:
        """Give the optimizer steps of one epoch."""
        return self._steps[min(epoch, len(self._steps) - 1)]

    def steps_before(self, epoch: int) -> int:
        """Give the optimizer steps of all epochs before one."""
        return sum(self._steps[:epoch]) + max(0, epoch - len(self._steps)) * self._steps[-1]

    def to_steps(self, epochs: float, start: int = 0) -> int:
        """Give the optimizer steps of some epochs, at least 1.

        Args:
            epochs: how many, above 0. Of an epoch that is not covered from end to end the same share of its steps is.
            start: optimizer steps of the training before them.
        """
        last = len(self._steps) - 1
        epoch = 0
        while epoch < last and start >= self._steps[epoch]:
            start -= self._steps[epoch]
            epoch += 1
        share = 1 - start / self._steps[epoch]  # of the first epoch
        covered: list[tuple[float, int]] = []
        while epoch < last and epochs - sum(part for part, _ in covered) > share:
            covered.append((share, self._steps[epoch]))
            epoch, share = epoch + 1, 1.0
        # As the difference from epochs that are all as long as the last: where they are, nothing is added up.
        steps = self._steps[epoch]
        return max(1, round(epochs * steps + sum(part * (other - steps) for part, other in covered)))
