"""The curves against slow references, and their promises as properties."""

import math
import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lerac import curves

unit = st.floats(0, 1)
ratio = st.floats(0, 1, exclude_min=True)
named = st.sampled_from(list(curves.CURVES.values()))
built = st.builds(
    curves.staircase,
    st.floats(1, 1000, exclude_min=True),
    st.integers(1, 50) | st.lists(st.floats(0, 1, exclude_min=True), min_size=1, unique=True).map(sorted),
)
any_curve = named | built


def eq_8(step: int, k: int, start: float, full: float, c: float) -> float:
    """Eq. (8) of the paper, letter by letter, with its base c."""

    def log_c(x: float) -> float:
        return math.log(x) / math.log(c)

    return start * c ** (step / k * (log_c(full) - log_c(start)))


def authors_ramp(start: float, full: float, updates: int, base: float = 10.0) -> list[float]:
    """The rule of the authors' code: at each update, multiply unless that passes the cap (10 % above full)."""
    rates = [start]
    for _ in range(updates):
        rates.append(rates[-1] * base if rates[-1] * base < 1.1 * full else rates[-1])
    return rates


@given(any_curve, ratio)
def test_end_points_are_exact(curve, r):
    assert curve(0.0, r) == r
    assert curve(1.0, r) == 1


@given(any_curve, unit, ratio)
def test_stays_between_ratio_and_one(curve, p, r):
    assert r <= curve(p, r) <= 1


@given(any_curve, unit, unit, ratio)
def test_never_falls_with_progress(curve, p, q, r):
    assert curve(min(p, q), r) <= curve(max(p, q), r)


@given(any_curve, unit, ratio, ratio)
def test_never_falls_with_ratio(curve, p, r, s):
    assert curve(p, min(r, s)) <= curve(p, max(r, s))


@given(st.integers(1, 5000), st.data(), st.floats(1e-12, 1), st.floats(1e-6, 1), st.sampled_from([2, math.e, 10, 1000]))
def test_exponential_is_eq_8_for_every_base(k, data, r, full, c):
    step = data.draw(st.integers(0, k))
    expected = eq_8(step, k, r * full, full, c)
    assert full * curves.exponential(step / k, r) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("decades", range(8))
@pytest.mark.parametrize("updates", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("steps_per_update", [1, 3, 97])
def test_staircase_is_the_authors_rule(decades, updates, steps_per_update):
    full, k = 0.1, updates * steps_per_update
    start = full * 10.0**-decades
    ramp = authors_ramp(start, full, updates)
    curve = curves.staircase(updates=updates)
    for step in range(k):  # at k itself everything is at the full rate, also what the authors leave behind
        assert full * curve(step / k, start / full) == pytest.approx(ramp[step // steps_per_update], rel=1e-12)
    if decades <= updates:
        assert ramp[-1] == pytest.approx(full * curve(1, start / full), rel=1e-12)


def test_staircase_with_the_authors_half_epochs():
    n, k = 391, 2 * 391  # two updates per epoch: after floor(N/2) batches, and after the epoch
    points = [(e * n + at) / k for e in range(2) for at in (n // 2, n)]
    curve = curves.staircase(10, points)
    assert [curve(step / k, 1e-3) for step in (0, 194, 195, 390, 391, 585, 586)] == pytest.approx(
        [1e-3, 1e-3, 1e-2, 1e-2, 1e-1, 1e-1, 1]
    )


def test_staircase_takes_any_number_of_updates():
    assert curves.staircase(updates=10_000)(0.999, 1e-300) == 1  # base^u is beyond any float


def test_staircases_are_values():
    curve = curves.staircase(10, 4)
    assert curve == curves.staircase(10.0, [0.25, 0.5, 0.75, 1])
    assert curve != curves.staircase(2, 4)
    assert pickle.loads(pickle.dumps(curve)) == curve


@pytest.mark.parametrize("curve", [*curves.CURVES.values(), curves.staircase()])
@pytest.mark.parametrize(
    ("p", "r", "named"),
    [
        (-0.1, 0.5, "progress"),
        (1.1, 0.5, "progress"),
        (math.nan, 0.5, "progress"),
        (0.5, 0.0, "ratio"),
        (0.5, -1.0, "ratio"),
        (0.5, 1.0001, "ratio"),
        (0.5, math.nan, "ratio"),
        (0.5, math.inf, "ratio"),
    ],
)
def test_arguments_outside_their_range_are_named(curve, p, r, named):
    with pytest.raises(ValueError, match=rf"^{named} must be in .*got {p if named == 'progress' else r}"):
        curve(p, r)


@pytest.mark.parametrize(
    ("base", "updates", "message"),
    [
        (1.0, 3, "base must be a finite number above 1, got 1.0"),
        (math.inf, 3, "base must be a finite number above 1, got inf"),
        (math.nan, 3, "base must be a finite number above 1, got nan"),
        (10, 0, "updates must be at least 1, got 0"),
        (10, [], "updates must be a count or a rising sequence"),
        (10, [0.0, 0.5], "updates must be a count or a rising sequence"),
        (10, [0.5, 0.5], "updates must be a count or a rising sequence"),
        (10, [0.5, 0.2], "updates must be a count or a rising sequence"),
        (10, [0.5, 1.5], "updates must be a count or a rising sequence"),
    ],
)
def test_staircase_refuses(base, updates, message):
    with pytest.raises(ValueError, match=message):
        curves.staircase(base, updates)


def test_a_count_may_be_of_any_whole_kind():
    assert curves.staircase(updates=np.int64(4)) == curves.staircase(updates=4)


@pytest.mark.parametrize("updates", [True, 2.0, "6", None])
def test_what_is_neither_count_nor_sequence_is_named(updates):
    with pytest.raises(
        TypeError,
        match=re.escape(f"updates must be a count or a rising sequence of progress values in (0, 1], got {updates!r}"),
    ):
        curves.staircase(updates=updates)
