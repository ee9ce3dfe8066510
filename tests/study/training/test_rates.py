"""What training applies is what the plan says: one rate for every layer at every step, to the bit."""

import importlib
from bisect import bisect_right

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lerac.curves import CURVES
from lerac.layers import Layer
from lerac.regimes.text import REGIMES
from lerac.study.plan.listing import schedule_of
from lerac.study.plan.rates import rates_of
from lerac.study.plan.study import Study
from lerac.study.recipes.official import official_ramp
from lerac.study.recipes.recipe import load_recipe, recipe_names, recipe_sources
from lerac.study.recipes.regimes import parse_regime
from lerac.study.training.optimizing import Plateau
from lerac.study.training.training import Training

SHORT = ("data.train=30", "data.validation=10", "data.test=10", "training.batch_size=10")  # three steps an epoch
EPOCHS = 3
VALUES = {
    "k": st.sampled_from([0.34, 1, 2.5, 3]),
    "ratio": st.floats(min_value=1e-9, max_value=1),
    "curve": st.sampled_from([*CURVES, "staircase"]),
    "lr": st.floats(min_value=1e-7, max_value=0.1),
    "depth": st.sampled_from(["measured", "registered"]),
    "factor": st.floats(min_value=1e-6, max_value=1),
    "sigma": st.floats(min_value=0.1, max_value=3),
    "decay": st.floats(min_value=0.1, max_value=1),
    "every": st.sampled_from([0.34, 1, 1.5]),
}
SCHEDULES = st.one_of(
    st.just(("constant",)),
    st.just(("cosine",)),
    st.tuples(
        st.just("step"),
        st.sampled_from(["epochs=[2]", "epochs=[2, 3]", "epochs=[3, 9]"]),
        st.floats(min_value=1.5, max_value=20).map("divide_by={}".format),
        st.sampled_from(["floor=0.0", "floor=1e-3"]),
    ),
    st.tuples(
        st.just("epoch-cosine"),
        st.integers(min_value=0, max_value=5).map("after={}".format),
        st.sampled_from(["floor=0.0", "floor=1e-4"]),
    ),
    st.tuples(
        st.just("plateau"),
        st.floats(min_value=1.5, max_value=20).map("divide_by={}".format),
        st.integers(min_value=0, max_value=2).map("patience={}".format),
    ),
)


@st.composite
def regimes(draw):
    name = draw(st.sampled_from(sorted(REGIMES)))
    keys = [key for key in REGIMES[name] if key in VALUES and draw(st.booleans())]
    options = {key: draw(VALUES[key]) for key in keys}
    if options.get("curve") == "staircase":  # with one update it fits every k
        options |= {"updates": 1, "base": draw(st.floats(min_value=1.1, max_value=1e9))}
    return f"{name}({','.join(f'{key}={value}' for key, value in options.items())})"


def check(regime, schedule, recipe, seed):
    """Train, and compare the rates that the optimizer's arithmetic gets, and σ, with the plan's, which has no data."""
    name, *keys = (f"schedule.{key}" for key in (f"name={schedule[0]}", *schedule[1:]))
    overrides = (*SHORT, name, *keys, "warmup.k=2", "lerac.k=2")
    made = load_recipe(recipe, [*overrides, "cbs.every=1", f"training.epochs={EPOCHS}"])
    [run] = Study(recipes=[made], regimes=[str(parse_regime(regime))], seeds=[seed]).runs()
    plan, training = rates_of(run), Training(run)
    layer_of = {parameter: layer.name for layer in plan.layers for parameter in layer.parameters}
    names = {id(parameter): name for name, parameter in training.network.named_parameters()}
    assert layer_of.keys() == set(names.values())
    seen: dict[int, dict[str, float]] = {}

    def recorded(update):
        def step(params, *args, lr, **options):
            now = training._rate.steps
            plateau = training._rate._plateau
            held = plateau.factor if plateau else 1.0
            for parameter in params:
                layer = layer_of[names[id(parameter)]]
                assert lr == plan.shared(now, held) * plan.factor(layer, now), (now, layer)
                seen.setdefault(now, {})[names[id(parameter)]] = lr
            assert (training._smoothing.sigma if training._smoothing else 0) == plan.sigma(now)
            update(params, *args, lr=lr, **options)

        return step

    with pytest.MonkeyPatch.context() as patch:
        for name in ("sgd", "adam"):
            module = importlib.import_module(f"torch.optim.{name}")
            patch.setattr(module, name, recorded(getattr(module, name)))
        while not training.over:
            training.run_epoch()
    assert training.diverged_at is not None or list(seen) == list(range(plan.steps))
    assert all(rates.keys() == layer_of.keys() for rates in seen.values())
    return seen


RUNS = given(regimes(), SCHEDULES, st.sampled_from(["lenet/digits", "gru/digits"]), st.integers(0, 9))


@settings(max_examples=10, deadline=None)
@RUNS
@example("lerac(curve=linear,k=3)", ("cosine",), "gru/digits", 0)
@example("cbs+lerac(k=2.5,lr=1e-7)", ("plateau", "divide_by=3.0", "patience=0"), "lenet/digits", 1)
@example("unfreeze(k=2.5)", ("cosine",), "lenet/digits", 2)
@example("layer-decay(factor=0.3)", ("plateau", "divide_by=3.0", "patience=0"), "gru/digits", 3)
def test_training_applies_what_the_plan_says(regime, schedule, recipe, seed):
    if "cbs" in regime and recipe.startswith("gru"):
        recipe = "lenet/digits"
    check(regime, schedule, recipe, seed)


@pytest.mark.wide
@settings(max_examples=300, deadline=None)
@RUNS
def test_training_applies_what_the_plan_says_of_many_runs(regime, schedule, recipe, seed):
    test_training_applies_what_the_plan_says.hypothesis.inner_test(regime, schedule, recipe, seed)


def test_a_plateau_that_divides_is_part_of_the_rates():
    seen = check("lerac(k=1,lr=1e-7)", ("plateau", "divide_by=4.0", "patience=0"), "lenet/digits", 0)
    assert [seen[3 * epoch]["conv1.weight"] for epoch in range(3)] == pytest.approx([1e-7, 1e-7, 2.5e-8])


@given(
    st.lists(st.one_of(st.floats(), st.sampled_from([1.0, 0.9999, 0.99995, 0.5])), max_size=12),
    st.floats(min_value=1, max_value=1e3, exclude_min=True),
    st.integers(0, 3),
)
def test_a_plateau_follows_torchs_rule_whatever_it_hears(losses, divide_by, patience):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    torchs = ReduceLROnPlateau(optimizer, factor=1 / divide_by, patience=patience, eps=0)
    plateau = Plateau(divide_by, patience)
    for loss in losses:
        before = plateau.factor
        assert plateau.step(loss) == (plateau.factor != before)
        torchs.step(loss)
        assert plateau.factor == optimizer.param_groups[0]["lr"]
        assert (plateau.best, plateau.bad_epochs) == (torchs.best, torchs.num_bad_epochs)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "plateau"])
def test_lerac_schedule_lists_the_plan(schedule):
    keys = ["schedule.divide_by=10.0", "schedule.patience=3"] if schedule == "plateau" else []
    recipe = load_recipe("gru/digits", [*SHORT, f"schedule.name={schedule}", *keys, "lerac.k=7", "training.epochs=9"])
    [run] = Study(recipes=[recipe], regimes=["lerac"], seeds=[0]).runs()
    plan, listed = rates_of(run), schedule_of(recipe)
    assert [group.name for group in listed.groups] == [layer.name for layer in plan.layers]
    assert listed.curriculum_steps == plan.k == 21
    for step in range(listed.steps):
        at = bisect_right(listed.at, step) - 1
        for group in listed.groups:
            rate = plan.shared(step) * plan.factor(group.name, step)
            # The same three numbers, multiplied in another order.
            assert group.lrs[at] == (pytest.approx(rate, rel=5e-16) if schedule == "cosine" else rate)


@pytest.mark.parametrize("name", [name for name in recipe_names() if "official" in recipe_sources(name)])
def test_the_plan_of_the_authors_staircase_is_their_products_but_for_rounding(name):
    recipe = load_recipe(name, source="official")
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"train": 50_000})})
    run = Study(recipes=[], regimes=[], seeds=[]).run(recipe, parse_regime("lerac"), 0)
    stairs = recipe.lerac.staircase
    plan = rates_of(run, [Layer(block, depth, (block,)) for depth, block in enumerate(stairs.starts)])
    per_epoch = plan.steps // recipe.training.epochs
    ramp = official_ramp(stairs, lr=plan.lr, epochs=recipe.training.epochs, per_epoch=per_epoch)
    assert plan.k == ramp[-1][0]
    ends = [step for step, _ in ramp[1:]] + [plan.steps]
    for (first, rates), end in zip(ramp, ends, strict=True):
        for step in (first, end - 1):
            assert {block: plan.lr * plan.factor(block, step) for block in rates} == pytest.approx(rates, rel=2e-15)
