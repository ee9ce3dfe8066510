"""Which runs of a study have networks to compare, and where their predictions are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lerac.study.metrics import ACCURACY
from lerac.study.statistics.networks import Disagreement, Predictions, disagreement, read_predictions

if TYPE_CHECKING:
    from lerac.study.runs.folder import Result

__all__ = ["compare_networks"]

Key = tuple[str, str]


def compare_networks(
    results: Sequence["Result"], baseline: str | None, folders: Sequence[Path]
) -> dict[Key, tuple[Disagreement, ...]]:
    """Compare every classifier that has ended with the baseline's of the same seed.

    Args:
        results: of the study.
        baseline: regime to compare with; None for no comparison.
        folders: where the runs may be; the first that has a run's predictions is read.

    Returns:
        (recipe, regime) → one entry per seed for which both networks' predictions are kept.

    Raises:
        StudyError: if predictions are damaged, or not of the same examples.
    """
    ended = [r for r in results if r.status is not None and not r.diverged and r.metric.name == ACCURACY.name]
    kept = {
        (r.run.recipe, r.run.seed): found
        for r in ended
        if r.run.regime == baseline and (found := _predictions(r, folders)) is not None
    }
    compared: dict[Key, tuple[Disagreement, ...]] = {}
    for result in ended:
        run = result.run
        base = kept.get((run.recipe, run.seed))
        if run.regime == baseline or base is None or (own := _predictions(result, folders)) is None:
            continue
        key = (run.recipe, run.regime)
        compared[key] = (*compared.get(key, ()), disagreement(run.seed, own, base))
    return compared


def _predictions(result: "Result", folders: Sequence[Path]) -> Predictions | None:
    for folder in folders:
        path = folder / result.run.folder / "predictions.npz"
        if (found := read_predictions(path, f"{result.run} ({path})")) is not None:
            return found
    return None
