"""The space of a tuning: budgets, rates that all regimes share, values within their axes, and what is refused."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import SMALL

from lerac.regimes.text import REGIMES
from lerac.study.errors import StudyError
from lerac.study.plan.own import FunctionExperiment
from lerac.study.plan.space import tuning_of, tuning_study
from lerac.study.plan.study import Study
from lerac.study.plan.tuning import AXES, Tuning, edges_of
from lerac.study.recipes.recipe import load_recipe
from lerac.study.recipes.regimes import parse_regime, split_regimes

RECIPE = load_recipe("digits", [*SMALL, "training.epochs=20"])  # of 3 steps an epoch
FUNCTION = FunctionExperiment(name="mine", file="mine.py", function="train", folder="/", code=["0"], values={"lr": 0.1})
ALL = [name for name in REGIMES if not {"k", "sigma"}.isdisjoint(REGIMES[name])] + ["conventional"]
FIXED = {"lerac": ["lerac", "lerac(k=3)", "lerac(ratio=0.001)"], "warmup": ["warmup", "warmup(curve=exponential)"]}


def tune(regimes, configs=4, experiment=RECIPE, epochs=None, steps=None, **words):
    return tuning_of(experiment, split_regimes(regimes), configs, words, epochs, steps)


def options(tuning, regime):
    return [parse_regime(text).options for text in tuning.tried[regime]]


regimes = st.lists(st.sampled_from(ALL), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.tuples(*(st.sampled_from(FIXED.get(name, [name])) for name in names))
)
ranges = st.tuples(st.floats(1e-4, 1), st.floats(1.01, 1000)).map(lambda pair: (pair[0], pair[0] * pair[1]))


@settings(max_examples=30, deadline=None)
@given(regimes, st.integers(1, 40), ranges, st.booleans())
def test_every_regime_has_as_many_configurations_at_the_same_rates_within_the_axes(names, configs, lr, own):
    low, high = lr
    experiment, more = (FUNCTION, {"epochs": 20, "steps": 3}) if own else (RECIPE, {})
    tuning = tune(",".join(names), configs, experiment, lr=f"{low!r}..{high!r}", **more)
    assert list(tuning.tried) == [str(parse_regime(name)) for name in names]
    assert {len(set(texts)) for texts in tuning.tried.values()} == {configs}
    rates = [[one["lr"] for one in options(tuning, regime)] for regime in tuning.tried]
    assert all(own == rates[0] for own in rates)
    for regime in tuning.tried:
        fixed = parse_regime(regime).options
        for one in options(tuning, regime):
            assert {key: one[key] for key in fixed} == dict(fixed)
            for option in AXES.keys() & one.keys() - fixed.keys():
                if option in tuning.axes:
                    assert tuning.axes[option].low <= one[option] <= tuning.axes[option].high
            if "k" in one and "k" not in fixed:
                assert 1 <= round(3 * one["k"]) <= 60
                assert one["k"] <= 20
    assert math.isclose(tuning.axes["lr"].low, low)
    longer = tune(",".join(names), configs + 5, experiment, lr=f"{low!r}..{high!r}", **more)
    assert all(longer.tried[regime][:configs] == texts for regime, texts in tuning.tried.items())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1e-3, 1), min_size=2, max_size=12, unique=True), st.integers(1, 12))
def test_of_a_list_each_value_comes_once_before_any_comes_again(values, configs):
    tuning = tune("lerac", configs, lr=",".join(map(repr, values)))
    rates = [one["lr"] for one in options(tuning, "lerac")]
    rounds = [rates[i : i + len(values)] for i in range(0, configs, len(values))]
    assert all(len(set(one)) == len(one) for one in rounds)
    assert set(rates) <= set(values)


def test_the_first_configurations_are_these_for_all_time():
    assert tune("conventional,cbs+lerac", 3).tried == {
        "conventional": ["conventional(lr=0.00812)", "conventional(lr=0.0257)", "conventional(lr=0.0118)"],
        "cbs+lerac": [
            "cbs+lerac(every=0.528,k=2.77,lr=0.00812,ratio=0.0194,sigma=0.627)",
            "cbs+lerac(every=0.896,k=0.425,lr=0.0257,ratio=2.49e-6,sigma=0.369)",
            "cbs+lerac(every=1.8,k=1.65,lr=0.0118,ratio=0.00415,sigma=0.725)",
        ],
    }


def test_what_an_option_fixes_is_not_tuned_and_a_straight_warm_up_has_no_ratio():
    tuning = tune("warmup,lerac(k=3)", 2)
    assert set(options(tuning, "warmup")[0]) == {"k", "lr"}
    assert [one["k"] for one in options(tuning, "lerac(k=3)")] == [3, 3]
    assert set(options(tune("warmup(curve=cosine)"), "warmup(curve=cosine)")[0]) == {"curve", "k", "lr", "ratio"}
    assert set(tune("conventional").axes) == {"lr"}


def test_defaults_are_around_the_rate_and_in_shares_of_training():
    axes = tune("cbs+lerac").axes
    assert {name: axis.words for name, axis in axes.items()} == {**AXES, "lr": "0.00316..0.0316"}
    assert (axes["k"].low, axes["k"].high) == (0.333, 3)  # a step, and 15 % of 20 epochs
    assert tune("lerac", experiment=FUNCTION, k="1..4").axes["lr"].words == "0.0316..0.316"


def test_a_file_has_a_value_per_line(tmp_path):
    file = tmp_path / "rates"
    file.write_text("# mine\n0.1\n\n0.2  # large\n0.4\n")
    assert tune("lerac", 2, lr=str(file)) == tune("lerac", 2, lr="0.4,0.1,0.2")


@pytest.mark.parametrize(
    ("regimes", "words", "said"),
    [
        ("lerac(lr=0.1)", {}, "leave lr out"),
        ("lerac,lerac(k=3)", {}, "lerac is tuned twice"),
        ("conventional", {"k": "1..2"}, "--k is tuned in none of conventional"),
        ("lerac", {"lr": "0.2..0.1"}, "A below B"),
        ("lerac", {"lr": "0.1..0.1"}, "A below B"),
        ("lerac", {"lr": "1..2..3"}, "A..B was expected"),
        ("lerac", {"lr": "-1..2"}, "'-1' is not a learning rate"),
        ("lerac", {"lr": "1%..2%"}, "'1%' is not a learning rate"),
        ("lerac", {"lr": ".."}, "'nothing' is not"),
        ("lerac", {"lr": "nan..1"}, "'nan' is not"),
        ("lerac", {"ratio": "0.1..2"}, "'2' is not a number in"),
        ("lerac", {"k": "1%..200%"}, "1% to 100% of training"),
        ("lerac", {"k": "30..40"}, "between a step"),
        ("lerac", {"k": "0.1,2"}, "0.1 epochs are not between a step (0.333 epochs) and the whole training"),
        ("lerac", {"lr": "nowhere.txt"}, "a file with a value per line was expected"),
        ("conventional", {"lr": "0.1,0.2"}, "4 configurations were asked for, and --lr 0.1,0.2 give 2"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(regimes, words, said):
    with pytest.raises(StudyError) as caught:
        tune(regimes, **words)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_only_the_training_knows_has_to_be_told():
    bare = FUNCTION.model_copy(update={"values": {}})
    for more, said in [
        ({}, "--lr A..B is needed"),
        ({"lr": "1..2"}, "pass --epochs N, or --k A..B in epochs"),
        ({"lr": "1..2", "k": "5%..10%"}, "% of training needs --epochs"),
    ]:
        with pytest.raises(StudyError, match=said.replace("%", "%")):
            tune("lerac", experiment=bare, **more)
    for more in ({"epochs": 3}, {"steps": 3}):
        with pytest.raises(StudyError, match=r"--epoch(s|-steps) is of functions and commands"):
            tune("lerac", **more)
    for configs in (0, 5000):
        with pytest.raises(StudyError, match="--configs must be 1 to 4096"):
            tune("lerac", configs)


def study_of(*recipes, **fields):
    return Study(recipes=list(recipes), regimes=["conventional"], seeds=[5], **fields)


def test_one_training_is_tuned_and_never_by_its_test_data():
    with pytest.raises(StudyError, match="tune each in a folder of its own"):
        tuning_study(study_of(RECIPE, load_recipe("lenet/digits")), "conventional", 2, {})
    on_test = RECIPE.model_copy(update={"data": RECIPE.data.model_copy(update={"validation": "test"})})
    with pytest.raises(StudyError, match="would choose by test values"):
        tuning_study(study_of(on_test), "conventional", 2, {})


def test_a_study_that_tunes_says_so_in_its_file_and_another_does_not_mention_it():
    tuning = tuning_study(study_of(RECIPE), "conventional,lerac", 3, {})
    assert Study.from_json(tuning.model_dump_json()) == tuning
    assert "tun" not in study_of(RECIPE).model_copy(update={"recipes": []}).model_dump_json()
    assert [run.regime for run in tuning.runs()] == tuning.tuning.regimes
    assert all(run.tuning for run in tuning.runs())
    [plain] = study_of(RECIPE).runs()
    assert "tuning" not in plain.configuration()


def test_more_seeds_regimes_and_configurations_extend_it_and_nothing_else_does():
    def asked(regimes, configs=3, **words):
        return tuning_study(study_of(RECIPE), regimes, configs, words)

    start = asked("conventional")
    both = start.extend(asked("lerac"))
    assert list(both.tuning.tried) == ["conventional", "lerac"]
    assert both.regimes == both.tuning.regimes
    assert both.extend(asked("conventional,lerac", 5)).tuning.configs == 5
    for other, said in [
        (asked("lerac", 5), "conventional has 3 configurations there, now asked for 5"),
        (asked("conventional", lr="0.1..1"), "it tunes --lr 0.00316..0.0316, now asked for 0.1..1"),
        (study_of(RECIPE), "it is one of lerac tune, now asked for by lerac compare"),
    ]:
        with pytest.raises(StudyError) as caught:
            both.extend(other)
        assert said in str(caught.value)
    with pytest.raises(StudyError, match="now asked for by lerac tune"):
        study_of(RECIPE).extend(start)


def test_the_edge_is_the_outermost_value_tried_and_what_is_near_the_end_of_the_axis():
    rates = [0.02, 0.012, 0.05, 0.085, 0.03]
    tuning = Tuning(
        configs=5,
        axes={"lr": {"words": "0.01..0.1", "low": 0.01, "high": 0.1}},
        tried={"conventional": [f"conventional(lr={rate})" for rate in rates]},
    )
    found = {rate: edges_of(tuning, "conventional", f"conventional(lr={rate})") for rate in rates}
    assert [rate for rate in rates if found[rate]] == [0.012, 0.085]
    assert found[0.085] == ["lr = 0.085, high in 0.01..0.1"]
    near = tuning.model_copy(
        update={"tried": {"conventional": ["conventional(lr=0.011)", *tuning.tried["conventional"]]}}
    )
    assert edges_of(near, "conventional", "conventional(lr=0.012)")  # within 10 % of the end
    assert not edges_of(near, "conventional", "conventional(lr=0.02)")
