"""One run: a network trained by one regime from one seed, an epoch at a time."""

import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast, gather_object, send_to_device  # type: ignore[import-untyped]
from torch import Tensor, nn

import lerac
from lerac.regimes.drawing import derive
from lerac.study.data import DATASETS
from lerac.study.data.loading import in_order, load_batches
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import Split, Splits
from lerac.study.plan.rates import Seen, build_network
from lerac.study.plan.study import Run
from lerac.study.seeds import seed_everything
from lerac.study.training.accelerator import build_accelerator, compiled
from lerac.study.training.epochs import EpochRecord
from lerac.study.training.judging import JUDGES
from lerac.study.training.measured import Measured
from lerac.study.training.optimizing import SharedRate, layer_rates, start_curriculum, start_optimizer, start_rates
from lerac.study.training.order import EpochOrder
from lerac.study.training.trackers import Trackers

__all__ = ["EpochOrder", "Measured", "Training", "build"]


def build(run: Run) -> tuple[Splits, nn.Module]:
    """Give data and network of a run; of all regimes of one seed they are the same, bit for bit."""
    data = DATASETS[run.settings["dataset"]].load(DataSettings(**run.settings["data"]), run.seed)
    seed_everything(derive(run.seed, "weights"))
    inputs = data.train.example() if run.where else None
    seen = Seen(data.channels, data.vocabulary, data.classes, inputs)
    return data, build_network(run.settings, run.where, seen)


class Training:
    """Trains a run, epoch by epoch; between two epochs it can be saved and continued without any difference.

    Where several processes train a run together, each has one of these, and all must call the same methods: their
    weights, histories and measurements are the same. Nothing here writes but trackers, in the main process.

    Args:
        run: what to train.
        logs: where trackers write, if any are asked for; None: no tracker is used.

    Attributes:
        network: as it is now; never wrapped or compiled.
        rates: what it does to the learning rates, step by step.

    Examples:
        >>> training = Training(run)                                    # doctest: +SKIP
        >>> while not training.over:                                    # doctest: +SKIP
        ...     training.run_epoch()
        >>> training.test().score                                       # doctest: +SKIP
    """

    def __init__(self, run: Run, logs: Path | None = None) -> None:
        self.run = run
        self.metric = run.metric
        self.history: list[dict[str, Any]] = []
        self.best_epoch: int | None = None
        self.diverged_at: int | None = None
        self.seconds = 0.0
        self._best_weights: dict[str, Tensor] = {}
        self._best_smoothing: dict[str, Any] | None = None
        self._accelerator = build_accelerator(run, logs)
        self._data, self.network = build(run)
        self._judge = JUDGES[self._data.task]
        optimizer = start_optimizer(run, self.network)
        self.rates = start_rates(run, self.network, self._data.train.example())
        self._curriculum = start_curriculum(self.rates, self.network, optimizer)
        self._smoothing = lerac.CBS(self.network, **asdict(run.smoothing)) if run.smoothing else None
        self._rate = SharedRate(run, self.rates, optimizer)
        self._order = self._start_order()
        self._parts = self._order.parts()
        self._loader = load_batches(self._data.train, self._order)
        # What is trained shares all weights with the network itself, which is measured and saved.
        self._trained = self._accelerator.prepare(self.network)
        # Only loss scaling needs Accelerate's wrapper, whose step looks for a package on the disk every time.
        scaled = self._accelerator.scaler is not None
        self._optimizer = self._accelerator.prepare(optimizer) if scaled else optimizer
        if run.settings["training"].get("compile"):
            self._trained = compiled(self._trained)
        self._trackers = Trackers(self._accelerator, run)

    @property
    def over(self) -> bool:
        """Whether nothing is left to train: all epochs, or as many as early stopping waits without a better loss."""
        length, done = self.run.settings["training"], len(self.history)
        if self.diverged_at is not None or done == length["epochs"]:
            return True
        patience, losses = length.get("early_stopping"), [entry["validation_loss"] for entry in self.history]
        return patience is not None and done > patience and done - 1 - losses.index(min(losses)) >= patience

    @property
    def steps(self) -> int:
        """Optimizer steps taken; of a diverged run, up to the first loss that is not finite.

        A step that loss scaling has skipped, because a gradient overflowed, is none.
        """
        return self.diverged_at if self.diverged_at is not None else self._rate.steps

    def run_epoch(self) -> None:
        """Train one epoch, measure on the validation split, and remember the network if it is the best yet.

        An entry of the history has `seconds`, what training and validation have taken since the first epoch began, and
        with smoothing the `sigma` that the epoch ended and was validated with. A loss that is not finite ends the
        run: `diverged_at` is then the optimizer step (from 0) that had it.
        """
        began = time.perf_counter()
        epoch = len(self.history)
        if self._trackers.active:
            self._trackers.rates(self._rate.steps, layer_rates(self._rate, self._curriculum))
        record = self._train(epoch)
        self.diverged_at = record.broken_at
        if self.diverged_at is None:
            self._validate(epoch, record)
        self.seconds += time.perf_counter() - began
        if len(self.history) > epoch:
            self.history[epoch]["seconds"] = round(self.seconds, 3)
        if self._trackers.active:
            self._tell(record, epoch)

    def test(self) -> Measured:
        """Measure on the test split with weights and smoothing of the best validation epoch; the end of the run.

        Raises:
            RuntimeError: if training is not over, or diverged.
        """
        if not self.over or self.diverged_at is not None:
            raise RuntimeError("test() ends a training that reached its last epoch")
        self.network.load_state_dict(self._best_weights)
        if self._smoothing and self._best_smoothing:
            self._smoothing.load_state_dict(self._best_smoothing)
        measured = self.measure(self._data.test)
        self._trackers.test(self.steps, {"loss": measured.loss, self.metric.name: measured.score, **measured.others})
        return measured

    @property
    def test_split(self) -> Split:
        """The examples that `test` measures on."""
        return self._data.test

    def measure(self, split: Split) -> Measured:
        """Measure the network as it is now, in evaluation mode; several processes share the examples out."""
        self.network.eval()
        together = self._judge.together * self.run.settings["training"]["batch_size"]
        batches = in_order(split, min(512, together))
        with torch.inference_mode():
            return self._judge.measure(self.network, self._outputs(split, batches), split)

    def state_dict(self) -> dict[str, Any]:
        """Give all that the rest of the training depends on, as tensors and plain types."""
        scaler = self._accelerator.scaler
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            **self._rate.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "curriculum": self._curriculum.state_dict() if self._curriculum else None,
            "smoothing": self._smoothing.state_dict() if self._smoothing else None,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_weights": self._best_weights,
            "best_smoothing": self._best_smoothing,
            "diverged_at": self.diverged_at,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._rate.load_state_dict(state)
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        if self._curriculum is not None:
            self._curriculum.load_state_dict(state["curriculum"])
        if self._smoothing is not None:
            self._smoothing.load_state_dict(state["smoothing"])
        self.history = state["history"]
        self.best_epoch, self._best_weights = state["best_epoch"], state["best_weights"]
        self._best_smoothing = state["best_smoothing"]
        self.diverged_at, self.seconds = state["diverged_at"], state["seconds"]

    def _start_order(self) -> EpochOrder:
        length = self.run.settings["training"]
        return EpochOrder(
            len(self._data.train),
            length["batch_size"],
            self.run.seed,
            drop_last=bool(length.get("drop_last")),
            accumulate=length.get("accumulate", 1),
            process=self._accelerator.process_index,
            processes=self._accelerator.num_processes,
        )

    def _train(self, epoch: int) -> EpochRecord:
        """Train an epoch; give losses and scores of its batches, as they were when trained."""
        process = self._accelerator.process_index
        own = (process,) if process else ()  # other processes have other dropout than the first
        seed_everything(derive(self.run.seed, "epoch", epoch, *own))
        self._order.epoch = epoch
        self._data.train.begin_epoch(epoch)
        self._trained.train()
        device, record = self._accelerator.device, EpochRecord()
        for batch, part in zip(self._loader, self._parts, strict=True):
            inputs, labels = send_to_device(batch, device)
            if part.begins_step:
                self._begin_step()
            with nullcontext() if part.ends_step else self._accelerator.no_sync(self._trained):
                outputs = self._trained(inputs)
                loss = self._judge.loss(self.network, outputs, labels)
                self._accelerator.backward(loss if part.weight == 1 else loss * part.weight)
            with torch.no_grad():
                record.add(loss.detach(), self._judge.total_score(outputs, labels), part, self._rate.steps)
            if part.ends_step:
                self._end_step()
        self._share_buffers()
        record.close()
        return record

    def _outputs(self, split: Split, batches: list[list[int]]) -> Iterable[tuple[Any, Any]]:
        """Give outputs and labels of all examples, batch by batch, in every process those of all processes."""
        process, processes = self._accelerator.process_index, self._accelerator.num_processes
        if processes == 1:
            return self._own_outputs(split, batches)
        own = batches[len(batches) * process // processes : len(batches) * (process + 1) // processes]
        gathered = gather_object([send_to_device(one, "cpu") for one in self._own_outputs(split, own)])
        return (send_to_device(one, self._accelerator.device) for one in gathered)

    def _own_outputs(self, split: Split, batches: list[list[int]]) -> Iterator[tuple[Any, Any]]:
        for batch in load_batches(split, batches):
            inputs, labels = send_to_device(batch, self._accelerator.device)
            yield self.network(inputs), labels

    def _begin_step(self) -> None:
        # CBS counts a finished step only when the next one begins, so that validation has the epoch's σ.
        if self._smoothing and self._smoothing.steps < self._rate.steps:
            self._smoothing.step()
        self._optimizer.zero_grad()

    def _end_step(self) -> None:
        norm = self.run.settings["training"].get("clip_norm")
        if norm is not None:
            self._accelerator.clip_grad_norm_(self.network.parameters(), norm)
        self._optimizer.step()
        if not self._accelerator.optimizer_step_was_skipped:
            self._rate.step()

    def _share_buffers(self) -> None:
        """Give all processes the batch statistics of the first, which it would give them at the next forward pass."""
        if self._accelerator.num_processes > 1:
            for buffer in self.network.buffers():
                buffer.copy_(broadcast(buffer))

    def _validate(self, epoch: int, record: EpochRecord) -> None:
        name = self.metric.name
        validation = self.measure(self._data.validation)
        if not torch.isfinite(torch.tensor(validation.loss)):
            self.diverged_at = self._rate.steps
            return
        best = self.best_epoch
        if best is None or self.metric.better(validation.score, self.history[best][f"validation_{name}"]):
            self.best_epoch, self._best_weights = epoch, _copied(self.network)
            self._best_smoothing = self._smoothing.state_dict() if self._smoothing else None
        self.history.append(
            {
                "epoch": epoch,
                "steps": self._rate.steps,
                "train_loss": record.loss,
                **({} if record.score is None else {f"train_{name}": record.score}),
                "validation_loss": validation.loss,
                f"validation_{name}": validation.score,
                **{f"validation_{other}": value for other, value in validation.others.items()},
                **({"sigma": self._smoothing.sigma} if self._smoothing else {}),
            }
        )
        self._rate.hear(validation.loss)

    def _tell(self, record: EpochRecord, epoch: int) -> None:
        """Tell the trackers of an epoch."""
        self._trackers.losses(record.step_losses())
        if len(self.history) > epoch:
            self._trackers.epoch(self.history[epoch])
        if self.diverged_at is not None or (self.run.tuning and self.over):  # nothing is tested
            self._trackers.finish()


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
