"""`lerac.attach`: any regime in one line, so that regimes are compared without another change of the training."""

import os
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakSet

from torch import nn
from torch.optim import Optimizer

from lerac.arguments import check_epoch_steps, check_epochs, check_layers, check_model, check_saved, check_seed
from lerac.curriculum.lerac import LeRaC
from lerac.curriculum.optimizers import innermost
from lerac.layers import Layer, named_parameters
from lerac.regimes import record
from lerac.regimes.choosing import chosen_regime, chosen_seed
from lerac.regimes.counting import CBS_STEP_KEY, TRIAL_STEP_KEY, StepCounter
from lerac.regimes.effects import Smoothing, curriculum_of, sigma_of, smoothing_of
from lerac.regimes.hashing import hash_inputs, hash_weights
from lerac.regimes.starting import start_curriculum
from lerac.regimes.watching import ForwardHook, scaler_calls
from lerac.smoothing import CBS

__all__ = ["Attached", "attach"]

VERSION = 1

_attached: WeakSet[Optimizer] = WeakSet()


def attach(
    optimizer: Optimizer,
    model: nn.Module,
    regime: str | None = None,
    *,
    epoch_steps: int,
    epochs: float | None = None,
    seed: int | None = None,
    layers: Sequence[Layer] | None = None,
) -> "Attached":
    """Train by any regime: add this line after building optimizer and model, and train as before.

    Outside of a study, and without `regime`, training is conventional and this line does nothing. In a run of
    `lerac compare` the regime is that of the run. No random number is drawn.

    Args:
        optimizer: as for `lerac.LeRaC`; of `conventional` and `cbs`, any optimizer.
        model: the network, wrapped or not.
        regime: such as `"lerac(k=3)"`, see `lerac.regimes`; k and `every` in epochs. What it leaves open: k = 5 epochs,
            ratio = 1e-6, σ = 1, decay = 0.9, every = 2 epochs, a linear warm-up, factor = 0.8. None: the regime of the
            running study, and `conventional` outside of any.
        epoch_steps: optimizer steps of an epoch, at least 1: `len(loader)`, divided by the number of accumulated
            batches, and in a distributed run counted after the loader is shared out.
        epochs: of the whole training, above 0; a curriculum that outlasts it is refused. None: unknown.
        seed: draws the order of `lerac-shuffled`. None: that of the running study, else 0.
        layers: as for `lerac.LeRaC`; regimes that have one rate for all layers do without.

    Raises:
        TypeError: if an argument has the wrong type, or the optimizer cannot have one rate per layer and needs to.
        ValueError: if the regime is none, its curriculum is shorter than a step or outlasts training, another argument
            is out of range, the optimizer is attached already, or the running study asks for another regime.

    Examples:
        >>> import torch, lerac
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        >>> attached = lerac.attach(optimizer, model, "warmup(k=0.5,ratio=0.01)", epoch_steps=4, epochs=3)
        >>> for _ in range(4):
        ...     print(round(attached.lrs()["1.bias"], 3), attached.finished)
        ...     model(torch.ones(1, 2)).sum().backward()
        ...     optimizer.step()
        0.01 False
        0.505 False
        1.0 True
        1.0 True
    """
    inner = innermost(optimizer)
    model = check_model(model)
    per_epoch, length = check_epoch_steps(epoch_steps), check_epochs(epochs)
    chosen = chosen_regime(regime, inner)
    drawn = check_seed(chosen_seed() if seed is None else seed)
    own = None if layers is None else check_layers(layers, model)
    if inner in _attached:
        raise ValueError(
            f"this {type(inner).__name__} is attached already: call lerac.attach once for each optimizer, or remove() "
            "on what it gave"
        )
    curriculum = curriculum_of(chosen, epoch_steps=per_epoch, epochs=length)
    smoothing = smoothing_of(chosen, epoch_steps=per_epoch)
    acting = None if curriculum is None else start_curriculum(optimizer, model, curriculum, drawn, own)
    try:
        return Attached(str(chosen), optimizer, model, acting, smoothing, (drawn, per_epoch, length))
    except Exception:
        if acting is not None:
            acting.remove()
        raise


class Attached:
    """What `lerac.attach` gives: the regime of a training, acting by itself.

    Attributes:
        regime: its text with nothing left open, as tables show it.
        curriculum: the `lerac.LeRaC` that acts on the learning rates, with one layer in a warm-up; None without.
        smoothing: the `lerac.CBS`; None without. Its σ follows the optimizer's steps when the next training forward
            pass begins, so that a validation after the step has the σ that was trained with.
    """

    def __init__(
        self,
        regime: str,
        optimizer: Optimizer,
        model: nn.Module,
        curriculum: LeRaC | None,
        smoothing: Smoothing | None,
        promised: tuple[int, int, float | None],
    ) -> None:
        self.regime = regime
        self.curriculum = curriculum
        self.smoothing: CBS | None = None
        self._optimizer, self._model, self._what = innermost(optimizer), model, smoothing
        if smoothing:
            self.smoothing = CBS(model, sigma=smoothing.sigma, decay=smoothing.decay, every=smoothing.every)
        in_trial = bool(os.environ.get(record.REGIME))
        self._counter: StepCounter | None = None
        self._entry: record.Entry | None = None
        self._seen = False  # a forward pass in training since the last step
        if in_trial and record.trial_folder():
            seed, epoch_steps, epochs = promised
            self._entry = record.Entry(regime, seed, epoch_steps, epochs, weights=hash_weights(model))
        if smoothing or in_trial:
            key = CBS_STEP_KEY if smoothing else TRIAL_STEP_KEY
            self._counter = StepCounter(optimizer, key, self._after_step, self._after_load)
        self._watch()
        if self._entry:
            record.begin(self._entry, self._update)
        if self._counter and self._counter.steps:
            self._after_load()
        if self._counter:
            _attached.add(self._optimizer)

    @property
    def steps(self) -> int:
        """Optimizer steps taken; with a curriculum and outside of a study at most k, and of `conventional` 0 there."""
        if self._counter is not None:
            return self._counter.steps
        return 0 if self.curriculum is None else self.curriculum.steps

    @property
    def finished(self) -> bool:
        """Whether training is conventional from here on; with `layer-decay` it never is."""
        return all(part.finished for part in (self.curriculum, self.smoothing) if part is not None)

    def lrs(self) -> dict[str, float]:
        """Give the learning rate that the next step will use, for every parameter of the optimizer by name.

        Raises:
            RuntimeError: until the layers are found.
        """
        if self.curriculum is not None:
            return self.curriculum.lrs()
        rates = {id(p): float(group["lr"]) for group in self._optimizer.param_groups for p in group["params"]}
        return {name: rates[id(p)] for name, p in named_parameters(self._model).items() if id(p) in rates}

    def state_dict(self) -> dict[str, Any]:
        """Give the state in plain types. The counts of steps also travel in the optimizer's own state."""
        return {
            "version": VERSION,
            "regime": self.regime,
            "steps": self.steps,
            "curriculum": self.curriculum and self.curriculum.state_dict(),
            "smoothing": self.smoothing and self.smoothing.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict()` was called; load the optimizer's own state too, before or after.

        Raises:
            TypeError: if the state is not a dict.
            ValueError: if it is damaged, or of another regime.
            RuntimeError: if the regime was removed.
        """
        steps = check_saved(
            state,
            self.state_dict(),
            a="the state of a regime",
            the="the state of the regime",
            steps="the steps of the regime",
        )
        if state["regime"] != self.regime:
            raise ValueError(f"the checkpoint is of the regime {state['regime']!r}, and this is {self.regime!r}")
        if self.curriculum is not None:
            self.curriculum.load_state_dict(state["curriculum"])
        if self.smoothing is not None:
            self.smoothing.load_state_dict(state["smoothing"])
        if self._counter is not None:
            self._counter.go_to(steps)
            if self._entry:
                record.resume(self._entry, steps)

    def remove(self) -> None:
        """End the regime now: optimizer and model are as if there had never been one."""
        for part in (self.curriculum, self.smoothing, self._counter):
            if part is not None:
                part.remove()
        for handle in self._handles:
            handle.remove()
        _attached.discard(self._optimizer)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.regime}, step {self.steps}{', finished' if self.finished else ''})"

    # What happens in a step

    def _after_step(self) -> None:
        counter, entry = self._counter, self._entry
        assert counter is not None
        if entry is not None:
            if counter.steps == entry.resumed + 1:
                entry.scaled = scaler_calls()
            entry.note_rate(counter.steps - 1, self._optimizer.param_groups[0]["lr"])
        # σ waits for the next forward pass in training, where one can be seen: not in a compiled model.
        if not self._seen:
            self._smooth()
        self._seen = False

    def _after_load(self) -> None:
        assert self._counter is not None
        if (
            self.smoothing is not None and self.smoothing.steps != self._counter.steps - 1
        ):  # else it waits for a forward
            self._smooth()
        if self._entry is not None:
            record.resume(self._entry, self._counter.steps)

    def hear(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Hear of a batch of training: of what the model is called with, or earlier, from a framework, of all of it."""
        self._seen = True
        self._smooth()
        if self._entry is not None and self._entry.batch is None and not self._entry.resumed:
            self._entry.batch = hash_inputs(args, kwargs)
            record.write()

    def _smooth(self) -> None:
        if self.smoothing is None or self._counter is None or self.smoothing.steps == self._counter.steps:
            return
        if self.smoothing.steps == self._counter.steps - 1:
            self.smoothing.step()
        else:
            self.smoothing.load_state_dict({**self.smoothing.state_dict(), "steps": self._counter.steps})

    def _update(self, entry: record.Entry) -> None:
        """Bring the record up to date."""
        entry.steps, entry.finished = self.steps, self.finished
        if self.curriculum is not None:
            state = self.curriculum.state_dict()
            entry.k, entry.curve = state["k"], state["curve"]
            entry.finished = entry.finished or state["k"] is None
            starts = self.curriculum.starts or {}
            entry.layers = [(x.name, x.depth, starts[x.name]) for x in self.curriculum.layers or ()]
        if self._what is not None:
            sigma = sigma_of(self._what)
            every = self._what.every * max(1, entry.steps // self._what.every // 500)
            entry.sigma = [(step, sigma(step)) for step in range(0, entry.steps + 1, every)]

    # Being attached

    def _watch(self) -> None:
        self._handles = []
        if (self.smoothing or self._entry) and "_forward_pre_hooks" in vars(self._model):  # else a copy, half made
            hook = ForwardHook(self.hear)
            self._handles.append(self._model.register_forward_pre_hook(hook, with_kwargs=True))

    def __getstate__(self) -> dict[str, Any]:
        """A copy is of no trial: what it does is not in the record."""
        return {name: value for name, value in vars(self).items() if name != "_handles"} | {"_entry": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._watch()
