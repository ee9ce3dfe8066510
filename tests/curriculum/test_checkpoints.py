"""Stop in the middle, continue, and get bit for bit what an uninterrupted run gives."""

import copy
import io
import itertools
import pickle
import random
from pathlib import Path

import pytest
import torch
from tests.conftest import layers_of, make_net, same, train
from torch import optim

import lerac

K, STOP, STEPS = 20, 8, 30


class Run:
    """The objects of a training script, each made when asked for."""

    def __init__(self, seed=0, **options):
        self.options = {"k": K, "ratio": 1e-3} | options
        self.model = make_net(seed)
        self.optimizer = optim.AdamW(self.model.parameters(), lr=1e-2)

    def build(self, what):
        if what == "scheduler":
            self.scheduler = optim.lr_scheduler.CosineAnnealingLR(self.optimizer, STEPS)
        else:
            self.curriculum = lerac.LeRaC(self.optimizer, self.model, layers=layers_of(self.model), **self.options)
        return self

    def train(self, first, last):
        for step in range(first, last):
            train(self.model, self.optimizer, range(step, step + 1))
            self.scheduler.step()
        return self

    def save(self):
        file = io.BytesIO()
        parts = ("model", "optimizer", "scheduler", "curriculum")
        torch.save({part: getattr(self, part).state_dict() for part in parts}, file)
        file.seek(0)
        return torch.load(file, weights_only=True)  # plain types only


def uninterrupted(steps=STEPS):
    return Run().build("scheduler").build("curriculum").train(0, steps)


LOAD_ORDERS = [
    order
    for order in itertools.permutations(["make curriculum", "make scheduler", "curriculum", "scheduler", "optimizer"])
    if order.index("make curriculum") < order.index("curriculum")
    and order.index("make scheduler") < order.index("scheduler")
    # torch's own rule: a scheduler that is built after loading overwrites the loaded rates
    and order.index("make scheduler") < order.index("optimizer")
]


@pytest.mark.parametrize("order", LOAD_ORDERS, ids=", ".join)
def test_continuing_is_as_if_never_stopped(order):
    saved = uninterrupted(STOP).save()
    fresh = Run(seed=1)
    fresh.model.load_state_dict(saved["model"])
    for what in order:
        if what.startswith("make "):
            fresh.build(what.removeprefix("make "))
        else:
            getattr(fresh, what).load_state_dict(saved[what])
    assert fresh.curriculum.steps == STOP
    assert same(fresh.train(STOP, STEPS).model, uninterrupted().model)
    assert fresh.curriculum.finished


@pytest.mark.parametrize("make_first", [True, False])
def test_the_optimizers_checkpoint_alone_carries_the_step(make_first):
    saved = uninterrupted(STOP).save()
    fresh = Run(seed=1).build("scheduler")
    if make_first:
        fresh.build("curriculum")
    for what in ("model", "scheduler", "optimizer"):
        getattr(fresh, what).load_state_dict(saved[what])
    if not make_first:
        fresh.build("curriculum")
    assert same(fresh.train(STOP, STEPS).model, uninterrupted().model)


def test_the_middle_loads_into_a_plain_optimizer():
    saved = uninterrupted(STOP).save()
    plain, reference = Run(seed=1).build("scheduler"), uninterrupted(STOP)
    for what in ("model", "scheduler", "optimizer"):
        getattr(plain, what).load_state_dict(saved[what])
    reference.curriculum.remove()
    assert same(plain.train(STOP, STEPS).model, reference.train(STOP, STEPS).model)
    assert not same(plain.model, uninterrupted().model)  # the curriculum would have gone on


def test_a_conventional_checkpoint_continues_with_the_curriculum_from_its_own_step():
    conventional = Run().build("scheduler").train(0, STOP)
    state = copy.deepcopy(conventional.optimizer.state_dict())
    fresh = Run(seed=1).build("scheduler").build("curriculum")
    fresh.optimizer.load_state_dict(state)
    assert fresh.curriculum.steps == 0  # it starts now, whatever training came before
    assert fresh.optimizer.param_groups[0]["lerac_step"] == 0
    fresh.train(0, 1)
    assert fresh.curriculum.steps == 1


def test_loading_an_earlier_checkpoint_starts_the_curriculum_again_and_a_later_one_ends_it():
    run = uninterrupted(STOP)
    middle = run.save()
    run.train(STOP, STEPS)
    end = run.save()
    for part in ("model", "optimizer", "scheduler", "curriculum"):
        getattr(run, part).load_state_dict(copy.deepcopy(middle[part]))
    assert not run.curriculum.finished
    assert run.curriculum.steps == STOP
    assert same(run.train(STOP, STEPS).model, uninterrupted().model)

    fresh = Run(seed=1).build("scheduler").build("curriculum")
    fresh.optimizer.load_state_dict(end["optimizer"])
    assert fresh.curriculum.finished
    assert not fresh.optimizer._optimizer_step_pre_hooks


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("at", [1, STOP, STEPS - 1])  # at 0 torch warns about any copied scheduler
def test_copies_continue_on_their_own(copier, at):
    run = uninterrupted(at)
    model, optimizer, scheduler, curriculum = copier((run.model, run.optimizer, run.scheduler, run.curriculum))
    run.train(at, STEPS)
    twin = Run()
    twin.model, twin.optimizer, twin.scheduler, twin.curriculum = model, optimizer, scheduler, curriculum
    assert not same(twin.model, run.model)
    twin.train(at, STEPS)
    assert same(twin.model, run.model)
    assert twin.curriculum.steps == K


def test_a_removed_curriculum_stays_removed_in_a_copy():
    run = uninterrupted(STOP)
    run.curriculum.remove()
    _, optimizer, curriculum = copy.deepcopy((run.model, run.optimizer, run.curriculum))
    assert not optimizer._optimizer_step_pre_hooks
    assert set(curriculum.lrs().values()) == {optimizer.param_groups[0]["lr"]}


def test_a_copied_optimizer_alone_is_plain_and_remembers_the_step():
    run = uninterrupted(STOP)
    optimizer = copy.deepcopy(run.optimizer)
    assert not optimizer._optimizer_step_pre_hooks
    assert optimizer.param_groups[0]["lerac_step"] == STOP


def test_state_is_plain_and_complete():
    state = uninterrupted(STOP).curriculum.state_dict()
    assert state == {
        "version": 1,
        "steps": STOP,
        "k": K,
        "ratio": 1e-3,
        "curve": "exponential",
        "layers": [
            {"name": name, "depth": depth, "parameters": [f"{name}.weight", f"{name}.bias"], "placed": {}}
            for depth, name in enumerate(["stem", "body.0", "body.2", "head"])
        ],
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": K + 1}, r"has k 20, this one 21"),
        ({"ratio": 1e-4}, r"has ratio 0.001, this one 0.0001"),
        (
            {"ratio": {"stem": 1.0, "body.0": 1.0, "body.2": 1.0, "head": 0.5}},
            r"has ratio 0.001, this one {'stem': 1.0",
        ),
        ({"curve": "linear"}, r"has curve 'exponential', this one 'linear'"),
        ({"curve": lambda p, r: 1.0}, r"has curve 'exponential', this one None"),
    ],
)
def test_another_curriculums_state_is_refused_with_both_values(options, message):
    saved = uninterrupted(STOP).save()
    other = Run(**options).build("curriculum")
    with pytest.raises(ValueError, match=message):
        other.curriculum.load_state_dict(saved["curriculum"])
    assert other.curriculum.steps == 0


def test_other_layers_are_refused():
    saved = uninterrupted(STOP).save()
    other = Run()
    layers = lerac.group_layers(layers_of(other.model), at_most=2)
    curriculum = lerac.LeRaC(other.optimizer, other.model, k=K, ratio=1e-3, layers=layers)
    with pytest.raises(
        ValueError,
        match=r"'body.0.weight' is in layer 'body.0' of depth 1 there, and in layer 'body…head' of depth 1 here",
    ):
        curriculum.load_state_dict(saved["curriculum"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"version": 99}, "has version 99, this lerac reads 1"),
        ({"steps": STOP + 1}, "is of step 9, and the optimizer is at step 8"),
        ({"steps": -1}, "steps must be a count of 0 or more, got -1"),
        ({"steps": "8"}, "steps must be a count of 0 or more, got '8'"),
    ],
)
def test_damaged_states_are_refused(damage, message):
    run = uninterrupted(STOP)
    with pytest.raises(ValueError, match=message):
        run.curriculum.load_state_dict(run.curriculum.state_dict() | damage)
    assert run.curriculum.steps == STOP


@pytest.mark.parametrize("damaged", [{"nam": "stem"}, {"name": "stem", "depth": -1, "parameters": ["stem.weight"]}, 3])
def test_damaged_layers_are_refused(damaged):
    run = uninterrupted(STOP)
    with pytest.raises(ValueError, match="layers in the curriculum's state are damaged"):
        run.curriculum.load_state_dict(run.curriculum.state_dict() | {"layers": [damaged]})


def test_what_is_no_state_is_refused():
    with pytest.raises(TypeError, match=r"a curriculum's state is a dict, as state_dict.. gives it, got NoneType"):
        uninterrupted(1).curriculum.load_state_dict(None)


def test_wording_and_order_within_a_layer_do_not_matter():
    run = uninterrupted(STOP)
    state = run.curriculum.state_dict()
    state["layers"][0] |= {"placed": {"stem.weight": "worded otherwise"}, "parameters": ["stem.bias", "stem.weight"]}
    run.curriculum.load_state_dict(state)


def test_reloading_what_it_has_keeps_a_fresh_optimizer_fresh():
    """As `accelerator.prepare` does."""
    saved = uninterrupted(STOP).save()
    fresh = Run(seed=1).build("scheduler").build("curriculum")
    fresh.optimizer.load_state_dict(fresh.optimizer.state_dict())
    fresh.curriculum.load_state_dict(saved["curriculum"])
    fresh.optimizer.load_state_dict(fresh.optimizer.state_dict())
    for part in ("model", "scheduler", "optimizer"):
        getattr(fresh, part).load_state_dict(saved[part])
    assert same(fresh.train(STOP, STEPS).model, uninterrupted().model)


def test_a_finished_curriculum_without_its_optimizers_state_does_not_step():
    saved = uninterrupted(STEPS).save()
    fresh = Run(seed=1).build("scheduler").build("curriculum")
    fresh.curriculum.load_state_dict(saved["curriculum"])
    assert fresh.curriculum.finished
    with pytest.raises(RuntimeError, match="curriculum is at step 20, and the optimizer at step 0"):
        fresh.train(0, 1)
    fresh.optimizer.load_state_dict(saved["optimizer"])
    assert not fresh.optimizer._optimizer_step_pre_hooks
    fresh.train(0, 1)


def test_a_later_checkpoint_leaves_nothing_on_the_model_and_an_earlier_one_looks_again():
    saved = {steps: uninterrupted(steps).save() for steps in (0, STEPS)}
    fresh = Run(seed=1).build("scheduler")
    fresh.curriculum = lerac.LeRaC(fresh.optimizer, fresh.model, **fresh.options)
    fresh.optimizer.load_state_dict(saved[STEPS]["optimizer"])
    assert not fresh.model._forward_pre_hooks
    for part in ("model", "scheduler", "optimizer"):
        getattr(fresh, part).load_state_dict(saved[0][part])
    assert same(fresh.train(0, STEPS).model, uninterrupted().model)


def test_incomplete_states_are_refused():
    run = uninterrupted(STOP)
    state = run.curriculum.state_dict()
    del state["k"]
    with pytest.raises(ValueError, match="state lacks k; it has version, steps"):
        run.curriculum.load_state_dict(state)


def test_a_curriculum_without_its_optimizers_state_does_not_step():
    saved = uninterrupted(STOP).save()
    fresh = Run(seed=1).build("scheduler").build("curriculum")
    fresh.curriculum.load_state_dict(saved["curriculum"])
    with pytest.raises(RuntimeError, match="curriculum is at step 8, and the optimizer at step 0"):
        fresh.train(0, 1)


def test_checkpoints_of_different_steps_do_not_mix():
    early, late = uninterrupted(STOP).save(), uninterrupted(STOP + 2).save()
    fresh = Run(seed=1).build("scheduler").build("curriculum")
    fresh.curriculum.load_state_dict(early["curriculum"])
    with pytest.raises(ValueError, match="curriculum's state is of step 8, and the optimizer's of step 10"):
        fresh.optimizer.load_state_dict(late["optimizer"])


def test_groups_that_disagree_are_refused():
    model = make_net()
    optimizer = optim.SGD([{"params": [p]} for p in model.parameters()], lr=0.1)
    for step, group in enumerate(optimizer.param_groups):
        group["lerac_step"] = step
    with pytest.raises(
        ValueError, match=r"groups must agree on 'lerac_step', a count of 0 or more, and have \[0, 1, 2"
    ):
        lerac.LeRaC(optimizer, model, k=K, layers=layers_of(model))


def test_a_checkpoint_of_today_still_loads():
    """Kept from the first version on, so that later ones prove that they read it."""
    state = {
        "version": 1,
        "steps": 0,
        "k": 3,
        "ratio": 0.01,
        "curve": "exponential",
        "layers": [
            {"name": "0", "depth": 0, "parameters": ["0.weight"], "placed": {}},
            {"name": "1", "depth": 1, "parameters": ["1.weight"], "placed": {}},
        ],
    }
    model = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False))
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    curriculum = lerac.LeRaC(optimizer, model, k=3, ratio=0.01, layers=lerac.find_layers(model, torch.zeros(1, 1)))
    optimizer.load_state_dict(
        optimizer.state_dict() | {"param_groups": [optimizer.param_groups[0] | {"params": [0, 1], "lerac_step": 2}]}
    )
    curriculum.load_state_dict(state | {"steps": 2})
    assert curriculum.lrs() == {"0.weight": 1.0, "1.weight": pytest.approx(0.01 ** (1 / 3))}


def test_a_restored_curriculum_brings_its_layers():
    saved = uninterrupted(STOP).save()
    fresh = Run(seed=1).build("scheduler")
    fresh.curriculum = lerac.LeRaC(fresh.optimizer, fresh.model, **fresh.options)
    assert fresh.curriculum.layers is None
    for part in ("model", "optimizer", "scheduler", "curriculum"):
        getattr(fresh, part).load_state_dict(saved[part])
    assert fresh.curriculum.layers == layers_of(fresh.model)
    assert not fresh.model._forward_pre_hooks  # there is nothing left to find
    assert same(fresh.train(STOP, STEPS).model, uninterrupted().model)


def test_random_stops_are_never_noticed():
    rng, whole = random.Random(0), uninterrupted()
    run, at = Run().build("curriculum").build("scheduler"), 0
    while at < STEPS:
        until = min(STEPS, at + rng.randint(1, 6))
        saved = run.train(at, until).save()
        run, at = Run(seed=rng.randint(1, 99)).build("scheduler").build("curriculum"), until
        for part in ("model", "optimizer", "scheduler", "curriculum"):
            getattr(run, part).load_state_dict(saved[part])
    assert same(run.model, whole.model)


# Whole objects, pickled by lerac 0.1.0: two linear layers and SGD with lr 0.5, k=4, ratio 1e-2.


def first_version(state):
    file = Path(__file__).parents[1] / "fixtures" / "curricula-0.1.0.pickle"
    return pickle.loads(pickle.loads(file.read_bytes())[state])


def step_once(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(3, 2)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize(("state", "at"), [("waiting", 0), ("acting", 2)])
def test_a_pickle_of_the_first_version_continues(state, at):
    model, optimizer, curriculum = first_version(state)
    assert (curriculum.steps, curriculum.k) == (at, 4)
    assert (curriculum.layers is None) == (state == "waiting")
    for step in range(at, 5):
        before = [p.clone() for p in model.parameters()]
        factor = 0.01 ** (1 - min(step, 4) / 4)
        step_once(model, optimizer)
        for p, old, full in zip(model.parameters(), before, (1, 1, factor, factor), strict=True):
            torch.testing.assert_close(old - p, optimizer.state[p]["momentum_buffer"] * 0.5 * full)
    assert curriculum.finished
    assert not optimizer._optimizer_step_pre_hooks


def test_pickles_of_the_first_version_are_in_the_state_they_were_in():
    _, optimizer, finished = first_version("finished")
    assert finished.finished
    assert not optimizer._optimizer_step_pre_hooks
    model, optimizer, removed = first_version("removed")
    assert set(removed.lrs().values()) == {0.5}
    with pytest.raises(RuntimeError, match="was removed from its optimizer"):
        removed.load_state_dict(removed.state_dict())
    lerac.LeRaC(optimizer, model, k=4)
    model, optimizer, restored = first_version("restored")
    with pytest.raises(RuntimeError, match="curriculum is at step 2, and the optimizer at step 0"):
        step_once(model, optimizer)
    optimizer.load_state_dict(first_version("acting")[1].state_dict())
    step_once(model, optimizer)
    assert restored.steps == 3
