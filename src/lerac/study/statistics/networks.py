"""Two trained networks on the same test examples: McNemar's test of the predictions that were kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lerac.study.errors import StudyError
from lerac.study.files import open_file
from lerac.study.metrics import ACCURACY
from lerac.study.statistics.exact_tests import ALPHA
from lerac.study.statistics.outcomes import Outcome

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "PREDICTIONS",
    "Disagreement",
    "Predictions",
    "Tally",
    "compare_networks",
    "disagreement",
    "read_predictions",
    "tally",
]

PREDICTIONS = "predictions.npz"  # the file of a run that has them


@dataclass(frozen=True)
class Predictions:
    """What a network said about every test example.

    Args:
        name: of the run, for messages.
        index: (n,): int64, position in the data set.
        label: (n,): the truth.
        predicted: (n,): int64, the class that the network chose.
    """

    name: str
    index: "NDArray[np.int64]"
    label: "NDArray[np.generic]"
    predicted: "NDArray[np.generic]"


@dataclass(frozen=True)
class Disagreement:
    """Two networks of one seed, example by example; it speaks of these two networks, not of their regimes.

    Args:
        seed: of both.
        examples: in the test split.
        gained: right where the baseline's network is wrong.
        lost: wrong where it is right.
        p: two-sided, exact (binomial over gained + lost).
    """

    seed: int
    examples: int
    gained: int
    lost: int
    p: float


@dataclass(frozen=True)
class Tally:
    """The networks of all seeds of a regime, each against the baseline's of its seed, counted.

    Args:
        pairs: of networks.
        better: pairs in which the regime's network is right more often.
        worse: in which the baseline's is.
        clearly_better: of the better ones, those with McNemar's p at most 0.05.
        clearly_worse: of the worse ones.
        gained: examples that only the regime's networks have right, over all pairs.
        lost: that only the baseline's have.
    """

    pairs: int
    better: int
    worse: int
    clearly_better: int
    clearly_worse: int
    gained: int
    lost: int


def tally(networks: Sequence[Disagreement]) -> Tally:
    """Count which networks do better; p is of each pair alone, adjusted for nothing."""
    better = [one for one in networks if one.gained > one.lost]
    worse = [one for one in networks if one.gained < one.lost]
    return Tally(
        pairs=len(networks),
        better=len(better),
        worse=len(worse),
        clearly_better=sum(one.p <= ALPHA for one in better),
        clearly_worse=sum(one.p <= ALPHA for one in worse),
        gained=sum(one.gained for one in networks),
        lost=sum(one.lost for one in networks),
    )


def read_predictions(path: Path, name: str | None = None) -> Predictions | None:
    """Read a `predictions.npz`, or give None if there is none; nothing in it is unpickled.

    Raises:
        StudyError: if the file is damaged.
    """
    import numpy as np

    try:
        file = open_file(path)
    except FileNotFoundError:
        return None
    try:
        with file, np.load(file, allow_pickle=False) as arrays:
            index, label, predicted = (arrays[key] for key in ("index", "label", "predicted"))
    except Exception as error:  # whatever NumPy meets in what it does not expect
        raise StudyError(f"{path} is damaged ({error}); delete it to go on without these predictions") from None
    return Predictions(name or str(path), index, label, predicted)


def disagreement(seed: int, one: Predictions, baseline: Predictions) -> Disagreement:
    """Compare a regime's network with the baseline's by McNemar's exact test. Classification only.

    Raises:
        StudyError: if predictions are not classes, or the two are not of the same examples with the same labels.
    """
    for kept in (one, baseline):
        shapes = {kept.index.shape, kept.label.shape, kept.predicted.shape}
        if {a.dtype.kind for a in (kept.label, kept.predicted)} - {*"iu"} or len(shapes) > 1 or kept.label.ndim != 1:
            raise StudyError(
                f"{kept.name}: predictions of {kept.predicted.dtype} {kept.predicted.shape} for labels "
                f"{kept.label.shape}; McNemar's test compares classes, an integer per example"
            )
    _same("examples", one, baseline, [one.index, baseline.index])
    _same("labels", one, baseline, [one.label, baseline.label])
    right, right_before = (kept.predicted == kept.label for kept in (one, baseline))
    gained, lost = int((right & ~right_before).sum()), int((~right & right_before).sum())
    from statsmodels.stats.contingency_tables import mcnemar  # here, because it takes long to load

    both, neither = int((right & right_before).sum()), int((~right & ~right_before).sum())
    p = float(mcnemar([[both, gained], [lost, neither]], exact=True).pvalue)
    return Disagreement(seed, len(right), gained, lost, p)


def compare_networks(
    outcomes: Sequence[Outcome], baseline: str | None, folders: Sequence[Path]
) -> dict[tuple[str, str], tuple[Disagreement, ...]]:
    """Compare every classifier that has ended with the baseline's of the same seed.

    Args:
        outcomes: of the study.
        baseline: regime to compare with; None for no comparison.
        folders: of the study; the first that has a run's predictions is read.

    Returns:
        (experiment, regime) → one entry per seed for which both networks' predictions are kept.

    Raises:
        StudyError: if predictions are damaged, or not of the same examples.
    """
    ended = [one for one in outcomes if one.state == "done" and one.metric.name == ACCURACY.name]
    kept = {
        (one.experiment, one.seed): found
        for one in ended
        if one.regime == baseline and (found := _predictions(one, folders)) is not None
    }
    compared: dict[tuple[str, str], tuple[Disagreement, ...]] = {}
    for outcome in ended:
        base = kept.get((outcome.experiment, outcome.seed))
        if outcome.regime == baseline or base is None or (own := _predictions(outcome, folders)) is None:
            continue
        key = (outcome.experiment, outcome.regime)
        compared[key] = (*compared.get(key, ()), disagreement(outcome.seed, own, base))
    return compared


def _predictions(outcome: Outcome, folders: Sequence[Path]) -> Predictions | None:
    for folder in folders if outcome.folder else ():
        path = folder / str(outcome.folder) / PREDICTIONS
        if (found := read_predictions(path, f"{outcome} ({path})")) is not None:
            return found
    return None


def _same(what: str, one: Predictions, other: Predictions, arrays: "Sequence[NDArray[Any]]") -> None:
    first, second = arrays
    if len(first) != len(second):
        raise StudyError(f"{one.name} has {len(first)} {what}, {other.name} {len(second)}: not the same test split")
    if differ := int((first != second).sum()):
        raise StudyError(
            f"{one.name} and {other.name} differ in {differ} of {len(first)} {what}: not the same test split"
        )
