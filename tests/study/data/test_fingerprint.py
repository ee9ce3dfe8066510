"""Which data it is: the fingerprint changes with what is read and with nothing else, and is never out of date."""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torchvision
from handmade import cifar10
from hypothesis import given, settings
from hypothesis import strategies as st

from lerac.study.data import DATASETS, digits, fingerprint
from lerac.study.data.fingerprint import KEPT, Fingerprint, fingerprint_of
from lerac.study.data.places import MARKER, Place
from lerac.study.data.settings import DataSettings

MOMENT = 0.02  # s: no file system here is coarser
WITH_FILES = [name for name, dataset in DATASETS.items() if dataset.has_files]


def place_of(folder: Path, *reads: str, sample: bool = False) -> Place:
    return Place("anything", folder, {}, sample, reads or ("*", "deep/*"))


def anew(place: Place, folder: Path) -> Fingerprint:
    """The fingerprint of a copy, of which nothing is kept."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place.folder, folder, ignore=shutil.ignore_patterns(KEPT), symlinks=True)
    return fingerprint_of(Place(place.name, folder, {}, place.sample, place.reads))


def same_size(a, b):
    before = a.stat()
    a.write_bytes(bytes(255 - byte for byte in a.read_bytes()))
    os.utime(a, ns=(before.st_atime_ns, before.st_mtime_ns))


def swapped(a, b):
    third = a.with_name("third")
    a.rename(third)
    b.rename(a)
    third.rename(b)


def replaced_as_it_was(a, b):
    new = a.with_name("new")
    new.write_bytes(b.read_bytes()[::-1])
    shutil.copystat(a, new)
    new.replace(a)


def through_a_link(a, b):
    target = a.parent.parent / "elsewhere"
    target.write_bytes(a.read_bytes() + b"!")
    a.unlink()
    a.symlink_to(target)


def truncated(a, b):
    with a.open("r+b") as file:
        file.truncate(max(a.stat().st_size - 1, 0))


CHANGES = {
    "same size and time": same_size,
    "swapped": swapped,
    "replaced with its times": replaced_as_it_was,
    "a link": through_a_link,
    "longer": lambda a, b: a.write_bytes(a.read_bytes() + b"x"),
    "shorter": truncated,
    "gone": lambda a, b: a.unlink(),
    "one more": lambda a, b: a.with_name(f"{a.name}+").write_bytes(os.urandom(4)),
    "another name": lambda a, b: a.rename(a.with_name(f"{a.name}~")),
}
NO_CHANGES = {
    "nothing": lambda a, b: None,
    "times only": lambda a, b: os.utime(a),
    "a hidden file": lambda a, b: a.with_name(".DS_Store").write_bytes(os.urandom(4)),
    "a file that is not read": lambda a, b: (
        (a.parent / "other").mkdir(exist_ok=True) or (a.parent / "other" / "notes").write_bytes(os.urandom(4))
    ),
}


@given(st.lists(st.tuples(st.sampled_from([*CHANGES, *NO_CHANGES]), st.integers(0, 9)), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_whatever_happens_to_files_the_fingerprint_is_that_of_their_content(steps):
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "JUST_NOW", int(MOMENT / 2 * 1e9))
        patch.setenv("XDG_CACHE_HOME", f"{root}/cache")
        folder = Path(root) / "data"
        folder.mkdir()
        for i in range(3):
            (folder / f"file{i}").write_bytes(bytes([i]) * 9)
        place = place_of(folder)
        seen = fingerprint_of(place)
        for what, which in steps:
            time.sleep(MOMENT)
            assert fingerprint_of(place) == seen  # and is kept now
            files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
            if len(files) < 2:
                break
            chosen = files[which % len(files)], files[(which + 1) % len(files)]
            (CHANGES | NO_CHANGES)[what](*chosen)
            found = fingerprint_of(place)
            assert found == anew(place, Path(root) / "copy")
            if what in NO_CHANGES:
                assert found == seen, what
            elif what in ("longer", "gone", "one more", "another name", "a link"):
                assert found != seen, what
            seen = found


def count_reads(monkeypatch):
    read, counted = fingerprint._content, []
    monkeypatch.setattr(fingerprint, "_content", lambda path: counted.append(path) or read(path))
    return counted


@pytest.mark.parametrize("writable", [True, False])
def test_files_are_read_once_wherever_it_is_kept(tmp_path, monkeypatch, writable):
    monkeypatch.setattr(fingerprint, "JUST_NOW", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(3):
        (folder / f"file{i}").write_bytes(b"x")
    if not writable:  # whoever runs the tests may write everywhere, but not over a folder
        (folder / KEPT / "in the way").mkdir(parents=True)
    time.sleep(MOMENT)
    reads = count_reads(monkeypatch)
    first = fingerprint_of(place_of(folder))
    assert len(reads) == 3
    assert fingerprint_of(place_of(folder)) == first
    assert len(reads) == 3
    assert (folder / KEPT).is_file() is writable
    assert (tmp_path / "cache").exists() is not writable
    (folder / "file1").write_bytes(b"y")
    assert fingerprint_of(place_of(folder)) != first
    assert len(reads) == 6


def test_what_changed_just_now_is_not_taken_for_settled(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")
    reads = count_reads(monkeypatch)
    assert fingerprint_of(place_of(tmp_path)) == fingerprint_of(place_of(tmp_path))
    assert len(reads) == 2
    assert not (tmp_path / KEPT).exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"stamp": 1}', "3", '"x"', "\udcff"])
def test_a_damaged_memory_remembers_nothing(tmp_path, content):
    (tmp_path / "file").write_bytes(b"x")
    known = fingerprint_of(place_of(tmp_path))
    (tmp_path / KEPT).write_bytes(content.encode(errors="surrogateescape"))
    assert fingerprint_of(place_of(tmp_path)) == known


OPENED: list[str] | None = None


@pytest.fixture(scope="module")
def hook():
    def listen(event, args):
        if event == "open" and OPENED is not None and isinstance(args[0], str | bytes):
            OPENED.append(os.fsdecode(args[0]))

    sys.addaudithook(listen)


@pytest.mark.parametrize("name", WITH_FILES)
def test_every_file_that_is_read_counts_and_no_other(tmp_path, monkeypatch, hook, name):
    global OPENED
    monkeypatch.setenv("LERAC_WEIGHTS", str(tmp_path / "weights"))
    dataset = DATASETS[name]
    dataset.sample(tmp_path)
    data = DataSettings(train=8, validation=4, test=4, sample=True)
    before = dataset.fingerprint(data, tmp_path)
    assert before.published is False
    home = dataset._of(dataset.home)
    place = home.find(tmp_path, sample=True)
    counted = {str(place.folder / path) for path in fingerprint._files(place)}
    OPENED = []
    try:
        splits = dataset.load(data, 0, tmp_path)
        for split in (splits.train, splits.validation, splits.test):
            split.__getitems__(list(range(len(split))))
    finally:
        opened, OPENED = {path for path in OPENED if path.startswith(str(place.folder))}, None
    assert opened - {str(place.folder / MARKER)} <= counted
    for path in (place.folder / "README.md", place.folder / "more" / "notes.txt"):
        if name != "utkface":
            path.parent.mkdir(exist_ok=True)
            path.write_text("of the user")
    assert dataset.fingerprint(data, tmp_path) == before
    changed = Path(sorted(opened & counted)[-1])
    changed.write_bytes(changed.read_bytes() + b"\n")
    assert dataset.fingerprint(data, tmp_path).sha256 != before.sha256


def test_digits_are_the_published_ones_and_others_are_not(monkeypatch):
    data = DataSettings(train=100, validation=100, test=100)
    assert DATASETS["digits"].fingerprint(data) == Fingerprint(digits.PUBLISHED, published=True)
    import sklearn.datasets

    loaded = sklearn.datasets.load_digits()
    loaded.images[5, 3, 3] += 1
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: loaded)
    other = DATASETS["digits"].fingerprint(data)
    assert other.published is False
    assert other.sha256 != digits.PUBLISHED


def publish(monkeypatch, folder: Path) -> None:
    """Let these be the published files of CIFAR-10."""
    md5 = {path.name: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path in folder.iterdir()}
    known = torchvision.datasets.CIFAR10
    monkeypatch.setattr(known, "train_list", [[f"data_batch_{i}", md5[f"data_batch_{i}"]] for i in range(1, 6)])
    monkeypatch.setattr(known, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(known, "meta", {**known.meta, "filename": "batches.meta", "md5": md5["batches.meta"]})


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_files_are_compared_with_the_published_ones(tmp_path, monkeypatch, file):
    cifar10(tmp_path)
    folder, data = tmp_path / "cifar-10-batches-py", DataSettings(train=14, validation=6, test=10)
    (folder / MARKER).unlink()
    noise = DATASETS["cifar10"].fingerprint(data, tmp_path)
    assert noise.published is False
    publish(monkeypatch, folder)
    assert DATASETS["cifar10"].fingerprint(data, tmp_path) == Fingerprint(noise.sha256, published=True)
    (folder / file).write_bytes((folder / file).read_bytes() + b"\n")
    other = DATASETS["cifar10"].fingerprint(data, tmp_path)
    assert other.published is False
    assert other.sha256 != noise.sha256


def test_of_the_hubs_files_nobody_knows_checksums(tmp_path):
    file, data = (
        tmp_path / "cifar10" / "plain_text" / "train-00000-of-00001.parquet",
        DataSettings(validation=6, test=10),
    )
    file.parent.mkdir(parents=True)
    file.write_bytes(b"as it is")
    found = DATASETS["cifar10"].fingerprint(data, tmp_path)
    assert found.published is None
    file.write_bytes(b"as it was")
    assert DATASETS["cifar10"].fingerprint(data, tmp_path).sha256 != found.sha256
