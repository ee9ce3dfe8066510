"""`lerac compare` on a terminal: the paper's numbers beside ours."""

import io

import pytest
from rich.console import Console

from lerac.study.recipe import load_recipe
from lerac.study.report import Comparison
from lerac.study.statistics import summarise
from lerac.study.terminal import comparison_json, print_comparison


def compared(name, *regimes):
    values = {regime: {seed: 0.8 + 0.01 * seed + 0.001 * i for seed in range(5)} for i, regime in enumerate(regimes)}
    return Comparison(load_recipe(name), [], summarise(values), [])


def printed(comparison):
    text = io.StringIO()
    print_comparison(Console(file=text, width=80), comparison)
    return text.getvalue()


def test_the_papers_numbers_stand_beside_ours_where_they_are_known():
    comparison = compared("cvt13/cifar10", "conventional", "lerac", "lerac(curve=linear)", "lerac-reversed")
    text = printed(comparison)
    rows = text.splitlines()
    assert rows[1].split() == ["regime", "test", "accuracy,", "%", "−", "conventional", "[95%]", "n", "paper"]
    assert rows[2].split() == ["conventional", "82.00", "±", "1.58", "–", "5", "71.84", "±", "0.37"]
    assert rows[3].split()[-4:] == ["5", "72.90", "±", "0.28"]
    assert "72.49 ± 0.27" in text
    [reversed_row] = [row for row in rows if row.startswith("lerac-reversed ")]
    assert reversed_row.split()[-2:] == ["5", "–"]
    assert max(map(len, rows)) <= 80
    words = " ".join(text.split())
    assert "paper: mean and standard deviation of 5 runs, as its first version reports them." in words
    assert "selects the epoch on the test data" in words


def test_json_has_them_in_the_unit_of_ours():
    rows = {
        row["regime"]: row for row in comparison_json(compared("cvt13/cifar10", "conventional", "warmup"))["regimes"]
    }
    assert rows["conventional"]["published"] == {"mean": pytest.approx(0.7184), "sd": pytest.approx(0.0037)}
    assert rows["conventional"]["mean"] == pytest.approx(0.82)
    assert rows["warmup"]["published"] is None


@pytest.mark.parametrize(("name", "regimes"), [("digits", ["conventional"]), ("cvt13/cifar10", ["warmup"])])
def test_nothing_is_said_of_the_paper_where_nothing_is_known(name, regimes):
    assert "paper" not in printed(compared(name, *regimes))
