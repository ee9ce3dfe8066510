"""The Learning Rate Curriculum: at first every layer has its own learning rate, highest next to the input."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lerac.arguments import check_curve, check_layers, check_length, check_model, check_ratio
from lerac.curriculum.course import Course
from lerac.curriculum.factors import Factors
from lerac.curriculum.optimizers import carriers, check_optimizer, check_parameters
from lerac.curriculum.state import State, check_state, curve_name, state_of, table_of
from lerac.curriculum.step_count import STEP_KEY, read_count
from lerac.curves import Curve
from lerac.layers import Layer, named_parameters, start_ratios

__all__ = ["LeRaC"]


class LeRaC:
    """Learning Rate Curriculum for one optimizer: add this line after building it, and train as before.

    The learning rate of layer j at step l < k is the optimizer's own rate, as set by you and your schedulers,
    times m_j(l) = r_j^(1 − l/k) (Eq. 8 of the paper, divided by the full rate). The layer next to the input has
    r_j = 1, the one at the output r_j = `ratio`. From step k on training is exactly the conventional one.

    Nothing of the optimizer changes but two entries in each of its param groups, so that every checkpoint of the
    optimizer carries them: the count of steps (`lerac_step`), and while it lasts the layers (`lerac_layers`).
    Schedulers, before or after this line, gradient clipping, loggers and checkpoints see the rates that they would
    see without a curriculum.

    Args:
        optimizer: any `torch.optim.Optimizer` that can have param groups of different rates, or a wrapper of
            one. It may have several groups, each with its own rate, and only some of the model's parameters.
        model: the network whose layers are ranked. For parameters outside of it, such as those of a loss, pass
            `nn.ModuleList([model, loss])`: what a loop calls with something that another module gave comes after it.
        k: how many optimizer steps the curriculum lasts, at least 1. The paper uses 2 to 7 epochs: write
            `k=5 * len(loader)`, divided by the number of accumulated batches if you accumulate gradients. `math.inf`
            keeps the factors of the first step for all of training, so that it never is the conventional one.
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
        lerac.curriculum.UnfinishedWarning: once, when it goes or the program ends, with the line that built it: if the
            optimizer never took a step, training was over before the curriculum, or k may have been meant in epochs.
        UserWarning: if there is a single layer, so that no rate is changed.
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

    _deal = staticmethod(start_ratios)  # which layer starts where; controls deal the same numbers otherwise

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        *,
        k: float,
        ratio: float | Mapping[str, float] = 1e-6,
        curve: str | Curve = "exponential",
        layers: Sequence[Layer] | None = None,
    ) -> None:
        self._optimizer = check_optimizer(optimizer)
        self._model = check_model(model)
        self._k = check_length(k)
        self._ratio = check_ratio(ratio)
        self._curve = check_curve(curve)
        check_parameters(self._optimizer, model)
        self._factors = Factors(self._optimizer, self._model, self._ratio, self._deal)
        if layers is not None:
            self._factors.give(check_layers(layers, model))
        self._course = Course(carriers(optimizer, self._optimizer), self._factors, self._k, self._curve)

    @property
    def k(self) -> float:
        """Optimizer steps until all rates are equal, an int; `math.inf` if they never are."""
        return self._k

    @property
    def steps(self) -> int:
        """Optimizer steps taken."""
        self._course.follow()
        return self._course.steps

    @property
    def finished(self) -> bool:
        """Whether all k steps are taken, and training is conventional from here on."""
        return self.steps >= self._k

    @property
    def layers(self) -> tuple[Layer, ...] | None:
        """The layers, nearest to the input first; None until they are found."""
        self._course.follow()
        return self._factors.layers

    @property
    def starts(self) -> dict[str, float] | None:
        """Where the layers start relative to the full rate, r_j in (0, 1], by the layer's name; None until found."""
        layers, starts = self.layers, self._factors.starts
        return None if layers is None else {layer.name: starts[layer.parameters[0]] for layer in layers}

    def lrs(self) -> dict[str, float]:
        """Give the learning rate that the next step will use, for every parameter of the optimizer by name.

        Raises:
            RuntimeError: until the layers are found.
        """
        self._course.follow()
        rates = self._course.rates()
        if rates is None:
            raise RuntimeError(
                "the layers are not found yet: that happens in the first optimizer step after a forward pass of the "
                "model in training mode. To know the rates before, pass layers=lerac.find_layers(model, example_input)"
            )
        named = {name: rates[id(p)] for name, p in named_parameters(self._model).items() if id(p) in rates}
        by_layer = [name for layer in self.layers or () for name in layer.parameters if name in named]
        return {name: named[name] for name in dict.fromkeys([*by_layer, *named])}

    def remove(self) -> None:
        """End the curriculum now: the optimizer is as if there had never been one."""
        self._course.remove()

    def state_dict(self) -> dict[str, Any]:
        """Give the state in plain types. Step count and layers also travel in the optimizer's own state."""
        return state_of(self.steps, self._k, self._ratio, self._curve, self.layers)

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
        if self._course.state is State.REMOVED:
            raise RuntimeError("this curriculum was removed from its optimizer: build a new one to load a state")
        steps, layers = check_state(state, self.state_dict())
        self._course.follow()
        count = read_count(self._optimizer) or 0
        waits = count == 0 and self._course.state in (State.FRESH, State.RESTORED)
        if steps != count and not waits:
            raise ValueError(
                f"the curriculum's state is of step {steps}, and the optimizer is at step {count} "
                f"({STEP_KEY!r} in its param groups): load the optimizer's state of the same checkpoint first"
            )
        if self.layers is None and layers is not None:
            self._factors.give(check_layers(layers, self._model))
        self._course.restore(steps)

    def __repr__(self) -> str:
        curve = curve_name(self._curve) or getattr(self._curve, "__name__", repr(self._curve))
        removed = ", removed" if self._course.state is State.REMOVED else ""
        layers = "layers not found yet" if self.layers is None else f"{len(self.layers)} layers"
        ratio = "by layer" if isinstance(self._ratio, Mapping) else f"{self._ratio:g}"
        of = "" if math.isinf(self._k) else f" of {self._k}"
        return f"LeRaC(step {self.steps}{of}, ratio {ratio}, {curve}, {layers}{removed})"

    def __str__(self) -> str:
        if self.layers is None:
            return repr(self)
        first = self._course.factor_at(0)
        starts = {name: first(start) for name, start in self._factors.starts.items()}
        return "\n".join([repr(self), *table_of(self.layers, starts, self.lrs())])

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state if "_course" in state else _from_first_version(state))


def _from_first_version(state: dict[str, Any]) -> dict[str, Any]:
    """Bring what lerac 0.1.0 pickled to the form of today."""
    kept = {name: state[name] for name in ("_optimizer", "_model", "_k", "_ratio", "_curve")}
    optimizer, steps, k = state["_optimizer"], state["_steps"], state["_k"]
    factors = Factors(optimizer, state["_model"], state["_ratio"])
    if state["_layers"] is not None:
        factors.give(state["_layers"])
    waits = state.get("_fresh", False) and steps > 0
    course = Course.__new__(Course)
    course.__setstate__(
        {name: state[name] for name in ("_curve", "_precision_checked")}
        | {"optimizer": optimizer, "k": k, "_factors": factors, "_carriers": (optimizer,), "steps": steps}
        | {"state": State.REMOVED if state["_removed"] else State.RESTORED if waits else State.at(steps, k)}
    )
    return kept | {"_factors": factors, "_course": course}
