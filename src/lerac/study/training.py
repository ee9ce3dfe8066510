"""One run: a network trained by one regime from one seed, an epoch at a time."""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import accelerate  # type: ignore[import-untyped]
import torch
from accelerate.utils import send_to_device  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler

import lerac
from lerac import find_layers
from lerac.study.data import DATASETS, Split, Splits
from lerac.study.data.loading import in_order, load_batches
from lerac.study.models import MODELS
from lerac.study.plan import Run, steps_per_epoch
from lerac.study.rates import base_schedule, curve_of, layer_ratios, warmup_factor
from lerac.study.seeds import derive, seed_everything

__all__ = ["Measured", "Training", "build"]

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
}


@dataclass(frozen=True)
class Measured:
    """How a network does on a split.

    Args:
        loss: mean cross-entropy in nats.
        accuracy: share of examples classified as labelled, in [0, 1].
        predicted: (n,) int64, the most probable class of each example.
    """

    loss: float
    accuracy: float
    predicted: Tensor


def build(run: Run) -> tuple[Splits, nn.Module]:
    """Give data and network of a run; of all regimes of one seed they are the same, bit for bit."""
    data = DATASETS[run.settings["dataset"]].load(run.seed, **run.settings["data"])
    seed_everything(derive(run.seed, "weights"))
    network = MODELS[run.settings["model"]](data.channels, data.classes, **run.settings["network"])
    return data, network


class Training:
    """Trains a run, epoch by epoch; between two epochs it can be saved and continued without any difference.

    Args:
        run: what to train.

    Examples:
        >>> training = Training(run)                                    # doctest: +SKIP
        >>> while not training.over:                                    # doctest: +SKIP
        ...     training.run_epoch()
        >>> training.test().accuracy                                    # doctest: +SKIP
    """

    def __init__(self, run: Run) -> None:
        self.run = run
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
        base = base_schedule(
            settings["schedule"],
            lr=settings["optimizer"]["lr"],
            epochs=settings["training"]["epochs"],
            per_epoch=steps_per_epoch(settings),
        )
        warmup = warmup_factor(run.curriculum)
        scheduler = LambdaLR(optimizer, lambda step: base(step) * warmup(step))
        self._order = EpochOrder(len(self._data.train), settings["training"]["batch_size"], run.seed)
        loader = load_batches(self._data.train, self._order)
        prepare = self._accelerator.prepare
        self._network, self._optimizer, self._scheduler, self._loader = prepare(network, optimizer, scheduler, loader)

    @property
    def over(self) -> bool:
        """Whether nothing is left to train."""
        return self.diverged_at is not None or len(self.history) == self.run.settings["training"]["epochs"]

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
        train_loss, train_accuracy = self._train(epoch)
        if self.diverged_at is None:
            validation = self.measure(self._data.validation)
            if torch.isfinite(torch.tensor(validation.loss)):
                best = self.best_epoch
                if best is None or validation.accuracy > self.history[best]["validation_accuracy"]:
                    self.best_epoch, self._best_weights = epoch, _copied(self._plain_network())
                    self._best_smoothing = self._smoothing.state_dict() if self._smoothing else None
                self.history.append(
                    {
                        "epoch": epoch,
                        "steps": (epoch + 1) * len(self._order),
                        "train_loss": train_loss,
                        "train_accuracy": train_accuracy,
                        "validation_loss": validation.loss,
                        "validation_accuracy": validation.accuracy,
                        **({"sigma": self._smoothing.sigma} if self._smoothing else {}),
                    }
                )
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
            for inputs, _ in load_batches(split, in_order(split, 512)):
                outputs.append(self._network(send_to_device(inputs, self._accelerator.device)).float().cpu())
        logits = torch.cat(outputs)
        predicted = logits.argmax(dim=1)
        accuracy = (predicted == split.labels).sum().item() / len(split)
        return Measured(functional.cross_entropy(logits.double(), split.labels).item(), accuracy, predicted)

    def state_dict(self) -> dict[str, Any]:
        """Give all that the rest of the training depends on, as tensors and plain types."""
        return {
            "network": self._plain_network().state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict(),
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
        self._plain_network().load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
        if self._curriculum is not None:
            self._curriculum.load_state_dict(state["curriculum"])
        if self._smoothing is not None:
            self._smoothing.load_state_dict(state["smoothing"])
        self.history = state["history"]
        self.best_epoch, self._best_weights = state["best_epoch"], state["best_weights"]
        self._best_smoothing = state["best_smoothing"]
        self.diverged_at, self.seconds = state["diverged_at"], state["seconds"]

    def _start_curriculum(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> "lerac.LeRaC | None":
        curriculum = self.run.curriculum
        if curriculum is None or curriculum.kind != "lerac":
            return None
        layers = find_layers(network, self._data.train.example())
        ratios = layer_ratios(layers, curriculum, self.run.seed)
        curve = curve_of(curriculum)
        return lerac.LeRaC(optimizer, network, k=curriculum.k, ratio=ratios, curve=curve, layers=layers)

    def _train(self, epoch: int) -> tuple[float, float]:
        """Train an epoch; give the mean loss and the accuracy of its batches, as they were when trained."""
        seed_everything(derive(self.run.seed, "epoch", epoch))
        self._order.epoch = epoch
        self._data.train.begin_epoch(epoch)
        self._network.train()
        losses, correct, sizes = [], [], []
        for batch, (inputs, labels) in enumerate(self._loader):
            if self._smoothing and epoch + batch > 0:  # counts finished steps, so that validation has the epoch's σ
                self._smoothing.step()
            self._optimizer.zero_grad()
            logits = self._network(inputs)
            loss = functional.cross_entropy(logits, labels)
            self._accelerator.backward(loss)
            self._optimizer.step()
            self._scheduler.step()
            losses.append(loss.detach())
            correct.append((logits.detach().argmax(dim=1) == labels).sum())
            sizes.append(len(labels))
        # Looked at once per epoch: asking for every loss would make an accelerator wait at every step.
        each = torch.stack(losses).double().cpu()
        if len(broken := (~each.isfinite()).nonzero()):
            self.diverged_at = epoch * len(self._order) + int(broken[0])
        weights = torch.tensor(sizes, dtype=torch.float64)
        return float((each * weights).sum() / weights.sum()), int(torch.stack(correct).sum()) / sum(sizes)

    def _plain_network(self) -> nn.Module:
        network: nn.Module = self._accelerator.unwrap_model(self._network)
        return network


class EpochOrder(Sampler[list[int]]):
    """Batches of positions in an order that depends on the seed and the epoch only, never on the regime."""

    def __init__(self, examples: int, batch_size: int, seed: int) -> None:
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.examples // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(derive(self.seed, "order", self.epoch))
        for batch in torch.split(torch.randperm(self.examples, generator=generator), self.batch_size):
            yield batch.tolist()


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
