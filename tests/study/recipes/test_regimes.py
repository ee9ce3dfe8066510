import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lerac.curves import CURVES
from lerac.layers import Layer
from lerac.regimes.effects import Curriculum, Smoothing, curve_of, layer_ratios, sigma_of, warmup_factor
from lerac.regimes.text import DEPTHS, OPTIONS, REGIMES, Regime
from lerac.study.errors import StudyError
from lerac.study.plan.rates import base_changes, base_schedule, curriculum_layers, rates_of
from lerac.study.plan.study import Study, resolve, smooth
from lerac.study.recipes.recipe import load_recipe
from lerac.study.recipes.regimes import parse_regime, split_regimes

LAYERS = [Layer(name, depth, (f"{name}.weight",)) for depth, name in enumerate("abcde")]
RECIPE = load_recipe("digits", ["training.epochs=10", "warmup.k=2", "lerac.k=3", "lerac.ratio=1e-6"])


VALUES = {
    "curve": st.sampled_from([*sorted(CURVES), "staircase"]),
    "base": st.floats(min_value=1, max_value=1e9, exclude_min=True),
    "depth": st.sampled_from(DEPTHS),
    "updates": st.integers(min_value=1, max_value=10**9),
}


@st.composite
def regimes(draw):
    name = draw(st.sampled_from(sorted(REGIMES)))
    options = {}
    for key in draw(st.sets(st.sampled_from(REGIMES[name]))) if REGIMES[name] else ():
        options[key] = draw(VALUES.get(key, st.floats(min_value=0, max_value=1, exclude_min=True)))
    if {"base", "updates"} & options.keys():
        options["curve"] = "staircase"
    return Regime(name, options)


@given(regimes())
def test_what_is_printed_is_read_back(regime):
    assert parse_regime(str(regime)) == regime
    assert split_regimes(str(regime)) == [regime]


@given(regimes(), st.randoms())
def test_order_and_spaces_do_not_matter(regime, random):
    items = [f" {key} = {value}" for key, value in regime.options.items()]
    random.shuffle(items)
    spelled = f" {regime.name} ( {' , '.join(items)} ) "
    assert str(parse_regime(spelled)) == str(regime)
    assert str(regime) == str(Regime(regime.name, dict(reversed(regime.options.items()))))


def test_numbers_have_one_spelling():
    assert str(parse_regime("lerac(ratio=0.00001,k=3.0)")) == "lerac(k=3,ratio=1e-5)"
    assert str(parse_regime("lerac()")) == "lerac"
    assert str(parse_regime("lerac(updates=06,curve=staircase,base=1e1)")) == "lerac(base=10,curve=staircase,updates=6)"


def test_commas_in_brackets_do_not_split():
    parts = split_regimes("conventional,lerac(curve=linear,ratio=1e-5),warmup(k=2)")
    assert [str(p) for p in parts] == ["conventional", "lerac(curve=linear,ratio=1e-5)", "warmup(k=2)"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lerak", "unknown regime 'lerak'; allowed: conventional, warmup, cbs, lerac, cbs+lerac, lerac-reversed"),
        ("", "unknown regime ''"),
        ("conventional,", "unknown regime ''"),
        ("lerac(k=1", "not of the form"),
        ("lerac(speed=1)", "unknown option 'speed'; allowed for lerac: k, ratio, curve"),
        ("conventional(k=1)", "allowed for conventional: lr"),
        ("lerac(k=0)", "k takes a number of epochs above 0, at most 1e+30, got '0'"),
        ("lerac(k=inf)", "got 'inf'"),
        ("lerac(k)", "got ''"),
        ("lerac(ratio=nan)", "ratio takes a number in (0, 1], got 'nan'"),
        ("lerac(curve=spline)", "curve takes one of exponential, linear, logarithmic, cosine, staircase"),
        ("lerac(base=2)", "base is an option of the staircase only; add curve=staircase"),
        ("lerac(curve=linear,updates=3)", "updates is an option of the staircase only"),
        ("lerac(curve=staircase,base=1)", "base takes a number above 1, at most 1e+30, got '1'"),
        ("lerac(curve=staircase,updates=2.5)", "updates takes a count of 1 or more, got '2.5'"),
        ("lerac(curve=staircase,updates=0)", "got '0'"),
        ("conventional(lr=0)", "lr takes a learning rate above 0, at most 1e+30, got '0'"),
        ("lerac(depth=random)", "depth takes measured or registered, got 'random'"),
        ("lerac-reversed(depth=registered)", "unknown option 'depth'"),
        ("cbs(decay=1.1)", "decay takes a number in (0, 1], got '1.1'"),
        ("cbs(k=1)", "unknown option 'k'; allowed for cbs: sigma, decay, every"),
        ("lerac(k=1,k=2)", "option 'k' is given twice"),
        ("lerac,lerac()", "lerac is given twice"),
    ],
)
def test_errors_list_what_is_allowed(text, says):
    with pytest.raises(StudyError) as refused:
        split_regimes(text)
    assert says in str(refused.value)


def test_every_option_is_known():
    assert {option for options in REGIMES.values() for option in options} == set(OPTIONS)


def test_regimes_are_filled_from_the_recipe():
    assert resolve(parse_regime("conventional"), RECIPE) is None
    assert resolve(parse_regime("warmup"), RECIPE) == Curriculum("warmup", 20, "linear", None)
    assert resolve(parse_regime("warmup(curve=exponential)"), RECIPE) == Curriculum("warmup", 20, "exponential", 1e-6)
    assert resolve(parse_regime("lerac(k=0.5)"), RECIPE) == Curriculum("lerac", 5, "exponential", 1e-6)
    assert resolve(parse_regime("lerac-shuffled(curve=cosine)"), RECIPE) == Curriculum(
        "lerac", 30, "cosine", 1e-6, "shuffled"
    )


def test_unfreezing_takes_k_from_the_recipe_and_decay_lasts_as_long_as_training():
    assert resolve(parse_regime("unfreeze"), RECIPE) == Curriculum("lerac", 30, "unfreeze", None)
    assert resolve(parse_regime("unfreeze(depth=registered,k=2)"), RECIPE).order == "registered"
    assert resolve(parse_regime("layer-decay"), RECIPE) == Curriculum("lerac", None, "exponential", 0.8, "decaying")
    stairs = load_recipe("resnet18/cifar10", source="official")
    assert stairs.lerac.staircase
    assert resolve(parse_regime("unfreeze"), stairs).curve == "unfreeze"
    assert list(ratios("layer-decay(factor=0.5)").values()) == [0.5**4, 0.5**3, 0.5**2, 0.5, 1.0]


def test_a_rate_that_decays_to_nothing_is_an_error_of_the_study():
    [run] = Study(recipes=[RECIPE], regimes=["layer-decay(factor=1e-200)"], seeds=[0]).runs()
    with pytest.raises(StudyError, match=r"small-cnn/digits: layer-decay\(factor=1e-200\): factor 1e-200 leaves the"):
        rates_of(run)


def test_smoothing_is_filled_from_the_recipe_and_leaves_the_rates_alone():
    recipe = load_recipe("digits", ["cbs.sigma=2.0", "cbs.decay=0.5", "cbs.every=3.0", "lerac.k=3"])
    assert smooth(parse_regime("cbs"), recipe) == Smoothing(2.0, 0.5, 30)
    assert smooth(parse_regime("cbs(sigma=1,decay=0.9,every=0.25)"), recipe) == Smoothing(1.0, 0.9, 2)
    assert smooth(parse_regime("cbs+lerac(every=1)"), recipe) == Smoothing(2.0, 0.5, 10)
    assert resolve(parse_regime("cbs"), recipe) is None
    assert resolve(parse_regime("cbs+lerac"), recipe) == resolve(parse_regime("lerac"), recipe)
    assert {smooth(parse_regime(name), recipe) for name in REGIMES if "cbs" not in name} == {None}


def test_sigma_by_hand():
    sigma = sigma_of(Smoothing(1.0, 0.5, 3))
    assert [sigma(step) for step in range(8)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_smoothing_that_a_recipe_lacks():
    bare = RECIPE.model_copy(update={"cbs": None})
    assert smooth(parse_regime("cbs(sigma=1,decay=0.9,every=1)"), bare) == Smoothing(1.0, 0.9, 10)
    with pytest.raises(StudyError, match=r"small-cnn/digits has no \[cbs\]; cbs\(decay=0.9\) needs sigma, every"):
        smooth(parse_regime("cbs(decay=0.9)"), bare)


def test_smoothing_cannot_decay_between_two_steps():
    with pytest.raises(StudyError, match=r"every = 0.01 epochs is shorter than a step: use 0.1 or more"):
        smooth(parse_regime("cbs(every=0.01)"), RECIPE)


def test_a_staircase_has_as_many_updates_as_it_needs():
    def updates(text):
        curriculum = resolve(parse_regime(text), RECIPE)
        return curriculum.curve, curriculum.base, curriculum.updates

    assert updates("lerac(curve=staircase)") == ("staircase", 10.0, 6)  # from the recipe's ratio, 1e-6
    assert updates("lerac(curve=staircase,ratio=1e-3)") == ("staircase", 10.0, 3)
    assert updates("lerac(curve=staircase,base=2)") == ("staircase", 2.0, 20)  # 2^20 = 1.05e6
    assert updates("lerac-reversed(curve=staircase,base=100,updates=2)") == ("staircase", 100.0, 2)
    assert updates("lerac(curve=staircase,ratio=1)") == ("staircase", 10.0, 1)
    assert updates("lerac") == ("exponential", None, None)


def test_a_staircase_is_the_rule_of_the_authors_code():
    curve = curve_of(resolve(parse_regime("lerac(curve=staircase,ratio=1e-2,base=10,updates=2)"), RECIPE))
    assert [curve(p, 1e-2) for p in (0, 0.49, 0.5, 0.99, 1)] == pytest.approx([1e-2, 1e-2, 1e-1, 1e-1, 1])
    assert curve_of(resolve(parse_regime("lerac(curve=linear)"), RECIPE)) is CURVES["linear"]
    factor = warmup_factor(resolve(parse_regime("warmup(curve=staircase,k=0.4,ratio=1e-2,updates=2)"), RECIPE))
    assert [factor(step) for step in range(6)] == pytest.approx([1e-2, 1e-2, 1e-1, 1e-1, 1, 1])


@pytest.mark.parametrize(
    ("regime", "says"),
    [
        ("lerac(curve=staircase,updates=31)", r"31 updates do not fit into a curriculum of 30 steps"),
        ("lerac(curve=staircase,base=1.01)", r"1389 updates do not fit into a curriculum of 30 steps: use a larger"),
        ("unfreeze(k=11)", r"k = 11 epochs, 110 optimizer steps\) outlasts training"),
        ("lerac(k=11)", r"k = 11 epochs, 110 optimizer steps\) outlasts training \(10 epochs, 100 steps\)"),
        ("warmup(k=0.01)", r"shorter than a step: use k = 0.1 or more"),
    ],
)
def test_what_cannot_be_trained_is_refused(regime, says):
    with pytest.raises(StudyError, match=says):
        resolve(parse_regime(regime), RECIPE)


def test_a_curriculum_as_long_as_training_is_fine():
    assert resolve(parse_regime("lerac(k=10)"), RECIPE).k == 100


def test_warmup_is_a_line_from_zero():
    factor = warmup_factor(resolve(parse_regime("warmup(k=0.4)"), RECIPE))
    assert [factor(step) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]


def test_warmup_with_a_curve_starts_at_the_ratio():
    factor = warmup_factor(resolve(parse_regime("warmup(k=0.4,curve=exponential,ratio=1e-4)"), RECIPE))
    assert [factor(step) for step in range(6)] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1, 1], rel=1e-12)
    assert factor(4) == 1


def test_other_regimes_have_no_common_factor():
    for text in ("conventional", "lerac", "cbs"):
        assert {warmup_factor(resolve(parse_regime(text), RECIPE))(step) for step in range(50)} == {1.0}


def base(lr=1.0, epochs=5, per_epoch=2, **schedule):
    factor = base_schedule(schedule, lr=lr, epochs=epochs, per_epoch=per_epoch)
    factors = [factor(step) for step in range(epochs * per_epoch + 1)]
    changes = {step for step in range(1, epochs * per_epoch) if factors[step] != factors[step - 1]}
    assert changes <= set(base_changes(schedule, epochs=epochs, per_epoch=per_epoch))
    return factors


def test_base_schedules():
    assert set(base(name="constant")) == {1.0}
    assert set(base(name="plateau", divide_by=10.0, patience=3)) == {1.0}
    cosine = base(name="cosine")
    assert [cosine[0], cosine[5], cosine[10]] == pytest.approx([1, 0.5, 0], abs=1e-15)


def test_steps_are_divided_at_the_start_of_epochs_while_above_the_floor():
    schedule = {"name": "step", "epochs": [2, 3, 5], "divide_by": 10.0, "floor": 1e-3}
    factor = base_schedule(schedule, lr=0.1, epochs=6, per_epoch=2)
    assert [factor(step) for step in range(12)] == pytest.approx([1, 1, 0.1, 0.1] + [0.01] * 8, rel=1e-12)
    assert list(base_changes(schedule, epochs=4, per_epoch=2)) == [2, 4]


def test_the_late_cosine_is_constant_within_an_epoch_and_cut_short():
    lrs = [0.1 * f for f in base(lr=0.1, epochs=6, per_epoch=2, name="epoch-cosine", after=2, floor=0.01)]
    waited = [0, 0, 0, 1, 2, 3]
    closed = [0.01 + 0.5 * 0.09 * (1 + math.cos(math.pi * t / 6)) for t in waited]
    assert lrs[:12] == pytest.approx([lr for lr in closed for _ in range(2)], rel=1e-12)


def ratios(text, seed=0):
    return layer_ratios(LAYERS, resolve(parse_regime(text), RECIPE), seed)


def test_lerac_starts_nearest_highest_and_reversed_is_its_mirror():
    nearest, reverse = ratios("lerac(ratio=1e-4)"), ratios("lerac-reversed(ratio=1e-4)")
    assert list(nearest.values()) == [1.0, 1e-4**0.25, 1e-4**0.5, 1e-4**0.75, 1e-4]
    assert list(reverse.values()) == list(nearest.values())[::-1]


def test_shuffled_deals_out_the_same_factors_by_the_seed():
    dealt = [tuple(ratios("lerac-shuffled", seed).values()) for seed in range(20)]
    assert {tuple(sorted(d)) for d in dealt} == {tuple(sorted(ratios("lerac").values()))}
    assert len(set(dealt)) > 10
    assert dealt[3] == tuple(ratios("lerac-shuffled", 3).values())


def test_a_regime_may_have_its_own_full_rate():
    study = Study(recipes=[RECIPE], regimes=["conventional", "conventional(lr=0.3)", "lerac(lr=0.02)"], seeds=[0])
    assert [run.settings["optimizer"]["lr"] for run in study.runs()] == [0.01, 0.3, 0.02]
    changed = load_recipe("digits", ["training.epochs=10", "warmup.k=2", "optimizer.lr=0.3"])
    assert study.runs()[1].settings == Study(recipes=[changed], regimes=["conventional"], seeds=[0]).runs()[0].settings


class LateFirst(nn.Module):
    """Registers what comes last first."""

    def __init__(self):
        super().__init__()
        self.late = nn.Linear(2, 1)
        self.early = nn.Sequential(nn.Linear(2, 2), nn.ReLU())

    def forward(self, x):
        return self.late(self.early(x))


def test_layers_as_registered_are_modules_in_their_order():
    def order(regime):
        layers = curriculum_layers(LateFirst(), torch.zeros(1, 2), resolve(parse_regime(regime), RECIPE))
        return [layer.parameters for layer in layers]

    late, early = ("late.weight", "late.bias"), ("early.0.weight", "early.0.bias")
    assert order("lerac(depth=registered)") == [late, early]
    assert order("lerac(depth=measured)") == order("lerac") == [early, late]
    assert ratios("lerac(depth=registered)") == ratios("lerac")  # of layers in the order that was asked for


def test_one_layer_has_nothing_to_order():
    [ratio] = layer_ratios(LAYERS[:1], resolve(parse_regime("lerac"), RECIPE), 0).values()
    assert ratio == 1.0
