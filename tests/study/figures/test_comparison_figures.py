"""Names and units in the figures of a report are shown as they are, and leave room for what is drawn."""

import pytest

from lerac.study.figures.comparison import differences_figure, seeds_figure
from lerac.study.figures.style import svg
from lerac.study.metrics import ACCURACY, Metric
from lerac.study.statistics import summarise

OURS = "lerac(curve=exponential,k=5,ratio=1e-06)"


def summaries_of(*regimes):
    return summarise({regime: {0: 0.5 + i / 10, 1: 0.6 + i / 10} for i, regime in enumerate(regimes)}, regimes[0])


@pytest.mark.parametrize(
    ("baseline", "metric", "label"),
    [
        ("conventional", ACCURACY, "difference to conventional, percentage points"),
        ("conventional", Metric("score"), "difference to conventional"),
        (OURS, Metric("age", unit="years"), f"difference to {OURS},\nyears"),
        ("$x$", Metric("score", unit="$"), "difference to \\$x\\$, \\$"),
    ],
)
def test_the_axis_names_baseline_and_unit(baseline, metric, label):
    figure = differences_figure(summaries_of(baseline, "mine"), baseline, metric)
    assert figure.axes[0].get_xlabel() == label
    assert svg(figure).startswith("<?xml")


@pytest.mark.parametrize(
    "name", [OURS, "a word " * 11, "x" * 80, "(" * 80, "$" * 80, "\\frac{" * 13, "对" * 80, "_", "[/]"]
)
def test_any_name_leaves_room_for_the_dots(name):
    figure = seeds_figure(summaries_of("conventional", name), Metric(name))
    drawn = svg(figure)  # warnings are errors: a layout that collapses warns
    assert drawn.count("<use") > 4
    assert figure.axes[0].get_position().width > 0.15
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert "".join(labels[1].replace("\\$", "$").split()) == "".join(name.split())
    assert name != OURS or labels[1] == name.replace("(", "\n(")
