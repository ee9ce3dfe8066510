"""The text of regimes: what is open, what is canonical, and what bad text is told."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lerac.regimes import REGIMES, parse_regime, split_regimes
from lerac.regimes.text import OPTIONS

VALUES = {
    "k": st.floats(0.01, 50),
    "ratio": st.floats(1e-8, 1),
    "curve": st.sampled_from(["exponential", "linear", "logarithmic", "cosine"]),
    "sigma": st.floats(0.1, 4),
    "decay": st.floats(0.1, 1),
    "every": st.floats(0.1, 9),
    "lr": st.floats(1e-5, 10),
    "depth": st.sampled_from(["measured", "registered"]),
    "factor": st.floats(1e-8, 1),
}


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("conventional", "conventional"),
        ("warmup", "warmup(curve=linear,k=5)"),
        ("warmup(ratio=1e-2)", "warmup(curve=linear,k=5,ratio=0.01)"),
        ("warmup(curve=exponential,k=3)", "warmup(curve=exponential,k=3,ratio=1e-6)"),
        ("cbs", "cbs(decay=0.9,every=2,sigma=1)"),
        ("lerac(k=3)", "lerac(curve=exponential,k=3,ratio=1e-6)"),
        ("lerac(depth=measured)", "lerac(curve=exponential,k=5,ratio=1e-6)"),
        ("lerac(depth=registered)", "lerac(curve=exponential,depth=registered,k=5,ratio=1e-6)"),
        ("lerac(curve=staircase,ratio=1e-3)", "lerac(base=10,curve=staircase,k=5,ratio=0.001,updates=3)"),
        ("cbs+lerac(lr=0.1)", "cbs+lerac(curve=exponential,decay=0.9,every=2,k=5,lr=0.1,ratio=1e-6,sigma=1)"),
        ("lerac-reversed", "lerac-reversed(curve=exponential,k=5,ratio=1e-6)"),
        ("lerac-shuffled(k=1)", "lerac-shuffled(curve=exponential,k=1,ratio=1e-6)"),
        ("unfreeze", "unfreeze(k=5)"),
        ("unfreeze(depth=measured,k=2)", "unfreeze(k=2)"),
        ("layer-decay", "layer-decay(factor=0.8)"),
        ("layer-decay(lr=0.1,factor=0.65)", "layer-decay(factor=0.65,lr=0.1)"),
    ],
)
def test_what_is_left_open(text, complete):
    assert str(parse_regime(text).complete()) == complete


@st.composite
def regimes(draw):
    name = draw(st.sampled_from(list(REGIMES)))
    keys = draw(st.lists(st.sampled_from(sorted(set(REGIMES[name]) & set(VALUES))), unique=True))
    return f"{name}({','.join(f'{key}={draw(VALUES[key])}' for key in keys)})" if keys else name


@settings(max_examples=300, deadline=None)
@given(regimes())
def test_completing_is_idempotent_and_its_text_is_read_as_the_same(text):
    complete = parse_regime(text).complete()
    assert complete.complete() == complete
    assert parse_regime(str(complete)) == complete
    given_options = parse_regime(text).options
    assert {key: complete.options.get(key, "measured") for key in given_options} == dict(given_options)


@pytest.mark.parametrize(
    "text", ["lerax", "", "lerac(", "lerac(k=0)", "lerac(k=nan)", "warmup(sigma=1)", "lerac(k=1,k=2)", "(k=1)"]
)
def test_bad_text_is_a_value_error_that_names_it(text):
    with pytest.raises(ValueError, match=r"unknown regime|takes|unknown option|given twice|form") as error:
        parse_regime(text)
    assert type(error.value) is ValueError
    assert repr(text) in str(error.value)


def test_a_list_is_split_outside_of_brackets():
    assert [str(one) for one in split_regimes("warmup(k=3,ratio=1e-2), lerac")] == ["warmup(k=3,ratio=0.01)", "lerac"]
    with pytest.raises(ValueError, match="given twice"):
        split_regimes("lerac,lerac")


def test_every_option_of_a_regime_is_known():
    assert {key for allowed in REGIMES.values() for key in allowed} == set(OPTIONS)
