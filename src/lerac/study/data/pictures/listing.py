"""Folders and lists of images: what is in them, and whether every image can be read."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

from torch import Tensor

from lerac.study.data.pictures.classification import Parts
from lerac.study.data.pictures.images import Pictures, open_square
from lerac.study.data.places import MARKER, Checked
from lerac.study.errors import StudyError

__all__ = [
    "check_pictures",
    "folder_names",
    "image_names",
    "read_all",
    "read_classes",
    "read_lines",
    "read_xml",
    "require_once",
    "require_same",
]

SUFFIXES = (".jpg", ".jpeg")


def image_names(folder: Path) -> list[str]:
    """Name the JPEG files in a folder, sorted; hidden files are none of a data set's.

    Raises:
        StudyError: if there is no such folder, or something else in it.
    """
    names = _names(folder)
    for name in names:
        if not name.lower().endswith(SUFFIXES):
            raise StudyError(f"{folder / name}: only .jpg and .jpeg files are expected here; move it elsewhere")
    return names


def folder_names(folder: Path) -> list[str]:
    """Name the folders in a folder, sorted.

    Raises:
        StudyError: if there is no such folder, or a file in it.
    """
    names = _names(folder)
    for name in names:
        if not (folder / name).is_dir():
            raise StudyError(f"{folder / name}: only folders are expected here; move it elsewhere")
    return names


def require_same(folder: Path, there: Iterable[str], listed: Iterable[str], by: Path) -> None:
    """Refuse a folder that has not exactly what a list says.

    Raises:
        StudyError: with the first name that is missing, or not listed.
    """
    there, listed = set(there), set(listed)
    if missing := sorted(listed - there):
        raise StudyError(f"{folder / missing[0]}: missing, but {by} lists it; unpack the data set again")
    if more := sorted(there - listed):
        raise StudyError(f"{folder / more[0]}: not listed in {by}; unpack the data set again")


def read_all(pictures: Pictures, size: int | None = None) -> None:
    """Decode every image, on all cores.

    Args:
        pictures: of a data set.
        size: height and width that all must have, in pixels; None: any.

    Raises:
        StudyError: with the first that cannot be read, or has another size.
    """

    def read(i: int) -> None:
        pictures.open(i) if size is None else open_square(pictures, i, size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for _ in pool.map(read, range(len(pictures))):
                pass
        except StudyError:
            pool.shutdown(cancel_futures=True)
            raise


def _names(folder: Path) -> list[str]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are wanted, and there can be 100,000 of them
    except (FileNotFoundError, NotADirectoryError):
        raise StudyError(f"{folder}: this folder is missing; unpack the data set again") from None
    return sorted(name for name in names if not name.startswith(".") and name != MARKER)


def check_pictures(name: str, parts: Parts, size: int | None = None) -> Checked:
    """Read every picture of both parts, and say what is there; arguments as for `read_all`.

    Raises:
        StudyError: with the first that cannot be read, or has another size.
    """
    for part in (parts.train, parts.test):
        assert not isinstance(part.pictures, Tensor)
        read_all(part.pictures, size)
    counts = {part.name: len(part.labels) for part in (parts.train, parts.test)}
    return Checked(name, parts.place.folder, parts.form, parts.place.sample, counts, parts.classes)


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file that are not empty.

    Raises:
        StudyError: if it is missing, empty or not UTF-8.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise StudyError(f"{path}: this file is missing; unpack the data set again") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read ({error}); unpack the data set again") from None
    if not lines:
        raise StudyError(f"{path}: this file is empty; unpack the data set again")
    return lines


def read_classes(path: Path, count: int) -> list[str]:
    """Read the names of the classes, one a line, sorted.

    Raises:
        StudyError: if they are not so many different ones.
    """
    names = sorted(line.strip() for line in read_lines(path))
    if (different := len(set(names))) != count or len(names) != count:
        raise StudyError(f"{path}: {count} different classes expected, found {different} in {len(names)} lines")
    return names


def read_xml(path: Path) -> ElementTree.Element:
    """Read an annotation.

    Raises:
        StudyError: if it is missing or no XML.
    """
    try:
        return ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise StudyError(f"{path}: this file is missing; unpack the data set again") from None
    except (ElementTree.ParseError, OSError, LookupError, ValueError) as error:  # the last two: of its encoding
        raise StudyError(f"{path}: cannot be read as XML ({error}); unpack the data set again") from None


def require_once(path: Path, names: Sequence[str]) -> None:
    """Refuse a list that names something twice.

    Raises:
        StudyError: with the first name that stands there again.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise StudyError(f"{path}: {name} is listed twice")
        seen.add(name)
