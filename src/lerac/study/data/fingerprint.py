"""Which data it is: a digest of the files that a data set is read from, made anew only when one of them has changed.

What is kept of the last time lies in the data set's folder, or in the user's cache where that cannot be written to,
and holds as long as every file has its name, size, times and place on the disk. The time of the last change of any
kind is the system's own and cannot be set back; of a file that changed just now it need not differ yet, so that
nothing is kept then. On Windows, which has no such time, it is the time that the file was written.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lerac.study.data.places import Place
from lerac.study.errors import StudyError
from lerac.study.files import make_folder, read_json, write_json

__all__ = ["Fingerprint", "fingerprint_of"]

KEPT = ".lerac-fingerprint.json"
VERSION = 1  # of what is digested, and how
JUST_NOW = 2_000_000_000  # ns: the coarsest clock of a file system

Files = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Fingerprint:
    """Which data it is.

    Args:
        sha256: of names and contents of all files that are read, or of the examples where there are none; 64 digits.
        published: whether they are the files that the data set's authors published; None where nobody knows their
            checksums.
    """

    sha256: str
    published: bool | None


def fingerprint_of(place: Place, published: Callable[[Place], bool | None] | None = None) -> Fingerprint:
    """Say which data a folder has; it is read from beginning to end the first time.

    Args:
        place: where it is.
        published: compares it with the published files, if their checksums are known. A sample is none of them.

    Raises:
        StudyError: if a file cannot be read.
    """
    files = _files(place)
    stamp = _digest(files.items())
    known = _recalled(place.folder, stamp)
    if known is None:
        began = time.time_ns()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            contents = pool.map(_content, (place.folder / name for name in files))
            sha256 = _digest(zip(files, contents, strict=True))
        known = Fingerprint(sha256, published(place) if published and not place.sample else None)
        if all(changed < began - JUST_NOW for *_, changed in files.values()) and _files(place) == files:
            _keep(place.folder, stamp, known)
    return Fingerprint(known.sha256, published=False) if place.sample else known


def _files(place: Place) -> Files:
    """Give all files that are read, by their names below the folder, in order: size, place and times of each."""
    found = {}
    for path in {path for pattern in place.reads for path in place.folder.glob(pattern)}:
        with suppress(FileNotFoundError):  # a link to nowhere; who reads it will say so
            if not path.name.startswith(".") and stat.S_ISREG((state := path.stat()).st_mode):
                changed = state.st_mtime_ns if os.name == "nt" else state.st_ctime_ns
                name = path.relative_to(place.folder).as_posix()
                found[name] = (state.st_size, state.st_ino, state.st_mtime_ns, changed)
    return dict(sorted(found.items()))


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from None


def _digest(rows: Iterable[object]) -> str:
    """Give the SHA-256 of values that JSON has; names that are not UTF-8 are escaped there."""
    return hashlib.sha256(json.dumps([VERSION, *rows]).encode()).hexdigest()


def _recalled(folder: Path, stamp: str) -> Fingerprint | None:
    """Give what was kept of files in this very state; a file that does not say so says nothing."""
    for path in _places(folder):
        with suppress(OSError, StudyError, TypeError, KeyError):
            if (kept := read_json(path))["stamp"] == stamp:
                return Fingerprint(kept["sha256"], kept["published"])
    return None


def _keep(folder: Path, stamp: str, found: Fingerprint) -> None:
    for path in _places(folder):
        with suppress(StudyError):
            make_folder(path.parent)
            write_json(path, {"stamp": stamp, **asdict(found)})
            return


def _places(folder: Path) -> list[Path]:
    """Say where it is kept: in the folder itself, or in the user's cache."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    places = [folder / KEPT]
    with suppress(RuntimeError):  # of a user who has no home
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        places.append(cache / "lerac" / f"{name}.json")
    return places
