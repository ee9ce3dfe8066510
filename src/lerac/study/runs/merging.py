"""Several folders, read as one study."""

from collections.abc import Sequence
from pathlib import Path

from lerac.study.errors import StudyError
from lerac.study.plan.study import Study
from lerac.study.runs.folder import read_study
from lerac.study.runs.outcomes import collect
from lerac.study.statistics.outcomes import Outcome

__all__ = ["merge"]


def merge(folders: Sequence[Path]) -> tuple[Study, list[Outcome]]:
    """Read several folders as one study.

    Raises:
        StudyError: if a folder holds no study, the studies contradict each other, or two folders have different
            results of the same run.
    """
    study: Study | None = None
    for folder in folders:
        if (found := read_study(folder)) is None:
            raise StudyError(f"{folder} holds no study (no study.json); give an --out folder of lerac compare")
        try:
            study = study.extend(found) if study else found
        except StudyError as error:
            raise StudyError(f"{folder} cannot be merged with {folders[0]}: {error}") from None
    if study is None:
        raise StudyError("no folder given")
    merged: dict[str, Outcome] = {}
    for folder in folders:
        for outcome in collect(folder, study.runs()):
            name = str(outcome)  # not its folder: one training may have several names
            merged[name] = _chosen(merged.get(name), outcome, folder)
    return study, list(merged.values())


def _chosen(one: Outcome | None, other: Outcome, folder: Path) -> Outcome:
    if one is None:
        return other
    if one.ended and other.ended:
        before, now = _numbers(one), _numbers(other)
        if differ := [name for name in before | now if before.get(name) != now.get(name)]:
            raise StudyError(f"{folder}: {one} has another {', '.join(differ)} than in the folders before it")
        return one
    return one if one.ended or (len(one.history) >= len(other.history) and not other.ended) else other


def _numbers(outcome: Outcome) -> dict[str, str]:
    """Give all that two trainings of one run have in common, exactly as it is."""
    values = {f"{split} {name}": repr(v) for split, named in outcome.values.items() for name, v in named.items()}
    return {**values, "epochs": repr(outcome.epochs), "steps": repr(outcome.steps)}
