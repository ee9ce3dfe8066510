"""The Learning Rate Curriculum: at first every layer has its own learning rate, highest next to the input."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import nn
from torch.optim import Optimizer

from lerac.arguments import (
    check_curve,
    check_factor,
    check_k,
    check_layers,
    check_model,
    check_optimizer,
    check_parameters,
    check_ratio,
    lost_parameters,
    some,
)
from lerac.curriculum.first_forward import FirstForward
from lerac.curriculum.precision import warn_of_rounding
from lerac.curriculum.ranks import agreed
from lerac.curriculum.stand_in import ParamGroup, SplitGroups, make_stand_in
from lerac.curriculum.state import check_state, curve_name, state_of
from lerac.curriculum.step_count import STEP_KEY, found_inf, is_fake_step, read_count, write_count
from lerac.curves import Curve
from lerac.depth import find_layers
from lerac.layers import Layer, named_parameters, start_ratios

__all__ = ["LeRaC"]

# Optimizers with a curriculum, finished ones too: a second one would adopt the step count of the first.
_attached: WeakSet[Optimizer] = WeakSet()


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
            `nn.ModuleList([model, loss])`.
        k: how many optimizer steps the curriculum lasts, at least 1. The paper uses 2 to 7 epochs: write
            `k=5 * len(loader)`, divided by the number of accumulated batches if you accumulate gradients.
        ratio: start of the layer at the output relative to the full rate, η_n(0) / η(0), in (0, 1]. Layers in
            between start at `ratio ** (depth / largest depth)`. Or a mapping from every layer's name to its r_j.
        curve: the update rule, a name in `lerac.curves.CURVES`, the result of `lerac.curves.staircase`, or any
            callable (progress, ratio) → factor.
        layers: the result of `lerac.find_layers`, or any sequence of `lerac.Layer`. None finds them from the first
            forward pass of `model` in training mode (its shapes; the batch is not kept). If the optimizer steps
            without one, it raises and says what to pass. In a distributed run all ranks then take the layers of
            rank 0, so every rank must have a curriculum, or none.

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
        self._first_forward: FirstForward | None = None
        self._layers: tuple[Layer, ...] | None = None
        self._factors: dict[str, float] = {}
        if layers is not None:
            self._settle(check_layers(layers, model))
        self._steps = read_count(self._optimizer) or 0
        self._removed = False
        self._precision_checked = False
        self._set_up()
        write_count(self._optimizer, self._steps)

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
        return self.finished or self._removed

    @property
    def layers(self) -> tuple[Layer, ...] | None:
        """The layers, nearest to the input first; None until they are found."""
        return self._layers

    def lrs(self) -> dict[str, float]:
        """Give the learning rate that the next step will use, for every parameter of the optimizer by name.

        Raises:
            RuntimeError: until the layers are found.
        """
        if self._layers is None and not self._conventional:
            raise RuntimeError(
                "the layers are not found yet: that happens in the first optimizer step after a forward pass of the "
                "model in training mode. To know the rates before, pass layers=lerac.find_layers(model, example_input)"
            )
        if self._conventional:
            rates = {id(p): float(group["lr"]) for group in self._optimizer.param_groups for p in group["params"]}
        else:
            rates = {id(p): rate for p, rate in self._split.rates(self._factor())}
        named = {name: rates[id(p)] for name, p in named_parameters(self._model).items() if id(p) in rates}
        by_layer = [name for layer in self._layers or () for name in layer.parameters if name in named]
        return {name: named[name] for name in dict.fromkeys([*by_layer, *named])}

    def remove(self) -> None:
        """End the curriculum now: the optimizer is as if there had never been one."""
        if self._removed:
            return
        self._disarm()
        self._unwatch()
        self._load_handle.remove()
        _attached.discard(self._optimizer)
        for group in self._optimizer.param_groups:
            group.pop(STEP_KEY, None)
        self._removed = True

    def state_dict(self) -> dict[str, Any]:
        """Give the state in plain types. The step count alone also travels in the optimizer's own state."""
        return state_of(self._steps, self._k, self._ratio, self._curve, self._layers)

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
        if self._removed:
            raise RuntimeError("this curriculum was removed from its optimizer: build a new one to load a state")
        steps, layers = check_state(state, self.state_dict())
        count = read_count(self._optimizer) or 0
        if steps != count and not (count == 0 and self._fresh):
            raise ValueError(
                f"the curriculum's state is of step {steps}, and the optimizer is at step {count} "
                f"({STEP_KEY!r} in its param groups): load the optimizer's state of the same checkpoint first"
            )
        if self._layers is None and layers is not None:
            self._settle(check_layers(layers, self._model))
        self._steps = steps
        self._arm()

    def __repr__(self) -> str:
        curve = curve_name(self._curve) or getattr(self._curve, "__name__", repr(self._curve))
        removed = ", removed" if self._removed else ""
        layers = "layers not found yet" if self._layers is None else f"{len(self._layers)} layers"
        ratio = "by layer" if isinstance(self._ratio, Mapping) else f"{self._ratio:g}"
        return f"LeRaC(step {self._steps} of {self._k}, ratio {ratio}, {curve}, {layers}{removed})"

    def __str__(self) -> str:
        if self._layers is None:
            return repr(self)
        return "\n".join([repr(self), *_table(self._layers, self._factors, self.lrs())])

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
            self._go_last()
        closure = args[1:] or kwargs.get("closure")
        self._acts = not self.finished and (bool(closure) or not is_fake_step(self._optimizer))
        if not self._acts:
            return None
        if not self._precision_checked:
            self._precision_checked = True
            warn_of_rounding(self._optimizer, self._ratio, self._factors)
        self._split.begin_step()
        return (self._stand_in, *args[1:]), kwargs

    def _show_groups(self) -> list[ParamGroup]:
        if self._layers is None:
            find: Callable[[], None] = self._find_layers
            if torch.compiler.is_compiling():  # as a decorator it would make `import lerac` load the compiler
                find = torch.compiler.disable(find)  # type: ignore[no-untyped-call]
            find()  # here and not before the step, whose closure may be what calls the model
        return self._split.show(self._factor())

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if optimizer is self._stand_in:
            return
        if self._acts and self._split.end_step() and not found_inf(self._optimizer):  # else it took no step
            self._steps += 1
            self._fresh = False
            write_count(self._optimizer, self._steps)
        if self.finished:
            self._fresh = False
            self._arm()

    def _factor(self) -> Callable[[float], float]:
        """Give the function from r_j to m_j of the next step; 1 from step k on."""
        if self._conventional:
            return lambda _: 1.0
        curve, progress = self._curve, self._steps / self._k
        return lambda ratio: check_factor(curve(progress, ratio), progress, ratio)

    # Layers

    def _find_layers(self) -> None:
        def find() -> tuple[Layer, ...]:
            example = self._first_forward.seen() if self._first_forward else None
            if example is None:
                name = type(self._model).__name__
                raise RuntimeError(
                    f"LeRaC has seen no forward pass of {name} in training mode since it was built, so it does not "
                    "know the layers. Call model(x), not model.forward(x), after model.train(); if another module is "
                    "what your loop calls, build LeRaC with that one as the model; and if that cannot be, pass "
                    "layers=lerac.find_layers(model, *example_inputs)"
                )
            return find_layers(self._model, example)

        self._settle(check_layers(agreed(find, list(named_parameters(self._model))), self._model))

    def _settle(self, layers: tuple[Layer, ...]) -> None:
        """Know the layers from here on, if they fit the ratio and every parameter of the optimizer has one."""
        starts = start_ratios(layers, self._ratio)
        self._factors = {name: starts[layer.name] for layer in layers for name in layer.parameters}
        self._ratios_by_id()
        self._layers = layers
        self._unwatch()

    def _unwatch(self) -> None:
        if self._first_forward is not None:
            self._first_forward.done()
            self._first_forward = None

    # Being attached

    def _set_up(self) -> None:
        """Everything that a copy or an unpickled curriculum has to make anew."""
        if self._removed:
            self._split = SplitGroups(self._optimizer, self._ratios_by_id)
            return
        if self._optimizer in _attached:
            raise ValueError(
                f"this {type(self._optimizer).__name__} has a curriculum already: use that one, or call its "
                "remove() first"
            )
        self._split = SplitGroups(self._optimizer, self._ratios_by_id)
        self._stand_in = make_stand_in(self._optimizer, self._show_groups)
        _attached.add(self._optimizer)
        self._fresh = self._steps == 0  # no step taken and no state loaded: a checkpoint may still come
        self._acts = False
        self._step_handles: tuple[Any, ...] = ()
        self._load_handle = self._optimizer.register_load_state_dict_post_hook(self._after_load)
        self._arm()

    def _arm(self) -> None:
        """Have the step hooks if, and only if, there is a step for them to act in or to check."""
        waits = self._fresh and self._steps > 0  # for the optimizer's state of the same checkpoint
        if self.finished and not waits:
            self._disarm()
            self._unwatch()
        elif not self._step_handles:
            half_made = "_forward_pre_hooks" not in vars(self._model)  # a copy of a model that has its own curriculum
            if self._layers is None and self._first_forward is None and not half_made:
                self._first_forward = FirstForward(self._model)
            self._step_handles = (
                self._optimizer.register_step_pre_hook(self._before_step),
                self._optimizer.register_step_post_hook(self._after_step),
            )

    def _go_last(self) -> None:
        """Become the last post-hook: in the last step it takes itself off, and torch goes through the live dict."""
        pre, post = self._step_handles
        post.remove()
        self._step_handles = (pre, self._optimizer.register_step_post_hook(self._after_step))

    def _disarm(self) -> None:
        for handle in self._step_handles:
            handle.remove()
        self._step_handles = ()

    def _after_load(self, optimizer: Optimizer) -> None:
        """The optimizer's checkpoint decides the step; one without a count (a conventional one) leaves it."""
        count = read_count(self._optimizer)
        restored = self._fresh and self._steps > 0
        if count:
            if restored and count != self._steps:
                raise ValueError(
                    f"the curriculum's state is of step {self._steps}, and the optimizer's of step {count}: load "
                    "both from the same checkpoint"
                )
            self._steps, self._fresh = count, False
        elif (
            not restored
        ):  # else its own state is expected later; a reload of what it has, as Accelerate does, is not it
            self._steps = self._steps if count is None else 0
            self._fresh = self._fresh or count == 0
            write_count(self._optimizer, self._steps)
        self._split.forget()
        self._arm()

    def _ratios_by_id(self) -> dict[int, float]:
        """Give r_j by the identity of the parameter, for every parameter of the optimizer."""
        named = named_parameters(self._model, aliases=True)
        ratios = {id(named[name]): ratio for name, ratio in self._factors.items() if name in named}
        if lost := lost_parameters(self._optimizer, self._model, ratios):
            raise ValueError(
                f"{len(lost)} parameters of the optimizer are in no layer of the curriculum: {some(lost)}. If they are "
                "not the model's, pass nn.ModuleList([model, loss]) as the model; if the model got them later, pass "
                "layers that have them to a new curriculum"
            )
        return ratios

    def __getstate__(self) -> dict[str, Any]:
        transient = {"_split", "_stand_in", "_step_handles", "_load_handle", "_first_forward"}
        return {"_first_forward": None} | {name: value for name, value in vars(self).items() if name not in transient}

    def __setstate__(self, state: dict[str, Any]) -> None:
        fresh = state.get("_fresh", False)
        vars(self).update(state)
        self._set_up()
        self._fresh = fresh


def _table(layers: Sequence[Layer], factors: Mapping[str, float], rates: Mapping[str, float]) -> list[str]:
    rows = [("layer", "depth", "tensors", "start ×", "next rate")]
    for layer in layers:
        now = sorted({rates[name] for name in layer.parameters if name in rates}, reverse=True)
        shown = f"{now[0]:.3g}" if len(now) == 1 else f"{now[-1]:.3g} to {now[0]:.3g}" if now else "not optimized"
        start = f"{factors[layer.parameters[0]]:.3g}"
        rows.append((layer.name, str(layer.depth), str(len(layer.parameters)), start, shown))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
