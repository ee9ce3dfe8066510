"""LeRaC for the trainers of Ultralytics (YOLO, RT-DETR): `attach(model, epochs=3)` before `model.train(…)`.

Ultralytics is under AGPL-3.0, and so is what you distribute or offer as a service with it. lerac, under Apache-2.0,
contains and imports none of it: this module only uses the callbacks of the model that you hand over. Its extra,
`pip install 'lerac[yolo]'`, is part of no other extra.
"""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from lerac.arguments import check_curve, check_k, check_ratio
from lerac.curriculum.lerac import LeRaC
from lerac.curriculum.optimizers import innermost
from lerac.curriculum.step_count import read_count, write
from lerac.curves import Curve
from lerac.integrations import check_fits, options_of, steps_of
from lerac.integrations.epochs import Epochs
from lerac.integrations.regime import attach_regime, by_regime
from lerac.integrations.ultralytics_trainer import layers_of, rates_of, steps_between
from lerac.layers import Layer, named_parameters
from lerac.regimes import attached as regimes
from lerac.regimes.choosing import chosen_regime
from lerac.regimes.record import REGIME
from lerac.regimes.text import Regime, parse_regime

__all__ = ["Attached", "attach"]

_logger = logging.getLogger("ultralytics")  # where the trainer writes, and its users read


def attach(
    model: Any,
    *,
    k: int | None = None,
    epochs: float | None = None,
    ratio: float | Mapping[str, float] | None = None,
    curve: str | Curve | None = None,
    layers: Sequence[Layer] | None = None,
    regime: str | None = None,
) -> "Attached":
    """Give every training of a `YOLO` (or `RTDETR`) model a Learning Rate Curriculum, or any regime, from here on.

    The trainer goes on as it is. Before each batch its warm-up sets the rate of each param group; inside
    `optimizer.step()` LeRaC multiplies whatever it finds there. Once per epoch `results.csv` and the trainer's loggers
    get the rate of every layer, `lr/<layer>`: that of its largest tensor in the next step.

    Checkpoints carry the curriculum: with `model = YOLO("last.pt")`, attach again with the same arguments, then
    `model.train(resume=True)`.

    Args:
        model: an `ultralytics.YOLO` or `RTDETR`, or one of the library's trainers.
        k: length in optimizer steps, at least 1. The trainer takes a step per `nbs / batch` batches, fewer in its
            warm-up.
        epochs: length in epochs of the trainer, above 0, fractions too; its accumulation of batches is accounted for.
        ratio: as in `lerac.LeRaC`.
        curve: as in `lerac.LeRaC`.
        layers: as in `lerac.LeRaC`. None finds them when training starts, from a blank image of the training size,
            which costs no memory; what only the loss or a distillation uses is placed next to its siblings.
        regime: instead of `k`, `epochs`, `ratio` and `curve`, as in `lerac.attach`: such as `"warmup(k=3)"`, k in
            epochs. None, and none of these: the regime of the running study, and outside of any nothing is changed.
            Each batch has to be an optimizer step, so pass `nbs=` the batch size to `model.train`: else the trainer
            accumulates batches, fewer in its warm-up, and no two epochs need to be equally long.

    Returns:
        A handle whose `curriculum` is that of the running or last training, and `attached` its regime.

    Raises:
        TypeError: if both `k` and `epochs` are given, or neither and still `ratio` or `curve`, or one of these and
            `regime`; or if `model` has no callbacks.
        ValueError: if an argument is out of range, or the regime smooths: the trainer validates and saves a moving
            average of the weights, in a copy of the model that nothing would smooth. When training starts, if the
            curriculum would outlast it, or batches are accumulated under a regime.
            With the trainer's `time=` nobody knows how long training lasts, so a `k` too large is not noticed and
            `epochs` is refused; and so it is where a training continues with a batch size of another. A training that
            stops early is told of in the log.
        RuntimeError: under a regime, if memory runs short and the trainer begins again with half the batch size.

    Examples:
        >>> from ultralytics import YOLO                                    # doctest: +SKIP
        >>> model = YOLO("yolov8n.yaml")                                    # doctest: +SKIP
        >>> lerac.integrations.ultralytics.attach(model, epochs=5)          # doctest: +SKIP
        >>> model.train(data="coco8.yaml", epochs=100)                      # doctest: +SKIP
    """
    if not callable(getattr(model, "add_callback", None)):
        raise TypeError(
            f"model must be a model or a trainer of Ultralytics, such as YOLO('yolov8n.yaml'), got "
            f"{type(model).__name__}; for a plain torch.nn.Module and your own loop use lerac.LeRaC"
        )
    attached: Attached
    if by_regime(regime, k, epochs, ratio=ratio, curve=curve):
        if regime is not None:
            _check_not_smoothed(parse_regime(regime))
        attached = _ByRegime(regime, layers)
    else:
        options = options_of(ratio, curve)
        check_ratio(options.get("ratio", 1.0))
        check_curve(options.get("curve", "exponential"))
        attached = Attached(None if k is None else check_k(k), epochs, options, layers)
    model.add_callback("on_train_start", attached.on_train_start)
    model.add_callback("on_train_epoch_start", attached.on_train_epoch_start)
    model.add_callback("on_train_epoch_end", attached.on_train_epoch_end)
    model.add_callback("on_train_end", attached.on_train_end)
    return attached


class Attached:
    """The callbacks of one `attach`.

    Several GPUs train in processes of their own: the callbacks travel there and each process has its curriculum, but
    this object, in the process that started them, sees none.
    """

    def __init__(
        self, k: int | None, epochs: float | None, options: dict[str, Any], layers: Sequence[Layer] | None
    ) -> None:
        self._k = k
        self._epochs = epochs
        self._options = options
        self._layers = layers
        self._curriculum: LeRaC | None = None
        self._taken = 0  # steps of it that a checkpoint brought along
        self._batch_size = 0
        self._attached: regimes.Attached | None = None

    @property
    def curriculum(self) -> LeRaC | None:
        """That of the running or last training; None before the first."""
        return self._curriculum

    @property
    def attached(self) -> "regimes.Attached | None":
        """The regime of the running or last training, as `lerac.attach` gives it; None without one."""
        return self._attached

    def on_train_start(self, trainer: Any) -> None:
        """Build the curriculum: the optimizer is there, its checkpoint is loaded, and nothing is trained yet."""
        self._taken = read_count(trainer.optimizer) or 0
        self._build(trainer, self._layers if self._layers is not None else layers_of(trainer))

    def on_train_epoch_start(self, trainer: Any) -> None:
        """Begin again with the trainer, which does so with half the batch size when memory is short."""
        if self._curriculum is not None and trainer.batch_size != self._batch_size:
            layers = self._curriculum.layers
            assert layers is not None
            self._curriculum.remove()
            write(trainer.optimizer, self._taken, None)
            self._build(trainer, layers)

    def _build(self, trainer: Any, layers: Sequence[Layer]) -> None:
        k, ahead = self._duration(trainer)
        check_fits(k, self._taken, ahead)
        self._batch_size = trainer.batch_size
        self._curriculum = LeRaC(trainer.optimizer, trainer.model, k=k, layers=layers, **self._options)
        _logger.info(f"LeRaC: a curriculum of {k} optimizer steps over {len(layers)} layers")

    def on_train_epoch_end(self, trainer: Any) -> None:
        """Add the rates to those that the trainer is about to write down."""
        if self._curriculum is not None:
            trainer.lr.update(rates_of(self._curriculum, named_parameters(trainer.model)))

    def on_train_end(self, trainer: Any) -> None:
        """Say so if training stopped before the curriculum was over."""
        curriculum = self._curriculum
        if curriculum is not None and not curriculum.finished and not math.isinf(curriculum.k):
            _logger.warning(
                f"LeRaC: training stopped after {curriculum.steps} of the {curriculum.k} optimizer steps of the "
                "curriculum, so layers near the output never reached their full rate: make the curriculum shorter, or "
                "the trainer's patience or time longer"
            )

    def _duration(self, trainer: Any) -> tuple[int, float]:
        """Give k and the optimizer steps that training has ahead."""
        if trainer.args.time:
            if self._k is None:
                raise ValueError(
                    f"epochs={self._epochs:g} cannot be converted: training lasts for time={trainer.args.time:g} "
                    "hours, so nobody knows how many optimizer steps that is. Pass k, in optimizer steps"
                )
            return self._k, math.inf
        batches = len(trainer.train_loader)
        first = batches * trainer.start_epoch
        ahead = steps_between(trainer, first, batches * trainer.epochs)
        if self._epochs is None:
            return steps_of(self._k, None, None), ahead
        wanted = round(self._epochs * batches)
        if wanted > batches * trainer.epochs:
            raise ValueError(
                f"the curriculum lasts {self._epochs:g} epochs, and training only {trainer.epochs}, so its layers "
                "would never all reach their full rate: make the curriculum shorter or training longer"
            )
        k = max(1, steps_between(trainer, 0, wanted))
        if self._taken < k:
            self._check_past(trainer, batches)
        return k, ahead

    def _check_past(self, trainer: Any, batches: int) -> None:
        """See that the steps of a checkpoint are those of epochs of this length, from whichever it began in."""
        until = trainer.start_epoch
        possible = [steps_between(trainer, batches * epoch, batches * until) for epoch in range(until + 1)]
        # Mixed precision skips some steps, and each continuation takes its first one early.
        tolerated = until + steps_between(trainer, batches * until, batches * (until + 1)) // 8
        if min(abs(self._taken - steps) for steps in possible) > tolerated:
            raise ValueError(
                f"epochs={self._epochs:g} cannot be converted: the checkpoint has {self._taken} optimizer steps of the "
                f"curriculum, and {until} epochs of this training are {possible[0]}, so they had another length "
                "(batch, nbs). Pass k, in optimizer steps"
            )


class _ByRegime(Attached):
    """The callbacks of an `attach` by a regime."""

    def __init__(self, regime: str | None, layers: Sequence[Layer] | None) -> None:
        super().__init__(None, None, {}, layers)
        self._regime = regime

    def on_train_start(self, trainer: Any) -> None:
        """Attach the regime: the optimizer is there, its checkpoint is loaded, and nothing is trained yet."""
        regime = chosen_regime(self._regime, innermost(trainer.optimizer))
        _check_not_smoothed(regime)
        lengths, total, why = None, math.inf, ""
        batches, args = len(trainer.train_loader), trainer.args
        if args.time:
            why = f"training lasts for time={args.time:g} hours, whatever epochs that is: pass epochs to the trainer"
        elif trainer.accumulate > 1:
            why = (
                f"the trainer takes a step for {trainer.accumulate} batches, fewer in its warm-up, so its epochs have "
                f"different numbers of optimizer steps: pass nbs={trainer.batch_size}, the batch size, to the trainer"
            )
        else:
            lengths = Epochs([batches])
            if not 0 < args.patience < trainer.epochs:  # else it may stop early
                total = batches * trainer.epochs
        if self._attached is not None:
            self._attached.remove()
        self._batch_size = trainer.batch_size
        self._attached = attach_regime(
            trainer.optimizer,
            trainer.model,
            self._regime,
            lengths=lengths,
            total=total,
            ahead=math.inf if lengths is None else batches * (trainer.epochs - trainer.start_epoch),
            layers=self._layers_for(regime, trainer),
            why=why,
        )
        self._curriculum = self._attached.curriculum

    def on_train_epoch_start(self, trainer: Any) -> None:
        """Go no further if the trainer has begun again with half the batch size."""
        assert self._attached is not None
        acting = self._attached.regime != "conventional" or os.environ.get(REGIME)
        if acting and trainer.batch_size != self._batch_size:
            raise RuntimeError(
                f"regime {self._attached.regime!r} cannot be kept: memory ran short, and the trainer has begun again "
                f"with a batch of {trainer.batch_size} in place of {self._batch_size}, so that its epochs have other "
                f"numbers of optimizer steps. Train with batch={trainer.batch_size} and nbs={trainer.batch_size}"
            )

    def _layers_for(self, regime: Regime, trainer: Any) -> Sequence[Layer] | None:
        by_itself = regime.name in ("conventional", "warmup") or regime.options.get("depth") == "registered"
        return self._layers if self._layers is not None or by_itself else layers_of(trainer)


def _check_not_smoothed(regime: Regime) -> None:
    if regime.name.startswith("cbs"):
        raise ValueError(
            f"regime {str(regime)!r} smooths the model that is trained, and the trainer validates and saves a moving "
            "average of its weights, in a copy of the model that is not smoothed: what it measures would be another "
            "network. Leave cbs out, or smooth in a loop of your own with lerac.attach"
        )
