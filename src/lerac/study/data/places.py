"""Where the files of a data set are, and whether they are the real ones or a generated sample.

A data root holds one folder per data set, with the name that its archive or its Hub repository gives it. A sample
has the layout of the real thing and a file `lerac-sample.json` that says what it is and how many examples it has.
Real data must have the official counts, a sample those of its marker; and a sample is loaded only where the recipe
says `data.sample = true`, so that no run on a sample shares configuration, folder or table with one on real data.
"""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lerac.study.errors import StudyError
from lerac.study.files import read_json, write_text

__all__ = ["MARKER", "Checked", "Place", "data_root", "locate", "mark_sample", "new_folder"]

VARIABLE = "LERAC_DATA"
MARKER = "lerac-sample.json"
DEBIAN = Path("/usr/share/datasets")


@dataclass(frozen=True)
class Checked:
    """What `check` found to be complete and readable.

    Args:
        name: of the data set.
        folder: where it is.
        form: `official` layout, or `hub`: the parquet files of the Hugging Face Hub.
        sample: whether it is a generated sample.
        counts: examples of each part, as the files divide them.
        classes: how many labels there are; 1 for a regression.
    """

    name: str
    folder: Path
    form: str
    sample: bool
    counts: dict[str, int]
    classes: int


@dataclass(frozen=True)
class Place:
    """A folder with a data set in it.

    Args:
        name: of the data set.
        folder: where its files are.
        counts: how many examples each part must have: the official numbers, or those of the sample.
        sample: whether it is a generated sample.
        reads: patterns of all files that are read to train, below the folder.
    """

    name: str
    folder: Path
    counts: Mapping[str, int]
    sample: bool
    reads: Sequence[str]

    def require_count(self, part: str, found: int, where: Path | None = None) -> None:
        """Refuse another number of examples than this part must have.

        Raises:
            StudyError: with both numbers and the file or folder.
        """
        if found != self.counts[part]:
            what = "the sample's marker says" if self.sample else f"{self.name} has"
            raise StudyError(
                f"{where or self.folder}: a wrong count: {found} examples of {part}, but {what} {self.counts[part]}; "
                f"{'make the sample again' if self.sample else 'unpack the data set again'}"
            )


def data_root(root: Path | None = None, debian: str | None = None) -> Path:
    """Give the data root: the one that is given, or that of LERAC_DATA, or that of Debian's packages.

    Args:
        root: that is given, if one is.
        debian: folder of a package of Debian, which is read if it is there and nobody names a data root.

    Raises:
        StudyError: if there is none, or no such folder.
    """
    text = os.environ.get(VARIABLE) if root is None else str(root)
    if not text and debian is not None and (DEBIAN / debian).is_dir():
        return DEBIAN
    if not text:
        raise StudyError(f"no data root: give --data-root (of `lerac data`: --root) or set {VARIABLE}")
    if not (path := Path(text)).is_dir():
        raise StudyError(f"data root {path} is no folder")
    return path


def locate(
    name: str,
    folders: Sequence[str],
    counts: Mapping[str, int],
    root: Path | None,
    *,
    sample: bool | None,
    reads: Sequence[str],
) -> Place:
    """Find the folder of a data set.

    Args:
        name: of the data set.
        folders: names it can have under the root; the first that is there is taken.
        counts: the official ones.
        root: the data root; None: that of LERAC_DATA.
        sample: whether a sample is wanted; None takes what is there.
        reads: patterns of all files that are read to train, below the folder.

    Raises:
        StudyError: if there is no data root or none of these folders, or a sample where real data is wanted, or the
            other way round.
    """
    root = data_root(root)
    folder = next((root / f for f in folders if (root / f).is_dir()), None)
    if folder is None:
        raise StudyError(
            f"{name}: no folder {' or '.join(folders)} in {root}; to see the layout: "
            f"`lerac data sample {name} --root lerac-sample`"
        )
    marker = read_marker(folder, _again(name, folder, root))
    if marker is not None and marker["sample_of"] != name:
        raise StudyError(f"{folder / MARKER}: this is a sample of {marker['sample_of']}, not of {name}")
    if sample is False and marker is not None:
        raise StudyError(
            f"{folder} holds a generated sample, whose results say nothing about {name}; "
            f"to use it say so: --set data.sample=true (of `lerac data split`: --sample)"
        )
    if sample is True and marker is None:
        raise StudyError(f"{folder} holds no sample ({MARKER} is missing), but a sample is asked for")
    if marker is not None and (lacking := sorted(counts.keys() - marker["counts"].keys())):
        raise StudyError(f"{folder / MARKER}: no count of {lacking[0]}; {_again(name, folder, root)}")
    return Place(name, folder, counts if marker is None else marker["counts"], marker is not None, reads)


def _again(name: str, folder: Path, root: Path) -> str:
    return f"delete {folder} and make the sample again: `lerac data sample {name} --root {shlex.quote(str(root))}`"


def read_marker(folder: Path, again: str) -> dict[str, Any] | None:
    """Read the marker of a sample, or give None for real data.

    Args:
        folder: of the data set.
        again: how to make the sample again, for errors.

    Raises:
        StudyError: if it is damaged.
    """
    path = folder / MARKER
    try:
        marker = read_json(path)
    except StudyError:
        marker = {}
    if marker is None:
        return None
    whole = isinstance(marker, dict) and "sample_of" in marker and isinstance(marker.get("counts"), dict)
    if not whole or not all(type(count) is int for count in marker["counts"].values()):
        raise StudyError(f"{path} is damaged; {again}")
    found: dict[str, Any] = marker
    return found


def mark_sample(folder: Path, name: str, counts: Mapping[str, int]) -> None:
    """Write the marker, last of all files of a sample."""
    marker = {"sample_of": name, "made_by": "lerac data sample", "counts": dict(counts)}
    write_text(folder / MARKER, json.dumps(marker, indent=2) + "\n")


def new_folder(root: Path, name: str) -> Path:
    """Make the folder that a sample is written to.

    Raises:
        StudyError: if it is there and has anything in it.
    """
    folder = root / name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(f"{folder} exists; a sample is never written over data, give another --root")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
