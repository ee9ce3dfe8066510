"""Grids in braces: the product in order, of canonical texts; and what is no grid."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lerac
from lerac.regimes import REGIMES, Regime, parse_regime, split_regimes

POOLS = {
    "k": [0.5, 1.0, 3.0, 5.0],
    "ratio": [1e-6, 1e-4, 0.01, 1.0],
    "curve": ["exponential", "linear", "cosine"],
    "sigma": [0.5, 1.0, 2.0],
    "decay": [0.5, 0.9],
    "every": [0.25, 1.0],
    "lr": [0.001, 0.1],
    "depth": ["measured", "registered"],
    "factor": [0.65, 0.8, 1.0],
}


@st.composite
def grids(draw):
    """One regime: its name, and the values of each of its options, in the order in which they are written."""
    name = draw(st.sampled_from(sorted(REGIMES)))
    keys = draw(st.lists(st.sampled_from(sorted(set(REGIMES[name]) & set(POOLS))), unique=True, max_size=3))
    return name, {key: draw(st.lists(st.sampled_from(POOLS[key]), min_size=1, unique=True)) for key in keys}


def written(name, values, draw):
    items = []
    for key, own in values.items():
        texts = [str(one) for one in own]
        braces = len(own) > 1 or draw(st.booleans())
        items.append(f"{key} = {{{' , '.join(texts)}}}" if braces else f"{key}={texts[0]}")
    return f"{name}({','.join(items)})" if items else name


@given(st.lists(grids(), min_size=1, max_size=3, unique_by=lambda one: one[0]), st.data())
def test_every_grid_is_the_product_in_order(several, data):
    by_hand = [
        Regime(name, dict(zip(values, chosen, strict=True)))
        for name, values in several
        for chosen in product(*values.values())
    ]
    text = ", ".join(written(name, values, data.draw) for name, values in several)
    assert [str(one) for one in split_regimes(text)] == [str(one) for one in by_hand]


def test_as_it_is_asked_for():
    texts = [str(one) for one in split_regimes("conventional,lerac(k={1,3},ratio={1e-2,1e-4}),unfreeze(k={1})")]
    lerac = ["lerac(k=1,ratio=0.01)", "lerac(k=1,ratio=0.0001)", "lerac(k=3,ratio=0.01)", "lerac(k=3,ratio=0.0001)"]
    assert texts == ["conventional", *lerac, "unfreeze(k=1)"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lerac(k={1,{2,3}})", "there are braces inside of braces; all values of an option stand in one pair"),
        ("lerac(k={1,2}{3})", "k={1,2}{3} is more or less than an option and its values in one pair of braces"),
        ("lerac(k={})", "k has no value in its braces"),
        ("lerac(k={1,,2})", "k has an empty value in its braces"),
        ("lerac(k={1,2,})", "k has an empty value in its braces"),
        ("lerac(k={1,3)", "a brace lacks its other half"),
        ("lerac(ratio=0.1,k={1,3)", "a brace lacks its other half"),
        ("lerac(k=1,3})", "a brace lacks its other half"),
        ("lerac(k={1,3}", "braces stand inside the round brackets"),
        ("lerac(k={1,3.0,3})", "k has 3 twice in its braces"),
        ("lerac(ratio={1e-2,0.01})", "ratio has 0.01 twice in its braces"),
        ("lerac(k=1{2,3})", "k=1{2,3} is more or less than an option"),
        ("lerac({k=1,k=2})", "is more or less than an option"),
        ("lerac({1,2})", "is more or less than an option"),
        ("{lerac,warmup}", "braces stand inside the round brackets of one regime"),
        ("{lerac,warmup}(k=1)", "braces stand inside the round brackets of one regime"),
        ("lerac{1,2}", "braces stand inside the round brackets of one regime"),
        ("}{", "braces stand inside the round brackets of one regime"),
    ],
)
def test_what_is_no_grid_is_told_what_to_write(text, says):
    for listed in (text, f"conventional,{text}", f"{text},warmup(k=2)"):
        with pytest.raises(ValueError, match=r"write it like lerac\(k=\{1,3,5\},ratio=\{1e-2,1e-4\}\)") as refused:
            split_regimes(listed)
        assert says in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lerac(k={1,0})", "regime 'lerac(k=0)': k takes a number of epochs above 0"),
        ("lerac(speed={1,2})", "regime 'lerac(speed=1)': unknown option 'speed'; allowed for lerac: k, ratio"),
        ("lerak(k={1,2})", "unknown regime 'lerak(k=1)'; allowed: conventional"),
        ("lerac(k={1..5})", "got '1..5'"),
        ("lerac(k={1,2},k={3,4})", "option 'k' is given twice"),
        ("lerac(curve={linear,staircase},base=2)", "base is an option of the staircase only"),
        ("lerac(k={1,2}),lerac(k=2)", "lerac(k=2) is given twice"),
    ],
)
def test_a_bad_regime_of_a_grid_is_named(text, says):
    with pytest.raises(ValueError, match=r"allowed|takes|given twice|staircase") as refused:
        split_regimes(text)
    assert says in str(refused.value)


def test_where_one_regime_is_wanted_braces_are_refused():
    with pytest.raises(ValueError, match=r"'lerac\(k=\{1,2\}\)' has braces, which list the regimes of a comparison"):
        parse_regime("lerac(k={1,2})")
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="give each option one value"):
        lerac.attach(optimizer, model, "lerac(k={1,2})", epoch_steps=3)
