import io
import math

import pytest
from matplotlib.figure import Figure

from lerac import plot
from lerac.curves import staircase
from lerac.layers import Layer

LAYERS = [Layer(name, depth, (f"{name}.weight",)) for depth, name in enumerate("abc")]


def lines(figure):
    [axes] = figure.axes
    return {line.get_label(): dict(zip(*line.get_data(), strict=True)) for line in axes.lines}


def test_rates_are_those_of_the_paper():
    figure = plot.schedule(LAYERS, k=4, ratio=1e-4, lr=0.1, steps=6)
    drawn = lines(figure)
    assert list(drawn) == ["a", "b", "c"]
    assert list(drawn["c"]) == [0, 1, 2, 3, 4, 5]
    assert list(drawn["a"].values()) == pytest.approx([0.1] * 6)
    assert list(drawn["b"].values()) == pytest.approx([0.1 * 1e-2 ** (1 - t / 4) for t in range(4)] + [0.1] * 2)
    assert list(drawn["c"].values()) == pytest.approx([0.1 * 1e-4 ** (1 - t / 4) for t in range(4)] + [0.1] * 2)
    assert figure.axes[0].get_yscale() == "log"


def test_ratio_by_name_and_a_schedule_and_a_curve():
    ratio = {"a": 0.5, "b": 1.0, "c": 0.25}
    drawn = lines(plot.schedule(LAYERS, k=2, ratio=ratio, curve="linear", lr=lambda step: 1 / (1 + step), steps=3))
    assert list(drawn["a"].values()) == pytest.approx([0.5, 0.75 / 2, 1 / 3])
    assert list(drawn["c"].values()) == pytest.approx([0.25, 0.625 / 2, 1 / 3])


def test_long_trainings_are_thinned_but_k_is_drawn():
    drawn = lines(plot.schedule(LAYERS, k=777, steps=1_000_000))
    assert len(drawn["a"]) < 900
    assert 777 in drawn["a"]


def test_a_short_curriculum_in_a_long_training_is_drawn_in_full():
    curve = staircase(base=10.0, updates=6)
    drawn = lines(plot.schedule(LAYERS, k=300, curve=curve, steps=1_000_000))
    assert list(drawn["c"])[:301] == list(range(301))
    assert [drawn["c"][step] for step in range(300)] == pytest.approx([curve(step / 300, 1e-6) for step in range(300)])


def test_draws_where_it_is_told_and_can_be_saved():
    figure = Figure()
    assert plot.schedule(LAYERS, k=3, axes=figure.add_subplot()) is figure
    inner = Figure()
    assert plot.schedule(LAYERS, k=3, axes=inner.subfigures(1, 2)[0].add_subplot()) is inner
    file = io.BytesIO()
    figure.savefig(file, format="svg")
    assert b"</svg>" in file.getvalue()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"k": 0}, "k must be at least 1 optimizer step, got 0"),
        ({"k": 2, "steps": 0}, "steps must be 1 or more, got 0"),
        ({"k": 2, "curve": "spline"}, "unknown curve 'spline': expected one of exponential"),
        ({"k": 2, "ratio": {"a": 1.0}}, "ratio has no factor for the layers b, c"),
        ({"k": 2, "ratio": 2.0}, r"ratio must be in \(0, 1\]"),
        ({"k": 2, "lr": -0.1}, "lr must be a finite number of at least 0, got -0.1"),
        ({"k": 2, "lr": math.nan}, "lr must be a finite number of at least 0, got nan"),
        ({"k": 2, "lr": lambda step: math.inf if step else 1.0}, "lr must be a finite number of at least 0, got inf"),
    ],
)
def test_errors(arguments, says):
    with pytest.raises(ValueError, match=says):
        plot.schedule(LAYERS, **arguments)


@pytest.mark.parametrize("lr", ["0.1", None, [0.1], lambda step: "0.1"])
def test_a_rate_that_is_no_number(lr):
    with pytest.raises(TypeError, match="lr must be a number of at least 0, or a function from the step to one, got"):
        plot.schedule(LAYERS, k=2, lr=lr)


def test_known_rates_hold_until_the_next_and_the_last_until_the_end():
    figure = plot.rates([0, 3], {"a": [0.1, 0.2], "b": [0.01, 0.0]}, steps=8)
    drawn = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(drawn) == ["a", "b"]
    assert {line.get_drawstyle() for line in drawn.values()} == {"steps-post"}
    assert [list(values) for values in drawn["a"].get_data()] == [[0, 3, 8], [0.1, 0.2, 0.2]]
    assert next(iter(drawn["b"].get_ydata())) == 0.01
    assert all(math.isnan(rate) for rate in list(drawn["b"].get_ydata())[1:])
    with pytest.raises(ValueError, match="a must have one rate for each of the 2 steps, got 1"):
        plot.rates([0, 3], {"a": [0.1]}, steps=8)
    for at in ([0, 8], []):
        with pytest.raises(ValueError, match="steps must be above the last of at, got 8"):
            plot.rates(at, {"a": [0.1] * len(at)}, steps=8)


def test_no_layers():
    with pytest.raises(ValueError, match="at least one layer"):
        plot.schedule([], k=2)
