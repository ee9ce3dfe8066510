from statistics import geometric_mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lerac.study.metrics import ACCURACY
from lerac.study.runs.times import ratios_of, times_of
from lerac.study.statistics import Outcome


@given(st.lists(st.tuples(*[st.floats(0.01, 1000)] * 2), min_size=2, max_size=6))
@settings(deadline=None, max_examples=12)
def test_one_estimator_of_ratios_of_times(pairs):
    seconds = {(regime, s): t for s, pair in enumerate(pairs) for regime, t in zip(("conventional", "lerac"), pair)}  # noqa: B905
    outcomes = [Outcome("a", *key, ACCURACY, "done", seconds=taken) for key, taken in seconds.items()]
    regimes = ["conventional", "lerac"]
    _, time = times_of(outcomes, regimes, "conventional")
    base, row = ratios_of(outcomes, regimes, "conventional")
    expected = geometric_mean([other / one for one, other in pairs])
    assert time.ratio == pytest.approx(expected)
    assert row.mean == pytest.approx(expected)
    assert [end + 1 for end in (row.difference.mean, row.difference.low, row.difference.high)] == pytest.approx(
        [time.ratio, time.low, time.high]
    )
    assert (base.mean, base.difference, base.n, row.n) == (1.0, None, len(pairs), len(pairs))
