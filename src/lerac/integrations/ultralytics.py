"""LeRaC for the trainers of Ultralytics (YOLO, RT-DETR): `attach(model, epochs=3)` before `model.train(…)`.

Ultralytics is under AGPL-3.0, and so is what you distribute or offer as a service with it. lerac, under Apache-2.0,
contains and imports none of it: this module only uses the callbacks of the model that you hand over. Its extra,
`pip install 'lerac[yolo]'`, is part of no other extra.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lerac.arguments import check_curve, check_k, check_ratio
from lerac.curriculum.lerac import LeRaC
from lerac.curriculum.step_count import read_count, write
from lerac.curves import Curve
from lerac.depth import find_layers
from lerac.integrations import check_duration, check_fits, steps_of
from lerac.layers import Layer, named_parameters

__all__ = ["Attached", "attach"]

_logger = logging.getLogger("ultralytics")  # where the trainer writes, and its users read


def attach(
    model: Any,
    *,
    k: int | None = None,
    epochs: float | None = None,
    ratio: float | Mapping[str, float] = 1e-6,
    curve: str | Curve = "exponential",
    layers: Sequence[Layer] | None = None,
) -> "Attached":
    """Give every training of a `YOLO` (or `RTDETR`) model a Learning Rate Curriculum from here on.

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

    Returns:
        A handle whose `curriculum` is that of the running or last training.

    Raises:
        TypeError: unless exactly one of `k` and `epochs` is given, or if `model` has no callbacks.
        ValueError: if an argument is out of range; or, when training starts, if the curriculum would outlast it.
            With the trainer's `time=` nobody knows how long training lasts, so a `k` too large is not noticed and
            `epochs` is refused; and so it is where a training continues with a batch size of another. A training that
            stops early is told of in the log.

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
    check_duration(k, epochs)
    if k is not None:
        check_k(k)
    check_ratio(ratio)
    check_curve(curve)
    attached = Attached(k, epochs, {"ratio": ratio, "curve": curve}, layers)
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

    @property
    def curriculum(self) -> LeRaC | None:
        """That of the running or last training; None before the first."""
        return self._curriculum

    def on_train_start(self, trainer: Any) -> None:
        """Build the curriculum: the optimizer is there, its checkpoint is loaded, and nothing is trained yet."""
        self._taken = read_count(trainer.optimizer) or 0
        self._build(trainer, self._layers if self._layers is not None else _find_layers(trainer))

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
            trainer.lr.update(_rates(self._curriculum, named_parameters(trainer.model)))

    def on_train_end(self, trainer: Any) -> None:
        """Say so if training stopped before the curriculum was over."""
        curriculum = self._curriculum
        if curriculum is not None and not curriculum.finished:
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
        ahead = _steps(trainer, first, batches * trainer.epochs)
        if self._epochs is None:
            return steps_of(self._k, None, None), ahead
        wanted = round(self._epochs * batches)
        if wanted > batches * trainer.epochs:
            raise ValueError(
                f"the curriculum lasts {self._epochs:g} epochs, and training only {trainer.epochs}, so its layers "
                "would never all reach their full rate: make the curriculum shorter or training longer"
            )
        k = max(1, _steps(trainer, 0, wanted))
        if self._taken < k:
            self._check_past(trainer, batches)
        return k, ahead

    def _check_past(self, trainer: Any, batches: int) -> None:
        """See that the steps of a checkpoint are those of epochs of this length, from whichever it began in."""
        until = trainer.start_epoch
        possible = [_steps(trainer, batches * epoch, batches * until) for epoch in range(until + 1)]
        # Mixed precision skips some steps, and each continuation takes its first one early.
        tolerated = until + _steps(trainer, batches * until, batches * (until + 1)) // 8
        if min(abs(self._taken - steps) for steps in possible) > tolerated:
            raise ValueError(
                f"epochs={self._epochs:g} cannot be converted: the checkpoint has {self._taken} optimizer steps of the "
                f"curriculum, and {until} epochs of this training are {possible[0]}, so they had another length "
                "(batch, nbs). Pass k, in optimizer steps"
            )


def _steps(trainer: Any, first: int, until: int) -> int:
    """Count the optimizer steps of the batches numbered `first` to `until` − 1, over all epochs, by the trainer's rule.

    It steps when `accumulate` batches have passed since the last step, and during the warm-up lets that number grow
    from 1 to the nominal one, which it has until the first batch.
    """
    nominal = trainer.accumulate
    warmup = trainer._get_warmup_iterations(len(trainer.train_loader))
    accumulate, last, steps = nominal, -1, 0
    for batch in range(first, until):
        if warmup and batch <= warmup:
            accumulate = max(1, round(1 + (nominal - 1) / warmup * batch))
        if batch - last >= accumulate:
            steps += 1
            last = batch
    return steps


def _find_layers(trainer: Any) -> tuple[Layer, ...]:
    """Find the layers from a blank image on fake tensors.

    The trainer itself calls the model with a whole batch as a dict and gets the loss, which asks for values: following
    that takes a real copy of model and batch, in the very moment when memory is full, for the same depths.
    """
    device = next(trainer.model.parameters()).device
    size, channels = trainer.args.imgsz, trainer.data.get("channels", 3)
    image = torch.empty(1, channels, *([size] * 2 if isinstance(size, int) else size), device=device)
    try:
        return find_layers(trainer.model, image)
    except (TypeError, ValueError) as error:
        error.add_note("If this model takes more than an image, find its layers yourself: attach(…, layers=…)")
        raise


def _rates(curriculum: LeRaC, parameters: Mapping[str, nn.Parameter]) -> dict[str, float]:
    """Give the rate of each layer's largest tensor in the next step, by names that every logger takes."""
    rates = curriculum.lrs()
    shown: dict[str, float] = {}
    for layer in curriculum.layers or ():
        if own := [name for name in layer.parameters if name in rates]:
            largest = max(own, key=lambda name: parameters[name].numel())
            shown[f"lr/{layer.name.replace('…', '-')}"] = rates[largest]
    return shown
