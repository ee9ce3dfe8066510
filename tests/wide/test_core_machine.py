"""Random programs of a training loop against a reference that has a group for each parameter and only the formula.

Every step tells the rate with which each parameter is updated; what the reference expects is computed from the count of
steps, the rate of the user's group and the depth of the layer, and compared bit for bit.
"""

import copy
import pickle

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.conftest import make_net

import lerac

pytestmark = pytest.mark.wide

RATIO = 1e-3
MODULES = ["stem", "body.0", "body.2", "head"]
LAYERS = tuple(lerac.Layer(m, depth, (f"{m}.weight", f"{m}.bias")) for depth, m in enumerate(MODULES))
NAMES = [name for layer in LAYERS for name in layer.parameters]
DEPTH = {name: layer.depth for layer in LAYERS for name in layer.parameters}
LATE = "head.bias"  # joins the optimizer in the middle


class BoomError(Exception):
    """What a batch or an optimizer raises."""


class Tells(torch.optim.SGD):
    """Tells the rate of every parameter that it updates, and may raise before or after it has read its groups."""

    told = None
    raises = None

    def step(self, closure=None):
        if self.raises == "before":
            raise BoomError
        if closure is not None:
            with torch.enable_grad():
                closure()
        rates = {id(p): group["lr"] for group in self.param_groups for p in group["params"]}
        if self.raises == "after":
            raise BoomError
        self.told.append(rates)
        super().step()


class Machine(RuleBasedStateMachine):
    @initialize(k=st.integers(1, 8), cut=st.integers(1, 6), lr=st.floats(1e-3, 1.0), momentum=st.sampled_from([0, 0.9]))
    def begin(self, k, cut, lr, momentum):
        self.k, self.momentum = k, momentum
        self.model = make_net()
        self.groups = [NAMES[:cut], [name for name in NAMES[cut:] if name != LATE]]
        self.lrs = [lr, lr / 3]
        self.count = 0  # of the reference
        self.steps = 0  # that the optimizer has taken, counted or not
        self.states = []
        self.optimizer = self.built()
        self.curriculum = self.attached()

    def built(self):
        named = dict(self.model.named_parameters())
        groups = [{"params": [named[n] for n in own], "lr": lr} for own, lr in zip(self.groups, self.lrs, strict=True)]
        optimizer = Tells(groups, lr=0.1, momentum=self.momentum)
        optimizer.told = []
        return optimizer

    def attached(self):
        return lerac.LeRaC(self.optimizer, self.model, k=self.k, ratio=RATIO, layers=LAYERS)

    def expected(self):
        """Give the rate of every parameter in the next step, by its name."""
        progress = self.count / self.k
        found = {}
        for own, lr in zip(self.groups, self.lrs, strict=True):
            for name in own:
                start = RATIO ** (DEPTH[name] / 3)
                found[name] = lr if self.count >= self.k else lr * start ** (1 - progress)
        return found

    def gradients(self):
        for p in self.model.parameters():
            p.grad = torch.ones_like(p) * 1e-3 if p.requires_grad else None

    def took(self):
        """Compare what the last step told."""
        named = {id(p): name for name, p in self.model.named_parameters()}
        [rates] = self.optimizer.told
        self.optimizer.told.clear()
        assert {named[key]: rate for key, rate in rates.items()} == self.expected()
        self.count = min(self.count + 1, self.k)
        self.steps += 1

    @rule(times=st.integers(1, 3))
    def step(self, times):
        for _ in range(times):
            self.gradients()
            self.optimizer.step()
            self.took()

    @rule()
    def step_with_closure(self):
        self.gradients()
        self.optimizer.step(lambda: None)
        self.took()

    @rule(where=st.sampled_from(["before", "after", "closure"]))
    def step_that_raises(self, where):
        self.gradients()

        def closure():
            if where == "closure":
                raise BoomError

        self.optimizer.raises = where
        with pytest.raises(BoomError):
            self.optimizer.step(closure)
        self.optimizer.raises = None
        assert not self.optimizer.told

    @rule(bad=st.booleans())
    def step_under_a_scaler(self, bad):
        self.gradients()
        scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
        scaler.scale(torch.zeros(1))
        if bad:
            next(p for p in self.model.parameters() if p.grad is not None).grad.fill_(float("inf"))
        trained = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        if not any(p.grad is not None and id(p) in trained for p in self.model.parameters()):
            return  # the scaler itself refuses
        seen = any(not bool(p.grad.isfinite().all()) for p in self.model.parameters()
                   if p.grad is not None and id(p) in trained)  # fmt: skip
        scaler.step(self.optimizer)
        if seen:
            assert not self.optimizer.told
        else:
            self.took()

    @rule(name=st.sampled_from(NAMES[1:]), frozen=st.booleans())
    def freeze_or_unfreeze(self, name, frozen):
        dict(self.model.named_parameters())[name].requires_grad_(not frozen)

    @rule(which=st.integers(0, 2), lr=st.floats(0, 1.0))
    def set_a_rate(self, which, lr):
        at = which % len(self.lrs)
        self.lrs[at] = self.optimizer.param_groups[at]["lr"] = lr

    @rule(gamma=st.floats(0.5, 1.0))
    def scheduler(self, gamma):
        """One that is built now, and takes a step before and after one of the optimizer."""
        for group in self.optimizer.param_groups:
            group.pop("initial_lr", None)
        schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, gamma)
        self.step(1)
        schedule.step()
        self.lrs = [lr * gamma for lr in self.lrs]
        assert [group["lr"] for group in self.optimizer.param_groups] == self.lrs
        vars(self.optimizer).pop("step", None)  # the scheduler's wrapper, which cannot be pickled

    @precondition(lambda self: all(LATE not in own for own in self.groups))
    @rule(lr=st.floats(1e-3, 1.0))
    def add_a_group(self, lr):
        self.optimizer.add_param_group({"params": [self.model.head.bias], "lr": lr})
        self.groups, self.lrs = [*self.groups, [LATE]], [*self.lrs, lr]
        self.states = [state for state in self.states if len(state[1]) == len(self.groups)]

    @rule()
    def save(self):
        self.states.append((copy.deepcopy(self.optimizer.state_dict()), list(self.lrs), self.count))

    @precondition(lambda self: self.states)
    @rule(data=st.data(), conventional=st.booleans())
    def load(self, data, conventional):
        state, lrs, count = data.draw(st.sampled_from(self.states))
        state = copy.deepcopy(state)
        if conventional:
            for group in state["param_groups"]:
                group.pop("lerac_step", None)
                group.pop("lerac_layers", None)
        self.optimizer.load_state_dict(state)
        self.lrs = list(lrs)
        self.count = self.count if conventional else count

    @precondition(lambda self: self.states)
    @rule(data=st.data(), first=st.sampled_from(["load", "attach"]), own=st.booleans())
    def build_again(self, data, first, own):
        """Continue in fresh objects, as after an interruption."""
        mine = self.curriculum.state_dict()
        state, lrs, count = data.draw(st.sampled_from(self.states))
        self.optimizer = self.built()
        if first == "attach":
            self.curriculum = self.attached()
        self.optimizer.load_state_dict(copy.deepcopy(state))
        if first == "load":
            self.curriculum = self.attached()
        self.lrs, self.count = list(lrs), count
        if own:
            self.curriculum.load_state_dict(mine | {"steps": count})

    @rule(way=st.sampled_from(["copy", "pickle"]), stay=st.booleans())
    def copied(self, way, stay):
        """Go on with a copy, or with the original beside one."""
        everything = self.model, self.optimizer, self.curriculum
        other = copy.deepcopy(everything) if way == "copy" else pickle.loads(pickle.dumps(everything))
        other[1].told = []
        if not stay:
            self.model, self.optimizer, self.curriculum = other

    @rule()
    def remove_and_attach(self):
        """The new one begins anew: nothing is left of the old."""
        self.curriculum.remove()
        assert not any(key.startswith("lerac") for group in self.optimizer.param_groups for key in group)
        self.curriculum = self.attached()
        self.count = 0

    @invariant()
    def says_what_it_does(self):
        assert self.curriculum.lrs() == self.expected()
        assert self.curriculum.steps == self.count
        assert self.curriculum.finished == (self.count >= self.k)
        assert [group["lr"] for group in self.optimizer.param_groups] == self.lrs
        assert all(group["lerac_step"] == self.count for group in self.optimizer.param_groups
                   if "lerac_step" in group)  # fmt: skip


def test_no_rate_is_wrong_in_any_program():
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=1000, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
