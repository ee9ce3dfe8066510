"""Several folders, read as one study."""

from collections.abc import Sequence
from pathlib import Path

from lerac.study.errors import StudyError
from lerac.study.plan.study import Study
from lerac.study.runs.folder import Result, collect, read_study

__all__ = ["merge"]


def merge(folders: Sequence[Path]) -> tuple[Study, list[Result]]:
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
    merged: dict[str, Result] = {}
    for folder in folders:
        for result in collect(folder, study.runs()):
            name = str(result.run)  # not its folder: one training may have several names
            merged[name] = _chosen(merged.get(name), result, folder)
    return study, list(merged.values())


def _chosen(one: Result | None, other: Result, folder: Path) -> Result:
    if one is None:
        return other
    if one.status and other.status:
        differ = [
            f"{split} {metric}"
            for split in ("test", "validation")
            for metric in one.metric.measured
            if repr(one.value(split, metric)) != repr(other.value(split, metric))
        ]
        differ += [count for count in ("epochs", "steps") if one.status[count] != other.status[count]]
        if differ:
            raise StudyError(f"{folder}: {one.run} has another {', '.join(differ)} than in the folders before it")
        return one
    return one if one.status or (len(one.history) >= len(other.history) and not other.status) else other
