"""Epochs of changing length, in optimizer steps."""

from fractions import Fraction

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lerac.integrations import check_epoch, check_fits, steps_of
from lerac.integrations.epochs import Epochs

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=6)


def step_by_step(lengths, epochs, start):
    """Walk through the epochs, each a sum of steps of equal share, until as many are covered."""
    covered, step, epoch, begin = Fraction(0), start, 0, 0
    while covered < epochs:
        length = lengths[min(epoch, len(lengths) - 1)]
        if step >= begin + length:
            epoch, begin = epoch + 1, begin + length
        else:
            covered, step = covered + Fraction(1, length), step + 1
    return step - start


@given(LENGTHS, st.integers(1, 10), st.integers(0, 100))
def test_whole_epochs_are_the_steps_that_one_counts(lengths, epochs, start):
    expected = step_by_step(lengths, epochs, start)
    given = Epochs(lengths).to_steps(epochs, start)
    ends = {Epochs(lengths).steps_before(epoch) for epoch in range(200)}
    # In the middle of an epoch the end is in the middle of another one, in general between two of its steps.
    assert given == expected if start in ends else abs(given - expected) <= 1


@given(st.integers(1, 1000), st.floats(1e-3, 1e3), st.integers(0, 10_000))
def test_of_equal_epochs_it_is_the_product(length, epochs, start):
    expected = max(1, round(epochs * length))
    assert Epochs([length]).to_steps(epochs, start) == expected
    assert Epochs([length] * 3).to_steps(epochs, start) == expected


@given(LENGTHS, st.integers(0, 12), st.integers(0, 12), st.integers(0, 50))
def test_one_span_after_another_is_the_whole(lengths, first, second, epoch):
    of = Epochs(lengths)
    start = of.steps_before(epoch)
    spans = of.to_steps(first + 1, start) + of.to_steps(second + 1, of.steps_before(epoch + first + 1))
    assert spans == of.to_steps(first + second + 2, start)
    assert of.steps_before(epoch + 1) == start + of.steps_in(epoch)


def test_a_number_of_epochs_beyond_all_measure_is_no_endless_loop():
    assert Epochs([2, 1]).to_steps(1e12) == 10**12 + 1


def test_a_share_of_an_epoch_is_that_share_of_its_own_steps():
    assert [Epochs([10, 4, 2]).to_steps(epochs) for epochs in (0.01, 0.5, 1, 1.5, 2.5, 3.5)] == [1, 5, 10, 12, 15, 17]


def test_what_adapters_say_of_epochs():
    assert steps_of(7, None, None) == 7
    with pytest.raises(ValueError, match=r"epochs=2 cannot be converted.*Pass k"):
        steps_of(None, 2, None)
    assert check_epoch(3, 1, 5, 5) is None
    with pytest.raises(RuntimeError, match=r"epochs=3 cannot be kept: epoch 1 \(the first is 0\) has 6 .*have 5 when"):
        check_epoch(3, 1, 6, 5)
    with pytest.raises(ValueError, match="lasts 9 optimizer steps with 2 of them taken, and training has only 6 ahead"):
        check_fits(9, 2, 6)
