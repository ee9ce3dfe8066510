"""The layers of a LightningModule, from a traced copy of its `training_step`."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import nn

from lerac.curriculum.factors import agreed
from lerac.depth import find_layers
from lerac.layers import Layer, named_parameters

__all__ = ["layers_of_training_step"]


def layers_of_training_step(trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> tuple[Layer, ...]:
    """Find the layers from the step that a batch is about to take.

    Raises:
        RuntimeError: if the step cannot be traced; of a distributed run, on all ranks alike.
        TypeError: likewise.
        ValueError: likewise.
    """
    step = _TrainingStep(module, len(trainer.optimizers), len(trainer.lr_scheduler_configs))
    indexed = is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)  # Lightning's own rule
    arguments = (batch, batch_idx) if indexed else (batch,)

    def find() -> tuple[Layer, ...]:
        if is_param_in_hook_signature(module.training_step, "dataloader_iter", explicit=True):
            raise ValueError("it takes the batches itself, and none may be lost")
        with trainer.precision_plugin.train_step_context():
            return find_layers(step, *arguments)

    return tuple(agreed(find, list(named_parameters(module))))


class _TrainingStep(nn.Module):
    """A LightningModule whose forward is its `training_step`, to be traced in a copy and never called itself.

    A copy has no trainer. Here its loggers and optimizers are idle, too.
    """

    def __init__(self, module: LightningModule, optimizers: int, schedulers: int) -> None:
        super().__init__()
        self.module = module  # by this name alone a wrapper adds nothing to the names of parameters
        self._count = {"optimizers": optimizers, "lr_schedulers": schedulers}

    def forward(self, *batch: Any) -> None:
        silent: dict[str, Callable[..., Any]] = {
            name: _Idle() for name in ("log", "log_dict", "manual_backward", "toggle_optimizer", "untoggle_optimizer")
        }
        silent |= {name: _Idle() for name in ("clip_gradients", "print", "all_gather")}
        for name, count in self._count.items():
            idle = [_Idle() for _ in range(count)]
            silent[name] = lambda *_, given=idle, **__: given[0] if len(given) == 1 else given or None
        vars(self.module).update(silent)
        self.module.training_step(*batch)


class _Idle:
    """An optimizer, a scheduler or a method that does nothing, but call the closure of a step."""

    def step(self, closure: Callable[[], Any] | None = None, **_: Any) -> Any:
        return closure() if callable(closure) else None

    def __getattr__(self, name: str) -> "_Idle":
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "_Idle":
        return self

    def __enter__(self) -> "_Idle":
        return self

    def __exit__(self, *_: Any) -> None:
        pass
