"""`lerac data`: what is checked, written and cut, on a terminal and as JSON."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from lerac.study.data import DATASETS, DataSet
from lerac.study.data.places import Checked
from lerac.study.data.settings import DataSettings
from lerac.study.errors import StudyError

if TYPE_CHECKING:
    from lerac.study.data.splits import Splits

__all__ = ["check_data", "print_checked", "print_split", "split_data", "write_sample"]


def check_data(name: str, root: Path | None) -> Checked:
    """Read every file of a data set.

    Args:
        name: of the data set.
        root: data root; None: LERAC_DATA.

    Raises:
        StudyError: with the first faulty file, or if there is no such data set.
    """
    return _with_files(name).check(root)


def write_sample(name: str, root: Path) -> Checked:
    """Write a generated sample of a data set, and check it.

    Args:
        name: of the data set.
        root: data root, made if it is not there.

    Raises:
        StudyError: if there is something in the data set's folder, or no such data set.
    """
    dataset = _with_files(name)
    root.mkdir(parents=True, exist_ok=True)
    dataset.sample(root)
    return dataset.check(root)


def split_data(name: str, root: Path | None, sizes: dict[str, int], *, sample: bool) -> "Splits":
    """Cut a data set as every run with these sizes does, whatever its seed.

    Args:
        name: of the data set.
        root: data root; None: LERAC_DATA.
        sizes: of `train`, `validation` and `test`, in examples.
        sample: whether a generated sample is wanted instead of the real data.

    Raises:
        StudyError: if there are fewer examples, files are missing or damaged, or there is no such data set.
    """
    cut = DATASETS[name] if name in DATASETS and DATASETS[name].parts else _with_files(name)
    return cut.load(DataSettings.model_validate({**sizes, "sample": sample or None}), 0, root)


def print_checked(checked: Checked, *, as_json: bool) -> None:
    """Print what a check found."""
    if as_json:
        found = {
            "dataset": checked.name,
            "folder": str(checked.folder),
            "form": checked.form,
            "sample": checked.sample,
            "counts": checked.counts,
            "classes": checked.classes,
        }
        print(json.dumps(found, indent=2))
        return
    counts = ", ".join(f"{part} {count}" for part, count in checked.counts.items())
    print(f"{checked.name}: complete and readable: {counts} ({checked.form} form, {checked.folder})")
    if checked.sample:
        print("This is a generated sample, not the real data; to train on it: --set data.sample=true")


def print_split(name: str, data: "Splits", *, as_json: bool) -> None:
    """Print the position of every example of every part, counted from 0 in the part that it was cut from."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    if as_json:
        print(json.dumps({"dataset": name, **{part: split.index.tolist() for part, split in parts.items()}}))
        return
    for part, split in parts.items():
        print(part, *split.index.tolist())


def _with_files(name: str) -> DataSet:
    known = [other for other, data in DATASETS.items() if data.has_files]
    if name not in known:
        what = "has no files, it comes with its package" if name in DATASETS else "is unknown"
        raise StudyError(f"data set {name!r} {what}; give one of {', '.join(known)}")
    return DATASETS[name]
