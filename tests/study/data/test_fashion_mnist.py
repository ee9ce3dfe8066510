"""Fashion-MNIST: its four files wherever they are and however they are packed, and never half of them."""

import gzip
import hashlib
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from handmade import fashion_mnist, idx
from hypothesis import given, settings
from hypothesis import strategies as st

from lerac.study.data import DATASETS, places
from lerac.study.data.pictures import fashion_mnist as ours
from lerac.study.data.places import DEBIAN, MARKER
from lerac.study.data.settings import DataSettings
from lerac.study.errors import StudyError
from lerac.study.plan.request import request_study, require_data

DATA = DATASETS["fashion-mnist"]
SIZES = {"train": 14, "validation": 6, "test": 10, "sample": True}
NAMES = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "train-images-idx3-ubyte", "train-labels-idx1-ubyte"]


def load(root, **options):
    return DATA.load(DataSettings(**{**SIZES, **options}), 0, root)


def batch_of(split):
    return split.__getitems__(list(range(len(split))))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("folder", ["fashion-mnist", "FashionMNIST/raw", "."])
def test_pixels_and_labels_are_those_of_the_files_wherever_they_are(tmp_path, folder, packed):
    written = fashion_mnist(tmp_path / folder, packed=packed)
    data = load(tmp_path)
    assert (data.classes, data.channels, data.task) == (10, 1, "classification")
    for split, part in ((data.train, "train"), (data.validation, "train"), (data.test, "t10k")):
        inputs, labels = batch_of(split)
        pixels = written[f"{part}-images-idx3-ubyte"][split.index].astype(np.float32) / 255
        torch.testing.assert_close(inputs, torch.from_numpy((pixels - 0.286) / 0.353).unsqueeze(1).float())
        assert labels.tolist() == written[f"{part}-labels-idx1-ubyte"][split.index].tolist()
    together = torch.cat([data.train.index, data.validation.index])
    assert together.sort().values.tolist() == list(range(20))
    assert load(tmp_path, size=32).test.__getitems__([0])[0].shape == (1, 1, 32, 32)
    assert DATA.check(tmp_path).counts == {"train": 20, "test": 10}


def test_of_a_file_in_both_forms_the_packed_is_read_and_the_other_does_not_count(tmp_path):
    fashion_mnist(tmp_path / "FashionMNIST/raw")
    before, known = batch_of(load(tmp_path).test)[0], DATA.fingerprint(DataSettings(**SIZES), tmp_path)
    for name in NAMES:
        (tmp_path / "FashionMNIST/raw" / name).write_bytes(b"half of a download")
    assert torch.equal(batch_of(load(tmp_path).test)[0], before)
    assert DATA.fingerprint(DataSettings(**SIZES), tmp_path) == known
    (tmp_path / "FashionMNIST/raw" / f"{NAMES[0]}.gz").unlink()
    with pytest.raises(StudyError, match=f"{NAMES[0]}: no IDX file of this kind"):
        load(tmp_path)


def test_debians_package_is_read_where_nobody_names_another_place(tmp_path, monkeypatch):
    monkeypatch.delenv("LERAC_DATA", raising=False)
    monkeypatch.setattr(places, "DEBIAN", tmp_path / "nowhere")
    with pytest.raises(StudyError, match="no data root: give --data-root"):
        load(None)
    clothes, other = (
        request_study([name], "lerac", [0], (), None, "cpu") for name in ("lenet/fashion-mnist", "lenet/digits")
    )
    require_data(other)
    with pytest.raises(StudyError, match="no data root: give --data-root"):
        require_data(clothes)
    monkeypatch.setattr(places, "DEBIAN", tmp_path / "debian")
    fashion_mnist(tmp_path / "debian" / "fashion-mnist")
    assert len(load(None).train) == 14
    require_data(clothes)
    with pytest.raises(StudyError, match="no data root: give --data-root"):  # Debian has no such package
        require_data(request_study(["resnet18/cifar10"], "lerac", [0], (), None, "cpu"))
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("LERAC_DATA", str(tmp_path / "empty"))
    with pytest.raises(StudyError, match="no folder fashion-mnist or FashionMNIST/raw in"):
        load(None)


# Broken files. A file says how many items follow; a packed one has its length and checksum at the end.

SMALL = np.arange(3 * 28 * 28, dtype=np.uint32).reshape(3, 28, 28).astype(np.uint8)


def read(content: bytes, name: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return ours.read_idx(path, (28, 28))


CUTS = st.tuples(st.just("cut"), st.integers(0, 3 * 784 + 15), st.just(0))
BYTES = st.tuples(st.just("byte"), st.integers(0, 3 * 784 + 15), st.integers(1, 255))
MORE = st.tuples(st.just("more"), st.integers(1, 2000), st.integers(1, 255))


def broken(content: bytes, damage: tuple[str, int, int]) -> bytes:
    what, where, value = damage
    where = where % len(content) if what != "more" else where
    if what == "cut":
        return content[:where]
    if what == "more":
        return content + bytes([value]) * where
    return content[:where] + bytes([content[where] ^ value]) + content[where + 1 :]


@given(st.one_of(CUTS, BYTES, MORE))
@settings(max_examples=60, deadline=None)
def test_an_unpacked_file_is_read_whole_or_refused(damage):
    whole = idx(SMALL)
    if damage[0] == "byte" and damage[1] >= 16:  # a pixel, of which the format has no checksum
        assert (read(broken(whole, damage), "images") != SMALL).sum() == 1
        return
    with pytest.raises(StudyError, match=r"/images: .*unpack or install the data set again"):
        read(broken(whole, damage), "images")


UNCHECKED = range(4, 10)  # of gzip's header: time, level, system


@given(st.one_of(CUTS, BYTES, MORE))
@settings(max_examples=60, deadline=None)
def test_a_packed_file_gives_what_was_packed_or_is_refused(damage):
    content = broken(gzip.compress(idx(SMALL), mtime=0), damage)
    if damage[0] == "byte" and damage[1] % len(content) in UNCHECKED:
        assert (read(content, "images.gz") == SMALL).all()
        return
    with pytest.raises(StudyError, match=r"/images.gz: .*unpack or install the data set again"):
        read(content, "images.gz")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda images, labels: (images, None), "train-labels-idx1-ubyte.gz: this file is missing"),
        (lambda images, labels: (images, images), "labels-idx1-ubyte: no IDX file of this kind: it begins '00000803'"),
        (lambda images, labels: (images[:-1], labels), "19 images, but train-labels-idx1-ubyte has 20 labels"),
        (lambda images, labels: (images[:-1], labels[:-1]), "a wrong count: 19 examples of train"),
        (lambda images, labels: (images[:, :, :27], labels), "28×28 pixels expected, its header says 28×27"),
        (lambda images, labels: (images, labels + 1), "image 9: label 10 is out of range"),
        (lambda images, labels: (idx(images)[:-1], labels), "says 20 items, 15680 bytes, but 15679 follow"),
        (lambda images, labels: (idx(images)[:9], labels), "ends within its header, after 9 of 16 bytes"),
        (lambda images, labels: (b"", labels), "it begins '', not '00000803'"),
    ],
)  # fmt: skip
def test_files_that_do_not_agree_are_named(tmp_path, breaks, says, packed):
    folder = tmp_path / "fashion-mnist"
    written = fashion_mnist(folder, packed=packed)
    kinds = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    for name, values in zip(kinds, breaks(*(written[kind] for kind in kinds)), strict=True):
        path = folder / (f"{name}.gz" if packed else name)
        content = idx(values) if isinstance(values, np.ndarray) else values
        if content is None:
            path.unlink()
        else:
            path.write_bytes(gzip.compress(content) if packed else content)
    for use in (load, DATA.check):
        with pytest.raises(StudyError) as refused:
            use(tmp_path)
        assert says in str(refused.value).replace("ubyte.gz", "ubyte" if ".gz" not in says else "ubyte.gz")


# Which files they are.


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_the_published_files_are_known_by_their_content(tmp_path, monkeypatch, name, packed):
    folder, data = tmp_path / "fashion-mnist", DataSettings(**{**SIZES, "sample": None})
    written = fashion_mnist(folder, packed=packed)
    (folder / MARKER).unlink()
    monkeypatch.setattr(ours, "COUNTS", {"train": 20, "test": 10})
    assert DATA.fingerprint(data, tmp_path).published is False
    with pytest.raises(StudyError, match=r"train-images-idx3-ubyte(.gz)?: not the published file \(its SHA-256"):
        DATA.check(tmp_path)
    known = {name: hashlib.sha256(idx(written[name])).hexdigest() for name in ours.UNPACKED}
    monkeypatch.setattr(ours, "UNPACKED", known)
    shutil.copytree(folder, tmp_path / "again" / "fashion-mnist", ignore=shutil.ignore_patterns(".*"))  # nothing kept
    assert DATA.fingerprint(data, tmp_path / "again").published is True
    assert DATA.check(tmp_path / "again").sample is False
    written[name][-1] ^= 1
    content = idx(written[name])
    path = tmp_path / "again" / "fashion-mnist" / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(content) if packed else content)
    assert DATA.fingerprint(data, tmp_path / "again").published is False


@pytest.mark.skipif(
    not (DEBIAN / "fashion-mnist").is_dir(),
    reason="needs the real files: make data, or apt-get install dataset-fashion-mnist",
)
def test_the_real_files_are_the_published_ones(monkeypatch, tmp_path):
    monkeypatch.delenv("LERAC_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    checked = DATA.check(None)
    assert (checked.sample, checked.counts, checked.classes) == (False, {"train": 60_000, "test": 10_000}, 10)
    settings = DataSettings(train=54_000, validation=6_000, test=10_000)
    assert DATA.fingerprint(settings).published is True
    data = DATA.load(settings, 0)
    for split, each in ((data.train, 5400), (data.validation, 600), (data.test, 1000)):
        assert split.labels.bincount().tolist() == [each] * 10
    inputs = data.train.__getitems__(list(range(0, 54_000, 9)))[0]
    assert inputs.shape == (6000, 1, 28, 28)
    assert (abs(inputs.mean()), abs(inputs.std() - 1)) < (0.02, 0.02)
    # The first ten labels of the test part, as its pictures are shown everywhere: ankle boot, pullover, trouser, …
    assert data.test.labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
