"""One run: a network trained by one regime from one seed, an epoch at a time."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import accelerate  # type: ignore[import-untyped]
import torch
from accelerate.utils import send_to_device  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

import lerac
from lerac.study.data import DATASETS, Split, Splits
from lerac.study.data.loading import in_order, load_batches
from lerac.study.judging import Measured, judge, loss_of, total_score
from lerac.study.metrics import metric_of
from lerac.study.models import MODELS
from lerac.study.order import EpochOrder
from lerac.study.plan import Run, steps_per_epoch
from lerac.study.plateau import Plateau
from lerac.study.rates import base_schedule, curriculum_layers, curve_of, layer_ratios, warmup_factor
from lerac.study.seeds import derive, seed_everything

__all__ = ["EpochOrder", "Measured", "Training", "build"]

MEASURED_TOGETHER = 8  # times as many examples as are trained on together: without gradients there is room

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
}


def build(run: Run) -> tuple[Splits, nn.Module]:
    """Give data and network of a run; of all regimes of one seed they are the same, bit for bit."""
    data = DATASETS[run.settings["dataset"]].load(run.seed, **run.settings["data"])
    seed_everything(derive(run.seed, "weights"))
    network = MODELS[run.settings["model"]](data.channels or data.vocabulary, data.classes, **run.settings["network"])
    return data, network


class Training:
    """Trains a run, epoch by epoch; between two epochs it can be saved and continued without any difference.

    Args:
        run: what to train.

    Examples:
        >>> training = Training(run)                                    # doctest: +SKIP
        >>> while not training.over:                                    # doctest: +SKIP
        ...     training.run_epoch()
        >>> training.test().score                                       # doctest: +SKIP
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.metric = metric_of(run.settings["dataset"])
        self.history: list[dict[str, Any]] = []
        self.best_epoch: int | None = None
        self.diverged_at: int | None = None
        self.seconds = 0.0
        self._best_weights: dict[str, Tensor] = {}
        self._best_smoothing: dict[str, Any] | None = None
        self._accelerator = _accelerator(run)
        self._data, network = build(run)
        settings = run.settings
        options = {k: v for k, v in settings["optimizer"].items() if k != "name" and v is not None}
        optimizer = OPTIMIZERS[settings["optimizer"]["name"]](network.parameters(), **options)
        self._curriculum = self._start_curriculum(network, optimizer)
        self._smoothing = lerac.CBS(network, **asdict(run.smoothing)) if run.smoothing else None
        self._plateau = self._start_plateau()
        scheduler = self._full_rates = LambdaLR(optimizer, self._factor())
        length = settings["training"]
        dropped = bool(length.get("drop_last"))
        self._order = EpochOrder(len(self._data.train), length["batch_size"], run.seed, drop_last=dropped)
        loader = load_batches(self._data.train, self._order)
        prepare = self._accelerator.prepare
        self._network, self._optimizer, self._scheduler, self._loader = prepare(network, optimizer, scheduler, loader)

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
        """Optimizer steps of all finished epochs; of a diverged run, up to the first loss that is not finite."""
        return self.diverged_at if self.diverged_at is not None else len(self.history) * len(self._order)

    def run_epoch(self) -> None:
        """Train one epoch, measure on the validation split, and remember the network if it is the best yet.

        An entry of the history has `seconds`, what training and validation have taken since the first epoch began, and
        with smoothing the `sigma` that the epoch ended and was validated with. A loss that is not finite ends the
        run: `diverged_at` is then the step (from 0) that had it.
        """
        began = time.perf_counter()
        epoch = len(self.history)
        train_loss, train_score = self._train(epoch)
        name = self.metric.name
        if self.diverged_at is None:
            validation = self.measure(self._data.validation)
            if torch.isfinite(torch.tensor(validation.loss)):
                best = self.best_epoch
                if best is None or self.metric.better(validation.score, self.history[best][f"validation_{name}"]):
                    self.best_epoch, self._best_weights = epoch, _copied(self._plain_network())
                    self._best_smoothing = self._smoothing.state_dict() if self._smoothing else None
                self.history.append(
                    {
                        "epoch": epoch,
                        "steps": (epoch + 1) * len(self._order),
                        "train_loss": train_loss,
                        f"train_{name}": train_score,
                        "validation_loss": validation.loss,
                        f"validation_{name}": validation.score,
                        **({"sigma": self._smoothing.sigma} if self._smoothing else {}),
                    }
                )
                self._follow_plateau(validation.loss)
            else:
                self.diverged_at = (epoch + 1) * len(self._order)
        self.seconds += time.perf_counter() - began
        if len(self.history) > epoch:
            self.history[epoch]["seconds"] = round(self.seconds, 3)

    def test(self) -> Measured:
        """Measure on the test split with weights and smoothing of the best validation epoch; the end of the run.

        Raises:
            RuntimeError: if training is not over, or diverged.
        """
        if not self.over or self.diverged_at is not None:
            raise RuntimeError("test() ends a training that reached its last epoch")
        self._plain_network().load_state_dict(self._best_weights)
        if self._smoothing and self._best_smoothing:
            self._smoothing.load_state_dict(self._best_smoothing)
        return self.measure(self._data.test)

    @property
    def test_split(self) -> Split:
        """The examples that `test` measures on."""
        return self._data.test

    def measure(self, split: Split) -> Measured:
        """Measure the network as it is now, in evaluation mode."""
        self._network.eval()
        outputs = []
        with torch.inference_mode():
            together = MEASURED_TOGETHER * self.run.settings["training"]["batch_size"]
            for inputs, _ in load_batches(split, in_order(split, min(512, together))):
                outputs.append(self._network(send_to_device(inputs, self._accelerator.device)).float().cpu())
        return judge(self._data.task, torch.cat(outputs), split.labels)

    def state_dict(self) -> dict[str, Any]:
        """Give all that the rest of the training depends on, as tensors and plain types."""
        return {
            "network": self._plain_network().state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict(),
            "curriculum": self._curriculum.state_dict() if self._curriculum else None,
            "smoothing": self._smoothing.state_dict() if self._smoothing else None,
            "plateau": self._plateau.state_dict() if self._plateau else None,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_weights": self._best_weights,
            "best_smoothing": self._best_smoothing,
            "diverged_at": self.diverged_at,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._plain_network().load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
        if self._curriculum is not None:
            self._curriculum.load_state_dict(state["curriculum"])
        if self._smoothing is not None:
            self._smoothing.load_state_dict(state["smoothing"])
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])
        self.history = state["history"]
        self.best_epoch, self._best_weights = state["best_epoch"], state["best_weights"]
        self._best_smoothing = state["best_smoothing"]
        self.diverged_at, self.seconds = state["diverged_at"], state["seconds"]

    def _start_curriculum(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> "lerac.LeRaC | None":
        curriculum = self.run.curriculum
        if curriculum is None or curriculum.kind != "lerac":
            return None
        layers = curriculum_layers(network, self._data.train.example(), curriculum)
        ratios = layer_ratios(layers, curriculum, self.run.seed)
        curve = curve_of(curriculum)
        return lerac.LeRaC(optimizer, network, k=curriculum.k, ratio=ratios, curve=curve, layers=layers)

    def _start_plateau(self) -> Plateau | None:
        schedule = self.run.settings["schedule"]
        return Plateau(schedule["divide_by"], schedule["patience"]) if schedule["name"] == "plateau" else None

    def _factor(self) -> Callable[[int], float]:
        """Give the factor on all learning rates at a step, from 0."""
        settings, plateau, warmup = self.run.settings, self._plateau, warmup_factor(self.run.curriculum)
        lr, epochs = settings["optimizer"]["lr"], settings["training"]["epochs"]
        base = base_schedule(settings["schedule"], lr=lr, epochs=epochs, per_epoch=steps_per_epoch(settings))
        if plateau is None:
            return lambda step: base(step) * warmup(step)
        return lambda step: plateau.factor * warmup(step)

    def _follow_plateau(self, loss: float) -> None:
        """Hand the validation loss of an epoch to the plateau; the rates of the next step have been set before it."""
        if self._plateau is None or not self._plateau.step(loss):
            return
        rates = self._full_rates
        for group, full, factor in zip(rates.optimizer.param_groups, rates.base_lrs, rates.lr_lambdas, strict=True):
            group["lr"] = full * factor(rates.last_epoch)

    def _train(self, epoch: int) -> tuple[float, float]:
        """Train an epoch; give the mean loss and the score of its batches, as they were when trained."""
        seed_everything(derive(self.run.seed, "epoch", epoch))
        self._order.epoch = epoch
        self._data.train.begin_epoch(epoch)
        self._network.train()
        losses, scores, sizes = [], [], []
        for batch, (inputs, labels) in enumerate(self._loader):
            if self._smoothing and epoch + batch > 0:  # counts finished steps, so that validation has the epoch's σ
                self._smoothing.step()
            self._optimizer.zero_grad()
            outputs = self._network(inputs)
            loss = loss_of(self._data.task, outputs, labels)
            self._accelerator.backward(loss)
            self._optimizer.step()
            self._scheduler.step()
            losses.append(loss.detach())
            scores.append(total_score(self._data.task, outputs.detach(), labels))
            sizes.append(len(labels))
        # Looked at once per epoch: asking for every loss would make an accelerator wait at every step.
        each = torch.stack(losses).double().cpu()
        if len(broken := (~each.isfinite()).nonzero()):
            self.diverged_at = epoch * len(self._order) + int(broken[0])
        weights = torch.tensor(sizes, dtype=torch.float64)
        return float((each * weights).sum() / weights.sum()), torch.stack(scores).sum().item() / sum(sizes)

    def _plain_network(self) -> nn.Module:
        network: nn.Module = self._accelerator.unwrap_model(self._network)
        return network


def _accelerator(run: Run) -> accelerate.Accelerator:
    torch.set_num_threads(run.threads)
    os.environ.pop("ACCELERATE_TORCH_DEVICE", None)
    # Said in full, because Accelerate takes what is not said from the environment, which no configuration records.
    exact: dict[str, Any] = {
        "mixed_precision": "no",
        "gradient_accumulation_plugin": accelerate.utils.GradientAccumulationPlugin(num_steps=1),
    }
    if run.device == "cpu":
        return accelerate.Accelerator(cpu=True, **exact)
    os.environ["ACCELERATE_TORCH_DEVICE"] = run.device
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic cuBLAS asks for
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    return accelerate.Accelerator(**exact)


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
