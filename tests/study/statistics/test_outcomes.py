"""Statistics need outcomes and a metric, and nothing of data sets, networks and recipes."""

import ast
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lerac.study.statistics
from lerac.study.errors import StudyError
from lerac.study.metrics import ACCURACY, Metric
from lerac.study.statistics import Outcome, analyse, probability_of_improvement
from lerac.study.statistics.pooling import RESAMPLES, bootstrap, estimate

ALLOWED = (
    "lerac.study.errors",
    "lerac.study.files",
    "lerac.study.metrics",
    "lerac.study.statistics",
    "numpy",
    "scipy",
    "statsmodels",
)
VALUES = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=5, max_size=8)


def outcomes_of(metric, **regimes):
    """Outcomes of an experiment that nobody has heard of: regime → values of seeds 0, 1, …; NaN diverged."""
    return [
        Outcome("mine:train", regime, seed, metric, "diverged" if math.isnan(v) else "done", {"test": {metric.name: v}})
        for regime, values in regimes.items()
        for seed, v in enumerate(values)
    ]


def imported(file):
    """Every module that a file imports, lazily too, with its line."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}:{node.lineno} is a relative import"
            yield node.module, node.lineno


def test_statistics_import_nothing_of_what_is_trained():
    files = sorted(Path(lerac.study.statistics.__file__).parent.glob("*.py"))
    found = [(name, f"{file.name}:{line}") for file in files for name, line in imported(file)]
    wrong = [
        f"{where} imports {name}"
        for name, where in found
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED)
    ]
    assert len(files) == 12
    assert len(found) > 50
    assert wrong == []
    of_metrics = {name.partition(".")[0] for name, _ in imported(Path(sys.modules[Metric.__module__].__file__))}
    assert "dataclasses" in of_metrics
    assert of_metrics <= sys.stdlib_module_names


@given(VALUES, st.sampled_from(["max", "min"]))
@settings(deadline=None, max_examples=12)
def test_a_metric_without_unit_and_title_is_enough(pairs, goal):
    metric = Metric("loss of mine", goal, digits=3)
    base, mine = ([value / 100 for value in values] for values in zip(*pairs, strict=True))
    found = analyse(outcomes_of(metric, conventional=base, lerac=mine), claims={"loss of mine": 0.5})
    cell = found.of("mine:train")[1]
    mean = sum(mine) / len(mine) - sum(base) / len(base)
    told = re.search(r"lerac: ([+-][\d.]+) on each|: ([+-][\d.]+) \[", cell.verdict)
    assert (
        abs(float(told[1] or told[2]) - mean) < 0.00051 if told else round(mean, 3) == 0
    )  # rounded, either way at a half
    sign = 1 if goal == "max" else -1
    if "is better" in cell.verdict:
        assert sign * mean > 0
    if "is worse" in cell.verdict:
        assert sign * mean < 0
    assert cell.improvement.won == sum(sign * (m - b) > 0 for b, m in pairs)
    sentences = [cell.verdict, *found.notes, *([cell.outlook.text(metric)] if cell.outlook else [])]
    assert not any("  " in text or " ," in text or " ." in text for text in sentences)


@pytest.mark.parametrize(
    ("metric", "heading", "text", "apart"),
    [
        (ACCURACY, "accuracy, %", "91.2%", "+0.31 points"),
        (Metric("mae", "min", "years", words="mean error"), "mean error, years", "0.91 years", "+0.00 years"),
        (Metric("top1", digits=4), "top1", "0.9123", "+0.0031"),
    ],
)  # fmt: skip
def test_how_a_metric_is_written(metric, heading, text, apart):
    assert (metric.heading, metric.text(0.9123), metric.apart(metric.change(0.0031))) == (heading, text, apart)


def test_a_metric_that_a_run_does_not_have_is_refused_and_those_that_it_has_are_listed():
    right, wrong = outcomes_of(ACCURACY, conventional=[0.5], lerac=[0.6])
    wrong = Outcome("mine:train", "lerac", 0, ACCURACY, "done", {"test": {"f1": 0.6}, "validation": {"accuracy": 0.6}})
    with pytest.raises(StudyError, match="lerac seed 0 has no test accuracy, only test f1, validation accuracy"):
        analyse([right, wrong])
    assert analyse([right, Outcome("mine:train", "lerac", 0, ACCURACY)]).cells[1].summary.missing == (0,)
    with pytest.raises(StudyError, match="mine:train conventional seed 0 is there twice"):
        analyse([right, right])


def test_validation_is_compared_with_the_baseline_of_the_analysis():
    def one(regime, value):
        values = {split: {"accuracy": value} for split in ("test", "validation")}
        return Outcome("mine:train", regime, 0, ACCURACY, "done", values)

    found = analyse([one("conventional", 0.5), one("lerac", 0.75)], baseline="lerac")
    conventional, lerac = (cell.validation for cell in found.cells)
    assert (conventional.mean, lerac.mean) == (0.5, 0.75)
    assert conventional.difference.by_seed == {0: -0.25}
    assert lerac.difference is None


def test_all_intervals_are_of_the_same_resamples():
    rng = np.random.default_rng(3)
    groups = [rng.normal(size=n) for n in (5, 8)]
    drawn = []

    def mean(counts):
        drawn.append(counts)
        return sum(times @ group for times, group in zip(counts, groups, strict=True)) / 13

    low, high = bootstrap([5, 8], mean)
    found = estimate(groups, lambda values: values.mean(axis=-1))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert sum(len(counts[0]) for counts in drawn) == RESAMPLES
    assert all((times.sum(axis=1) == times.shape[1]).all() for counts in drawn for times in counts)
    # Probability of improvement over a baseline that is 0 throughout: the share of values above 0, as drawn.
    pairs = [(dict(enumerate(group)), dict.fromkeys(range(len(group)), 0.0)) for group in groups]
    better = probability_of_improvement(pairs)
    shares = np.concatenate(
        [np.mean([t @ (g > 0) / len(g) for t, g in zip(c, groups, strict=True)], axis=0) for c in drawn]
    )
    assert (better.low, better.high) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])))
