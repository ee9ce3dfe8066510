"""The count in the param groups is followed wherever it comes from; what is kept by a group's number is refused."""

import copy
import pickle
from collections import defaultdict

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.conftest import layers_of, make_net, same, train
from torch import nn, optim

import lerac

K, RATIO = 6, 1e-3


class OwnLoad(optim.SGD):
    """Loads as bitsandbytes does: with code of its own, which runs none of torch's hooks."""

    def load_state_dict(self, state_dict, move_to_device=True):
        state_dict = copy.deepcopy(state_dict)
        mine = [p for group in self.param_groups for p in group["params"]]
        state = defaultdict(dict, {mine[i]: value for i, value in state_dict["state"].items()})
        both = zip(self.param_groups, state_dict["param_groups"], strict=True)
        groups = [new | {"params": old["params"]} for old, new in both]
        self.__setstate__({"state": state, "param_groups": groups})


class Sharded(optim.Optimizer):
    """Has groups of its own and copies options between them and the inner ones, as ZeroRedundancyOptimizer does."""

    def __init__(self, params, **options):
        super().__init__(params, {"lr": 0.1})
        self.optim = optim.SGD(self.param_groups[0]["params"], **options)

    def _copy(self, source, target):
        for ours, theirs in zip(source, target, strict=True):
            theirs.update({key: value for key, value in ours.items() if key != "params"})

    def step(self, closure=None):
        self._copy(self.param_groups, self.optim.param_groups)
        self.optim.step(closure)
        self._copy(self.optim.param_groups, self.param_groups)

    def load_state_dict(self, state_dict):
        mine = self.param_groups[0]["params"]
        self.optim.state.clear()
        self.optim.state.update({mine[i]: copy.deepcopy(value) for i, value in state_dict["state"].items()})
        super().load_state_dict(state_dict)
        self._copy(self.param_groups, self.optim.param_groups)

    def state_dict(self):
        return super().state_dict() | {"state": self.optim.state_dict()["state"]}


class OfTheInstance(optim.SGD):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.load_state_dict = lambda state: OwnLoad.load_state_dict(self, state)


UNSEEN = [OwnLoad, OfTheInstance, Sharded]
kinds = pytest.mark.parametrize("kind", UNSEEN)


def start(kind, **options):
    model = make_net()
    optimizer = kind(model.parameters(), lr=0.1, momentum=0.9)
    return model, optimizer, lerac.LeRaC(optimizer, model, **{"k": K, "ratio": RATIO} | options)


def snapshot(model, optimizer):
    return copy.deepcopy((model.state_dict(), optimizer.state_dict()))


def put_back(model, optimizer, saved):
    model.load_state_dict(saved[0])
    optimizer.load_state_dict(copy.deepcopy(saved[1]))  # torch would share the buffers


@settings(max_examples=15, deadline=None, phases=[Phase.generate])
@given(
    kind=st.sampled_from(UNSEEN),
    program=st.lists(st.one_of(st.just("step"), st.just("step"), st.integers(0, 9)), min_size=4, max_size=16),
    asks=st.booleans(),
)
def test_rolling_back_and_forth_is_as_with_hooks(kind, program, asks):
    runs = [start(kind), start(optim.SGD)]
    saved = [[snapshot(*run[:2])] for run in runs]
    for what in ["step", *program]:
        for (model, optimizer, curriculum), states in zip(runs, saved, strict=True):
            if what == "step":
                train(model, optimizer, range(len(states), len(states) + 1))
                states.append(snapshot(model, optimizer))
            else:
                put_back(model, optimizer, states[what % len(states)])
            if asks:
                curriculum.lrs() if curriculum.layers else None
        assert same(runs[0][0], runs[1][0])
        assert runs[0][2].steps == runs[1][2].steps
        assert runs[0][2].finished == runs[1][2].finished


@kinds
def test_a_rollback_after_the_end_continues_the_curriculum(kind):
    model, optimizer, curriculum = start(kind)
    train(model, optimizer, range(2))
    saved, rates = snapshot(model, optimizer), curriculum.lrs()
    train(model, optimizer, range(2, K + 3))
    end = copy.deepcopy(model)
    put_back(model, optimizer, saved)
    assert (curriculum.steps, curriculum.finished) == (2, False)
    assert curriculum.lrs() == rates
    assert "step 2 of 6" in repr(curriculum)
    put_back(model, optimizer, saved)
    train(model, optimizer, range(2, K + 3))
    assert same(model, end)


@kinds
def test_built_then_loaded(kind):
    model, optimizer, curriculum = start(kind)
    train(model, optimizer, range(2))
    saved = snapshot(model, optimizer)
    train(model, optimizer, range(2, K + 1))
    again, its_optimizer, resumed = start(kind)
    put_back(again, its_optimizer, saved)
    train(again, its_optimizer, range(2, K + 1))
    assert same(model, again)
    assert resumed.layers == curriculum.layers


@kinds
def test_a_later_state_ends_it_and_its_step_is_already_conventional(kind):
    model, optimizer, _ = start(kind)
    train(model, optimizer, range(K))
    saved = snapshot(model, optimizer)
    train(model, optimizer, range(K, K + 2))
    again, its_optimizer, resumed = start(kind)
    train(again, its_optimizer, range(2))
    put_back(again, its_optimizer, saved)
    train(again, its_optimizer, range(K, K + 2))
    assert same(model, again)
    assert resumed.finished


def test_a_count_written_by_hand_is_followed():
    model, optimizer, curriculum = start(optim.SGD)
    others = []
    optimizer.register_step_pre_hook(lambda *_: others.append("pre"))
    optimizer.register_step_post_hook(lambda *_: others.append("post"))
    train(model, optimizer, range(2))
    for count in (4, 1, K):
        optimizer.param_groups[0]["lerac_step"] = count
        train(model, optimizer, range(1))
        assert curriculum.steps == min(count + 1, K)
    assert curriculum.finished
    assert len(optimizer._optimizer_step_pre_hooks) == len(optimizer._optimizer_step_post_hooks) == 1
    assert others == ["pre", "post"] * 5
    optimizer.param_groups[0]["lerac_step"] = 3
    assert not curriculum.finished
    assert curriculum.lrs()["head.weight"] == 0.1 * RATIO**0.5


@pytest.mark.parametrize("kind", [optim.SGD, *UNSEEN])
def test_both_states_in_any_order(kind):
    model, optimizer, curriculum = start(kind)
    train(model, optimizer, range(3))
    saved, own = snapshot(model, optimizer), curriculum.state_dict()
    for own_first in (True, False):
        again, its_optimizer, resumed = start(kind)
        if own_first:
            resumed.load_state_dict(own)
            with pytest.raises(RuntimeError, match="curriculum is at step 3, and the optimizer at step 0"):
                train(again, its_optimizer, range(1))
        put_back(again, its_optimizer, saved)
        if not own_first:
            resumed.load_state_dict(own)
        for net, opt in ((again, its_optimizer), (copy.deepcopy(model), None)):
            if opt is not None:
                train(net, opt, range(3, K))
        assert resumed.finished


@kinds
def test_copies_follow_too(kind):
    model, optimizer, curriculum = start(kind)
    train(model, optimizer, range(2))
    saved = snapshot(model, optimizer)
    train(model, optimizer, range(2, K + 1))
    if kind is OwnLoad:
        model, optimizer, curriculum = pickle.loads(pickle.dumps((model, optimizer, curriculum)))
    put_back(model, optimizer, saved)
    train(model, optimizer, range(2, 3))
    assert curriculum.steps == 3


def test_removing_leaves_nothing_on_them():
    _, optimizer, curriculum = start(OwnLoad)
    curriculum.remove()
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_state_dict_post_hooks


# Kept by the number of the group


class Manager:
    """Of overrides for single parameters, as bitsandbytes has one for all optimizers."""

    def __init__(self):
        self.pid2config = {}
        self.index2config = {}
        self.module_weight_config_triple = []

    def register_module_override(self, module, name, config):
        self.module_weight_config_triple.append((module, name, config))


class Overridable(OwnLoad):
    """Fills the manager's table in its first step from the groups that it sees, and reads it in every step."""

    def __init__(self, *args, manager, **options):
        super().__init__(*args, **options)
        self.initialized = False
        self.mng = manager

    def check_overrides(self):
        for module, name, config in self.mng.module_weight_config_triple:
            for gindex, group in enumerate(self.param_groups):
                for pindex, p in enumerate(group["params"]):
                    if p is getattr(module, name):
                        self.mng.index2config[gindex, pindex] = config

    def get_config(self, gindex, pindex, group):
        config = {"lr": group["lr"]} | self.mng.index2config.get((gindex, pindex), {})
        return config | self.mng.pid2config.get(id(self.param_groups[gindex]["params"][pindex]), {})

    @torch.no_grad()
    def step(self, closure=None):
        if not self.initialized:
            self.check_overrides()
            self.initialized = True
        for gindex, group in enumerate(self.param_groups):
            for pindex, p in enumerate(group["params"]):
                p -= self.get_config(gindex, pindex, group)["lr"] * p.grad


def overridable(manager):
    model = make_net()
    return model, Overridable(model.parameters(), lr=0.1, manager=manager)


def curriculum_of(model, optimizer):
    return lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers_of(model))


def test_without_overrides_it_works():
    model, optimizer = overridable(Manager())
    optimizer.mng.pid2config[id(model.stem.weight)] = {"optim_bits": 32}
    curriculum_of(model, optimizer)
    hand, plain, _ = start(optim.SGD, layers=layers_of(model))
    plain.param_groups[0]["momentum"] = 0
    for net, opt in ((model, optimizer), (hand, plain)):
        train(net, opt, range(K + 2))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(model.parameters(), hand.parameters(), strict=True))


def test_overrides_are_refused():
    for stepped in (False, True):
        model, optimizer = overridable(Manager())
        optimizer.mng.register_module_override(model.head, "bias", {"lr": 0.0})
        if stepped:
            train(model, optimizer, range(1))
            optimizer.mng.module_weight_config_triple.clear()
        what = "keeps 'index2config' by the numbers" if stepped else "has overrides of single parameters"
        with pytest.raises(TypeError, match=f"Overridable {what}"):
            curriculum_of(model, optimizer)


def test_overrides_made_after_the_curriculum_are_refused_before_anything_moves():
    model, optimizer = overridable(Manager())
    curriculum_of(model, optimizer)
    optimizer.mng.register_module_override(model.head, "bias", {"lr": 0.0})
    with pytest.raises(RuntimeError, match=r"Overridable.step\(\) has overrides of single parameters"):
        train(model, optimizer, range(1))
    assert same(model, make_net())


def test_an_override_of_the_rate_would_go_past_the_curriculum():
    model, optimizer = overridable(Manager())
    optimizer.mng.pid2config[id(model.head.bias)] = {"lr": 0.5}
    with pytest.raises(TypeError, match="has overrides of the learning rate of single parameters"):
        curriculum_of(model, optimizer)


class ByNumber(optim.SGD):
    """Keeps the velocity by number instead of by parameter."""

    def __init__(self, params, lr, kept):
        super().__init__(params, lr=lr)
        self.kept = kept

    @torch.no_grad()
    def step(self, closure=None):
        for g, group in enumerate(self.param_groups):
            for i, p in enumerate(group["params"]):
                self.keep(g, i, p)
                p -= group["lr"] * p.grad

    def keep(self, g, i, p):
        if self.kept == "state by place":
            self.state[g, i] = p.grad.clone()
        elif self.kept == "places":
            vars(self).setdefault("places", {})[g, i] = p.grad.clone()
        elif self.kept == "dict":
            vars(self).setdefault("buffers", {})[g] = 1
        elif self.kept == "list":
            buffers = vars(self).setdefault("buffers", [])
            buffers.extend([None] * (g + 1 - len(buffers)))


@pytest.mark.parametrize("kept", ["state by place", "places", "dict", "list"])
def test_what_is_kept_by_number_is_refused_at_the_first_step(kept):
    model = make_net()
    optimizer = ByNumber(model.parameters(), 0.1, kept)
    curriculum_of(model, optimizer)
    what = r"(keeps '(state|places)' by the numbers|made 'buffers' with an entry for each of the 4 groups)"
    with pytest.raises(RuntimeError, match=r"ByNumber.step\(\) " + what):
        train(model, optimizer, range(1))


def test_where_no_group_is_split_numbers_stay():
    model = nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 3))
    groups = [{"params": part.parameters()} for part in model]
    optimizer = ByNumber(groups, 0.1, "list")
    curriculum = lerac.LeRaC(optimizer, model, k=K, layers=lerac.find_layers(model, torch.zeros(1, 6)))
    train(model, optimizer, range(2))
    assert curriculum.steps == 2
