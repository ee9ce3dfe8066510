"""LeRaC for the `Trainer` of Transformers: `Trainer(callbacks=[LeRaCCallback(epochs=5)])`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lerac.curriculum.lerac import LeRaC
from lerac.curriculum.optimizers import innermost
from lerac.curriculum.step_count import read_count
from lerac.curves import Curve
from lerac.integrations import check_epoch, check_fits, layer_rates, missing, options_of, steps_of
from lerac.integrations.epochs import Epochs
from lerac.integrations.regime import attach_regime, by_regime, is_in_epochs, metrics
from lerac.layers import Layer
from lerac.regimes.attached import Attached

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_utils import IntervalStrategy
except ImportError as error:
    raise missing("transformers", "transformers") from error

__all__ = ["LeRaCCallback"]


class LeRaCCallback(TrainerCallback):
    """Learning Rate Curriculum, or any regime, for the optimizer of a `Trainer`, passed in or made by the Trainer.

    The layers are found from the first training forward pass. Checkpoints carry the curriculum with nothing more, since
    the optimizer's state has its step. The learning rate of every layer is added as `lr/<layer>` to what the Trainer
    logs while the curriculum lasts: to `log_history`, and to the logs that callbacks after this one receive. Reporters
    named in `report_to` come before it; to have the rates there, pass them after it, as in
    `callbacks=[LeRaCCallback(epochs=5), TensorBoardCallback()]` with `report_to="none"`. σ of smoothing is
    `sigma` there.

    Args:
        k: length in optimizer steps, at least 1.
        epochs: length in epochs, above 0, fractions too; accumulated batches are accounted for.
        ratio: as in `lerac.LeRaC`.
        curve: as in `lerac.LeRaC`.
        layers: as in `lerac.LeRaC`.
        regime: instead of `k`, `epochs`, `ratio` and `curve`, as in `lerac.attach`: such as `"warmup(k=3)"`, k in
            epochs. None, and none of these: the regime of the running study, and outside of any nothing is changed.

    Raises:
        TypeError: if both `k` and `epochs` are given, or neither and still `ratio` or `curve`, or one of these and
            `regime`.
        ValueError: if `regime` is none; when training starts, if the curriculum would outlast it, or if epochs cannot
            be converted because the training data has no length.
        RuntimeError: during a curriculum or regime in epochs, if one of them has another number of optimizer steps than
            its data promised (a data set that shrinks, a callback that ends an epoch). Pass `k` for such a training.
    """

    def __init__(
        self,
        *,
        k: int | None = None,
        epochs: float | None = None,
        ratio: float | Mapping[str, float] | None = None,
        curve: str | Curve | None = None,
        layers: Sequence[Layer] | None = None,
        regime: str | None = None,
    ) -> None:
        self._by_regime = by_regime(regime, k, epochs, ratio=ratio, curve=curve)
        self._regime, self._k, self._epochs, self._layers = regime, k, epochs, layers
        self._options = options_of(ratio, curve)
        self._attached: Attached | None = None
        self._curriculum: LeRaC | None = None
        self._optimizer: Optimizer | None = None
        self._steps_in_epoch: int | None = None
        self._epoch_begin = 0  # optimizer steps of the training before this epoch
        self._rates: dict[str, float] = {}

    @property
    def curriculum(self) -> LeRaC | None:
        """The curriculum; None before training starts, and of a regime without one."""
        return self._curriculum

    @property
    def attached(self) -> Attached | None:
        """The regime, as `lerac.attach` gives it; None before training starts, and without one."""
        return self._attached

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        optimizer: Optimizer | None = None,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Attach the curriculum: there is an optimizer, its checkpoint is loaded, and nothing is trained yet."""
        assert model is not None
        assert optimizer is not None
        inner = innermost(optimizer)
        before, steps = self._steps_in_epoch, _steps_in_epoch(args, train_dataloader)
        self._steps_in_epoch = steps
        if self._by_regime:
            if self._attached is not None:
                if self._optimizer is inner and before == steps:
                    return  # a further train() with the same optimizer, whose regime goes on
                self._attached.remove()
            self._attached = attach_regime(
                optimizer,
                model,
                self._regime,
                lengths=None if steps is None else Epochs([steps]),
                total=state.max_steps,
                ahead=state.max_steps - state.global_step,
                layers=self._layers,
            )
            self._curriculum, self._optimizer = self._attached.curriculum, inner
            return
        k = steps_of(self._k, self._epochs, None if steps is None else Epochs([steps]))
        check_fits(k, read_count(inner) or 0, state.max_steps - state.global_step)
        if self._curriculum is not None and self._optimizer is inner and self._curriculum.k == k:
            return  # a further train() with the same optimizer, whose curriculum goes on
        if self._curriculum is not None:
            self._curriculum.remove()
        self._curriculum = LeRaC(optimizer, model, k=k, layers=self._layers, **self._options)
        self._optimizer = inner

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remember where the epoch begins."""
        self._epoch_begin = state.global_step

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """See that the epoch was as long as the curriculum took it to be."""
        acting = self._attached or self._curriculum
        asked = self._epochs if self._attached is None else self._attached.regime
        if asked is None or acting is None or acting.finished or control.should_training_stop:
            return
        if self._attached is not None and not is_in_epochs(self._attached):
            return
        steps = self._steps_in_epoch
        assert steps is not None
        taken = state.global_step - self._epoch_begin
        if taken != steps - self._epoch_begin % steps:  # after a continuation only the rest of it
            check_epoch(asked, self._epoch_begin // steps, taken, steps)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remember the rates of a step that is logged: afterwards the optimizer has those of the next one."""
        self._rates = {}
        if _is_logged(args, state):
            if self._attached is not None:
                self._rates = metrics(self._attached)
            elif self._curriculum is not None:
                self._rates = layer_rates(self._curriculum)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the rates to what the Trainer logs."""
        rates, self._rates = self._rates, {}
        for entry in (logs, *state.log_history[-1:]):
            if entry is not None:
                entry.update(rates)


def _steps_in_epoch(args: TrainingArguments, dataloader: Any) -> int | None:
    try:
        batches = len(dataloader)
    except TypeError:  # an iterable dataset
        return None
    return max(1, math.ceil(batches / args.gradient_accumulation_steps))


def _is_logged(args: TrainingArguments, state: TrainerState) -> bool:
    """Whether the Trainer logs after the step that comes now."""
    step = state.global_step + 1
    if args.logging_strategy == IntervalStrategy.STEPS:
        return step % state.logging_steps == 0 or (step == 1 and args.logging_first_step)
    return args.logging_strategy == IntervalStrategy.EPOCH  # which step is the last one only the Trainer knows
