"""The Learning Rate Curriculum: at first every layer has its own learning rate, highest next to the input."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lerac.arguments import check_curve, check_factor, check_k, check_layers, check_model, check_ratio
from lerac.curriculum.factors import Factors, from_first_version
from lerac.curriculum.first_step import ParamGroup
from lerac.curriculum.optimizers import check_optimizer, check_parameters
from lerac.curriculum.precision import warn_of_rounding
from lerac.curriculum.split import SplitGroups
from lerac.curriculum.stand_in import Hooks, make_stand_in
from lerac.curriculum.state import State, check_state, curve_name, state_of, table_of
from lerac.curriculum.step_count import STEP_KEY, found_inf, is_fake_step, read_count, write_count
from lerac.curves import Curve
from lerac.layers import Layer, named_parameters

__all__ = ["LeRaC"]

_MADE_ANEW = frozenset({"_acts", "_hooks", "_split", "_stand_in"})  # in a copy


class LeRaC:
    """Learning Rate Curriculum for one optimizer: add this line after building it, and train as before.

    The learning rate of layer j at step l < k is the optimizer's own rate, as set by you and your schedulers,
    times m_j(l) = r_j^(1 − l/k) (Eq. 8 of the paper, divided by the full rate). The layer next to the input has
    r_j = 1, the one at the output r_j = `ratio`. From step k on training is exactly the conventional one.

    Nothing of the optimizer changes but one number, the count of steps (`lerac_step` in each of its param groups),
    so that every checkpoint of the optimizer carries it. Schedulers, before or after this line, gradient clipping,
    loggers and checkpoints see the rates that they would see without a curriculum.

    Args:
        optimizer: any `torch.optim.Optimizer` that can have param groups of different rates, or a wrapper of
            one. It may have several groups, each with its own rate, and only some of the model's parameters.
        model: the network whose layers are ranked. For parameters outside of it, such as those of a loss, pass
            `nn.ModuleList([model, loss])`: what a loop calls with something that another module gave comes after it.
        k: how many optimizer steps the curriculum lasts, at least 1. The paper uses 2 to 7 epochs: write
            `k=5 * len(loader)`, divided by the number of accumulated batches if you accumulate gradients.
        ratio: start of the layer at the output relative to the full rate, η_n(0) / η(0), in (0, 1]. Layers in
            between start at `ratio ** (depth / largest depth)`. Or a mapping from every layer's name to its r_j.
        curve: the update rule, a name in `lerac.curves.CURVES`, the result of `lerac.curves.staircase`, or any
            callable (progress, ratio) → factor.
        layers: the result of `lerac.find_layers`, or any sequence of `lerac.Layer`. None finds them from the first
            forward pass of `model` in training mode (its shapes; the batch is not kept), or of the modules in a list
            from all calls before the first step. If that does not tell, the step raises and says what to pass. In a
            distributed run all ranks then take the layers of rank 0, so every rank must have a curriculum, or none.

    Raises:
        TypeError: if an argument has the wrong type, or the optimizer cannot have one rate per layer.
        ValueError: if an argument is out of range, the optimizer and the model or the layers do not fit each
            other, or the optimizer has a curriculum already.

    Warns:
        UserWarning: in its first step, if parameters of the optimizer are bfloat16 or float16, whose weights are too
            coarse for updates as small as the curriculum makes them; `docs/effects.md` has the measurements.

    Examples:
        The factors at steps 0, k − 1, k and k + 1, for k = 4 and three layers:

        >>> import torch, lerac
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        >>> layers = lerac.find_layers(model, torch.zeros(1, 2))
        >>> curriculum = lerac.LeRaC(optimizer, model, k=4, ratio=1e-4, layers=layers)
        >>> for step in range(6):
        ...     if step in (0, 3, 4, 5):
        ...         rates = curriculum.lrs()
        ...         print(step, [round(rates[f"{layer}.weight"], 6) for layer in (0, 1, 2)])
        ...     model(torch.ones(1, 2)).sum().backward()
        ...     optimizer.step()
        0 [1.0, 0.01, 0.0001]
        3 [1.0, 0.316228, 0.1]
        4 [1.0, 1.0, 1.0]
        5 [1.0, 1.0, 1.0]

    Source: Croitoru, Ristea, Ionescu, Sebe, "Learning Rate Curriculum", IJCV 2024, arXiv 2205.09180, Eq. 6 to 8.
    """

    _hooks: Hooks
    _stand_in: Optimizer

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        *,
        k: int,
        ratio: float | Mapping[str, float] = 1e-6,
        curve: str | Curve = "exponential",
        layers: Sequence[Layer] | None = None,
    ) -> None:
        self._optimizer = check_optimizer(optimizer)
        self._model = check_model(model)
        self._k = check_k(k)
        self._ratio = check_ratio(ratio)
        self._curve = check_curve(curve)
        check_parameters(self._optimizer, model)
        self._factors = Factors(self._optimizer, self._model, self._ratio)
        if layers is not None:
            self._factors.settle(check_layers(layers, model))
        self._precision_checked = False
        self._state = State.FRESH
        steps = read_count(self._optimizer) or 0
        self._attach()
        self._go_to(steps)
        write_count(self._optimizer, steps)

    @property
    def k(self) -> int:
        """Optimizer steps until all rates are equal."""
        return self._k

    @property
    def steps(self) -> int:
        """Optimizer steps taken."""
        return self._steps

    @property
    def finished(self) -> bool:
        """Whether all k steps are taken, and training is conventional from here on."""
        return self._steps >= self._k

    @property
    def _conventional(self) -> bool:
        return self.finished or self._state is State.REMOVED

    @property
    def layers(self) -> tuple[Layer, ...] | None:
        """The layers, nearest to the input first; None until they are found."""
        return self._factors.layers

    def lrs(self) -> dict[str, float]:
        """Give the learning rate that the next step will use, for every parameter of the optimizer by name.

        Raises:
            RuntimeError: until the layers are found.
        """
        if self.layers is None and not self._conventional:
            raise RuntimeError(
                "the layers are not found yet: that happens in the first optimizer step after a forward pass of the "
                "model in training mode. To know the rates before, pass layers=lerac.find_layers(model, example_input)"
            )
        if self._conventional:
            rates = {id(p): float(group["lr"]) for group in self._optimizer.param_groups for p in group["params"]}
        else:
            rates = {id(p): rate for p, rate in self._split.rates(self._factor())}
        named = {name: rates[id(p)] for name, p in named_parameters(self._model).items() if id(p) in rates}
        by_layer = [name for layer in self.layers or () for name in layer.parameters if name in named]
        return {name: named[name] for name in dict.fromkeys([*by_layer, *named])}

    def remove(self) -> None:
        """End the curriculum now: the optimizer is as if there had never been one."""
        if self._state is State.REMOVED:
            return
        self._go_to(self._steps, State.REMOVED)
        self._hooks.detach()
        for group in self._optimizer.param_groups:
            group.pop(STEP_KEY, None)

    def state_dict(self) -> dict[str, Any]:
        """Give the state in plain types. The step count alone also travels in the optimizer's own state."""
        return state_of(self._steps, self._k, self._ratio, self._curve, self.layers)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue a curriculum; load the optimizer's own state too, before or after.

        Args:
            state: a result of `state_dict()` of a curriculum with the same k, ratio, curve and layers. A curriculum
                that has not found its layers takes those of the state.

        Raises:
            ValueError: if the state is damaged or of another curriculum, or its count is not that of the optimizer.
                An optimizer that has not taken a step is expected to get its state later, and checked then.
            RuntimeError: if the curriculum was removed.
        """
        if self._state is State.REMOVED:
            raise RuntimeError("this curriculum was removed from its optimizer: build a new one to load a state")
        steps, layers = check_state(state, self.state_dict())
        count = read_count(self._optimizer) or 0
        waits = count == 0 and self._state in (State.FRESH, State.RESTORED)
        if steps != count and not waits:
            raise ValueError(
                f"the curriculum's state is of step {steps}, and the optimizer is at step {count} "
                f"({STEP_KEY!r} in its param groups): load the optimizer's state of the same checkpoint first"
            )
        if self.layers is None and layers is not None:
            self._factors.settle(check_layers(layers, self._model))
        self._go_to(steps, State.RESTORED if steps and waits else None)

    def __repr__(self) -> str:
        curve = curve_name(self._curve) or getattr(self._curve, "__name__", repr(self._curve))
        removed = ", removed" if self._state is State.REMOVED else ""
        layers = "layers not found yet" if self.layers is None else f"{len(self.layers)} layers"
        ratio = "by layer" if isinstance(self._ratio, Mapping) else f"{self._ratio:g}"
        return f"LeRaC(step {self._steps} of {self._k}, ratio {ratio}, {curve}, {layers}{removed})"

    def __str__(self) -> str:
        if self.layers is None:
            return repr(self)
        return "\n".join([repr(self), *table_of(self.layers, self._factors.starts, self.lrs())])

    # What happens in a step

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        if optimizer is self._stand_in:  # a step() that calls super().step()
            return None
        # is_available() asks the driver each time; nothing is captured before CUDA is initialised.
        if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():  # type: ignore[no-untyped-call]
            raise RuntimeError(
                "LeRaC cannot act in a captured CUDA graph, whose replay runs no hooks: capture optimizer.step() "
                f"only after the curriculum, {self._k - self._steps} steps from now, or leave it out of the graph"
            )
        for group in self._optimizer.param_groups:
            if group.get(STEP_KEY, self._steps) != self._steps:
                raise RuntimeError(
                    f"the curriculum is at step {self._steps}, and the optimizer at step {group[STEP_KEY]} "
                    f"({STEP_KEY!r} in its param groups): load both from the same checkpoint"
                )
        if self._steps + 1 >= self._k:
            self._hooks.go_last()
        closure = args[1:] or kwargs.get("closure")
        self._acts = not self.finished and (bool(closure) or not is_fake_step(self._optimizer))
        if not self._acts:
            return None
        if not self._precision_checked:
            self._precision_checked = True
            warn_of_rounding(self._optimizer, self._ratio, self._factors.starts)
        self._split.begin_step()
        return (self._stand_in, *args[1:]), kwargs

    def _show_groups(self) -> list[ParamGroup]:
        if self.layers is None:
            find: Callable[[], None] = self._factors.find
            if torch.compiler.is_compiling():  # as a decorator it would make `import lerac` load the compiler
                find = torch.compiler.disable(find)  # type: ignore[no-untyped-call]
            find()  # here and not before the step, whose closure may be what calls the model
        return self._split.show(self._factor())

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if optimizer is self._stand_in:
            return
        if self._acts and self._split.end_step() and not found_inf(self._optimizer):  # else it took no step
            self._go_to(self._steps + 1)
            write_count(self._optimizer, self._steps)

    def _factor(self) -> Callable[[float], float]:
        """Give the function from r_j to m_j of the next step; 1 from step k on."""
        if self._conventional:
            return lambda _: 1.0
        curve, progress = self._curve, self._steps / self._k
        return lambda ratio: check_factor(curve(progress, ratio), progress, ratio)

    # Being attached

    def _attach(self) -> None:
        """Everything that a copy or an unpickled curriculum has to make anew, but what its state decides."""
        self._split = SplitGroups(self._optimizer, self._factors.by_id)
        self._acts = False  # in the step that runs
        if self._state is not State.REMOVED:
            self._stand_in = make_stand_in(self._optimizer, self._show_groups)
            self._hooks = Hooks(self._optimizer, self._before_step, self._after_step, self._after_load)

    def _go_to(self, steps: int, state: State | None = None) -> None:
        """Be at this step, in the given state or the one that follows from it; have hooks if, and only if, it acts."""
        self._steps = steps
        self._state = state or State.at(steps, self._k)
        if self._state in (State.FINISHED, State.REMOVED):
            self._hooks.disarm()
            self._factors.unwatch()
        else:
            self._hooks.arm()
            self._factors.watch()

    def _after_load(self, optimizer: Optimizer) -> None:
        """The optimizer's checkpoint decides the step; one without a count (a conventional one) leaves it."""
        count = read_count(self._optimizer)
        waits = self._state is State.RESTORED
        if waits and count and count != self._steps:
            raise ValueError(
                f"the curriculum's state is of step {self._steps}, and the optimizer's of step {count}: load "
                "both from the same checkpoint"
            )
        if count or not waits:
            self._go_to(self._steps if count is None else count)
            write_count(self._optimizer, self._steps)
        self._split.forget()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _MADE_ANEW}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_state" not in state:
            state = from_first_version(state)
        vars(self).update(state)
        self._attach()
        if self._state is not State.REMOVED:
            self._go_to(self._steps, self._state)
