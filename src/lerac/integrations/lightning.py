"""LeRaC for Lightning's `Trainer`: `Trainer(callbacks=[LeRaCCallback(epochs=5)])`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch.optim import Optimizer

from lerac.curriculum.lerac import LeRaC
from lerac.curriculum.optimizers import innermost
from lerac.curriculum.step_count import read_count
from lerac.curves import Curve
from lerac.integrations import check_epoch, check_fits, layer_rates, missing, options_of, steps_of
from lerac.integrations.epochs import Epochs
from lerac.integrations.regime import attach_regime, by_regime, check_kind, is_in_epochs, metrics
from lerac.layers import Layer
from lerac.regimes.attached import Attached

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.callbacks import GradientAccumulationScheduler

    from lerac.integrations.training_step import layers_of_training_step
except ImportError as error:
    raise missing("lightning", "lightning") from error

__all__ = ["LeRaCCallback"]


class LeRaCCallback(Callback):
    """Learning Rate Curriculum, or any regime, for every optimizer that `configure_optimizers` returns.

    The layers are found on the first batch, from a traced copy of `training_step` whose calls to loggers and optimizers
    do nothing. Where it cannot be traced (it asks for `self.trainer`, for example), they are found from the first call
    of the module itself. Checkpoints carry the curriculum. While it lasts, the learning rate of every layer goes to the
    loggers as `lr/<layer>` (of several optimizers, `lr/<index>/<layer>`) every `log_every_n_steps`, and σ of smoothing
    as `sigma`.

    Args:
        k: length in optimizer steps, at least 1. Of several optimizers, each counts its own.
        epochs: length in epochs, above 0, fractions too; accumulated batches are accounted for, also where a
            `GradientAccumulationScheduler` changes their number from epoch to epoch.
        ratio: as in `lerac.LeRaC`.
        curve: as in `lerac.LeRaC`.
        layers: as in `lerac.LeRaC`, with the parameter names of the LightningModule.
        regime: instead of `k`, `epochs`, `ratio` and `curve`, as in `lerac.attach`: such as `"warmup(k=3)"`, k in
            epochs. None, and none of these: the regime of the running study, and outside of any nothing is changed.

    Raises:
        TypeError: if both `k` and `epochs` are given, or neither and still `ratio` or `curve`, or one of these and
            `regime`.
        ValueError: if `regime` is none; when training starts, if the curriculum would outlast it, or if epochs cannot
            be converted (data without a length; manual optimisation, in which only your code knows how often it steps;
            of a regime also epochs of different lengths).
            With manual optimisation nobody knows the number of steps beforehand, so a k too large is not noticed.
        RuntimeError: during a curriculum or regime in epochs, if one of them has another number of optimizer steps than
            it was to have when training started (loaders that are reloaded with another length, a hook that skips the
            rest of an epoch). Pass `k` for such a training.
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
        self._attached: tuple[Attached, ...] = ()
        self._curricula: tuple[LeRaC, ...] = ()
        self._restored: dict[str, Any] = {}
        self._lengths: Epochs | None = None  # of the epochs of this training, where they are known
        self._start = 0  # optimizer steps of the training before the curriculum
        self._due = 0  # optimizer steps of the training at the end of this epoch
        self._why_not_traced = ""

    @property
    def curricula(self) -> tuple[LeRaC, ...]:
        """One for each optimizer, in the order of `configure_optimizers`; empty before training starts.

        Of a regime without a curriculum it stays empty.
        """
        return self._curricula

    @property
    def attached(self) -> tuple[Attached, ...]:
        """The regime of each optimizer, as `lerac.attach` gives it; empty before training starts, and without one."""
        return self._attached

    def state_dict(self) -> dict[str, Any]:
        """Give the states of curricula or regimes, in plain types, for Lightning's checkpoint."""
        if self._by_regime:
            return {"attached": [attached.state_dict() for attached in self._attached]}
        return {"curricula": [curriculum.state_dict() for curriculum in self._curricula], "start": self._start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the states until training starts."""
        self._restored = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attach the curricula: there are optimizers, their checkpoint is loaded, and nothing is trained yet."""
        optimizers = [innermost(optimizer) for optimizer in trainer.optimizers]
        if not optimizers:
            raise ValueError(f"{type(pl_module).__name__} has no optimizer, so there is no learning rate to change")
        restored, self._restored, self._why_not_traced = self._restored, {}, ""
        check_kind(restored, self._by_regime)
        if self._by_regime:
            self._attach(trainer, pl_module, optimizers, restored.get("attached", []))
            return
        states = restored.get("curricula", [])
        k = self._plan(trainer, pl_module, read_count(optimizers[0]) or 0, restored.get("start"))
        if self._epochs is not None:
            self._check_restored(k, states)
        self._curricula = tuple(LeRaC(o, pl_module, k=k, layers=self._layers, **self._options) for o in optimizers)
        for curriculum, state in zip(self._curricula, states, strict=bool(states)):
            curriculum.load_state_dict(state)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Find the layers on the first batch; see on every epoch's first one that it is as long as was planned.

        A regime hears of each batch here: `training_step` need not call the module itself.
        """
        if not self._why_not_traced and any(c.layers is None and not c.finished for c in self._curricula):
            self._find_layers(trainer, pl_module, batch, batch_idx)
        for attached in self._attached:
            attached.hear((batch,), {})
        if self._in_epochs and not math.isinf(trainer.num_training_batches):
            steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
            self._check_epoch(trainer.current_epoch, steps)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See that the epoch was as long as was planned."""
        taken, epoch = trainer.global_step, trainer.current_epoch
        if self._lengths is None:
            return
        if self._in_epochs and not trainer.should_stop and taken != trainer.max_steps:
            self._check_epoch(epoch, self._lengths.steps_in(epoch) + taken - self._due)
        self._due = taken + self._lengths.steps_in(epoch + 1)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Log the rates of this step, as `LearningRateMonitor` does: `log` would repeat them after the curriculum."""
        if not (trainer.loggers and trainer._logger_connector.should_update_logs):
            return
        index = [id(innermost(one)) for one in trainer.optimizers].index(id(innermost(optimizer)))
        prefix = f"lr/{index}/" if len(trainer.optimizers) > 1 else "lr/"
        if self._attached:
            rates = metrics(self._attached[index], prefix)
        else:
            rates = layer_rates(self._curricula[index], prefix) if self._curricula else {}
        if rates:
            for logger in trainer.loggers:
                logger.log_metrics(rates, step=trainer.fit_loop.epoch_loop._batches_that_stepped)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """If there are no layers after all, say why `training_step` did not give them."""
        if self._why_not_traced and any(curriculum.layers is None for curriculum in self._curricula):
            exception.add_note(
                f"Layers are looked for in {type(pl_module).__name__}.training_step first, but {self._why_not_traced}. "
                "LeRaCCallback(…, layers=…) takes them too"
            )

    @property
    def _in_epochs(self) -> bool:
        """Whether the length of epochs still decides what training does."""
        if self._by_regime:
            return any(map(is_in_epochs, self._attached))
        return self._epochs is not None and not all(one.finished for one in self._curricula)

    def _check_epoch(self, epoch: int, steps: int) -> None:
        asked = self._attached[0].regime if self._attached else self._epochs
        assert asked is not None
        assert self._lengths is not None
        check_epoch(asked, epoch, steps, self._lengths.steps_in(epoch))

    def _attach(
        self, trainer: Trainer, module: LightningModule, optimizers: list[Optimizer], states: Sequence[Any]
    ) -> None:
        """Attach the regime, and go on where a checkpoint was."""
        ahead, why = math.inf, "the training data has no length"
        if module.automatic_optimization:
            _, ahead = self._look_ahead(trainer)
        else:
            self._lengths, why = None, f"{type(module).__name__} optimises manually: only it knows how often it steps"
        for attached in self._attached:  # of an earlier fit()
            attached.remove()
        self._attached = ()
        found = [
            attach_regime(
                optimizer,
                module,
                self._regime,
                lengths=self._lengths,
                total=ahead + trainer.global_step,
                ahead=ahead,
                layers=self._layers,
                why=why,
            )
            for optimizer in optimizers
        ]
        self._attached = tuple(found)
        self._curricula = tuple(one.curriculum for one in found if one.curriculum is not None)
        for attached, state in zip(found, states, strict=bool(states)):
            attached.load_state_dict(state)

    def _look_ahead(self, trainer: Trainer) -> tuple[int, float]:
        """Give the optimizer steps until here and those ahead, which are infinite if nobody knows."""
        ahead = math.inf if trainer.max_steps == -1 else trainer.max_steps - trainer.global_step
        here, self._lengths = 0, _lengths(trainer)
        if self._lengths is not None:
            here = _position(trainer, self._lengths)
            epoch_end = self._lengths.steps_before(trainer.current_epoch + 1)
            self._due = trainer.global_step + epoch_end - here
            if trainer.max_epochs is not None and trainer.max_epochs != -1:
                ahead = min(ahead, self._lengths.steps_before(trainer.max_epochs) - here)
        return here, ahead

    def _plan(self, trainer: Trainer, module: LightningModule, taken: int, start: int | None) -> int:
        """Give k, if training has as many steps ahead; `taken` of it come with a checkpoint, maybe with its `start`."""
        if not module.automatic_optimization:
            if self._epochs is not None:
                raise ValueError(
                    f"epochs={self._epochs:g} cannot be converted: {type(module).__name__} optimises manually, and "
                    "only its training_step knows how often it steps. Pass k, in steps of each optimizer"
                )
            return steps_of(self._k, None, None)
        here, ahead = self._look_ahead(trainer)
        self._start = here - taken if start is None else start
        k = steps_of(self._k, self._epochs, self._lengths, self._start)
        check_fits(k, taken, ahead)
        return k

    def _check_restored(self, k: int, states: Sequence[Mapping[str, Any]]) -> None:
        for state in states:
            if state["k"] != k:
                raise ValueError(
                    f"the checkpoint's curriculum lasts {state['k']} optimizer steps, and epochs={self._epochs:g} are "
                    f"{k} in this training: its epochs have another length (batch size, accumulation, amount of data). "
                    f"Pass k={state['k']} to go on as was planned then"
                )

    def _find_layers(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        try:
            layers = [layer.as_dict() for layer in layers_of_training_step(trainer, module, batch, batch_idx)]
        except (RuntimeError, TypeError, ValueError) as error:
            self._why_not_traced = str(error)
            return
        for curriculum in self._curricula:
            if curriculum.layers is None:
                curriculum.load_state_dict(curriculum.state_dict() | {"layers": layers})


def _lengths(trainer: Trainer) -> Epochs | None:
    """Give the optimizer steps of each epoch; None if the data has no length."""
    batches = trainer.num_training_batches
    if math.isinf(batches):
        return None
    accumulated = [trainer.accumulate_grad_batches]
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, GradientAccumulationScheduler):
            until = max(callback.scheduling) + 1
            accumulated = [callback.get_accumulate_grad_batches(epoch) for epoch in range(until)]
    return Epochs([math.ceil(batches / count) for count in accumulated])


def _position(trainer: Trainer, lengths: Epochs) -> int:
    """Give the optimizer steps before this moment, had all epochs had these lengths.

    That is the trainer's own count, unless a checkpoint is of other epochs: then it is the beginning of this one.
    """
    epoch, taken = trainer.current_epoch, trainer.global_step
    begin = lengths.steps_before(epoch)
    return taken if begin <= taken <= begin + lengths.steps_in(epoch) else begin
