import json

import numpy as np
import pytest
import torch
from handmade import cifar10, encoded, mark
from PIL import Image

from lerac.study.data import DATASETS
from lerac.study.data.settings import DataSettings
from lerac.study.errors import StudyError

pytest.importorskip("datasets")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

SMALL = encoded((1, 1, 1), (32, 32))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write(path, images, labels, image="image", label="label", names=None):
    """A parquet file as the Hub has it: encoded images in a struct, features in the schema's metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = pa.array(
        [{"bytes": b, "path": None} for b in images], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    table = pa.table({image: cells, label: pa.array(labels, pa.int64())})
    if names is not None:
        features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


def png(row) -> bytes:
    import io

    file = io.BytesIO()
    Image.fromarray(row.reshape(3, 32, 32).transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("named", [True, False])
def test_cifar_is_the_same_in_both_forms_whatever_the_order(tmp_path, named):
    pixels, labels = cifar10(tmp_path / "disk")
    order = np.random.default_rng(1).permutation(20).tolist()
    hub, names = tmp_path / "hub" / "cifar10", [f"n{i}" for i in range(10)] if named else None
    for shard, part in enumerate((order[:7], order[7:])):
        write(hub / "plain_text" / f"train-0000{shard}-of-00002.parquet", [png(pixels[i]) for i in part],
              [labels[i] for i in part], "img", names=names)  # fmt: skip
    write(hub / "plain_text" / "test-00000-of-00001.parquet", [encoded((i, i, i), (32, 32)) for i in range(10)],
          list(range(10)), "img", names=names)  # fmt: skip
    mark(hub, "cifar10", train=20, test=10)
    sizes = DataSettings(train=14, validation=6, test=10, sample=True)
    disk, other = (DATASETS["cifar10"].load(sizes, 0, tmp_path / where) for where in ("disk", "hub"))
    for a, b in ((disk.train, other.train), (disk.validation, other.validation)):
        assert {(i, int(label)) for i, label in zip(a.index.tolist(), a.labels, strict=True)} == {
            (order[i], int(label)) for i, label in zip(b.index.tolist(), b.labels, strict=True)
        }
        rows = {order[i]: row for row, i in enumerate(b.index.tolist())}
        theirs = b.__getitems__([rows[i] for i in a.index.tolist()])[0]
        assert torch.equal(a.__getitems__(list(range(len(a))))[0], theirs)
    checked = DATASETS["cifar10"].check(tmp_path / "hub")
    assert (checked.form, checked.counts) == ("hub", {"train": 20, "test": 10})


@pytest.mark.parametrize(
    ("name", "folder", "test", "classes", "size"),
    [("tiny-imagenet", "tiny-imagenet", "valid", 200, 64), ("food101", "food101", "validation", 101, 80)],
)
def test_the_other_repositories(tmp_path, name, folder, test, classes, size):
    for part in ("train", test):
        images = [encoded((label, 9, 99), (size, size)) for label in range(classes)]
        write(tmp_path / folder / "data" / f"{part}-00000-of-00001.parquet", images, list(range(classes)),
              names=[f"n{i:03}" for i in range(classes)])  # fmt: skip
    counts = {"tiny-imagenet": {"train": classes, "val": classes}, "food101": {"train": classes, "test": classes}}[name]
    mark(tmp_path / folder, name, **counts)
    sizes = DataSettings(train=classes - 20, validation=20, test=classes, sample=True)
    data = DATASETS[name].load(sizes, 0, tmp_path)
    inputs, labels = data.train.__getitems__([0, 3, 7])
    assert ((inputs[:, 0].mean(dim=(1, 2)) + 1) * 127.5 - labels).abs().max() < 0.01
    assert torch.equal(data.test.labels, torch.arange(classes))
    assert DATASETS[name].check(tmp_path).form == "hub"


def test_written_by_datasets_itself(tmp_path):
    import datasets

    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=list("abcdefghij"))})
    for part, count in (("train", 12), ("test", 10)):
        images = [Image.new("RGB", (32, 32), (i, 2 * i, 3 * i)) for i in range(count)]
        table = datasets.Dataset.from_dict({"img": images, "label": [i % 10 for i in range(count)]}, features=features)
        (tmp_path / "cifar10").mkdir(exist_ok=True)
        table.to_parquet(tmp_path / "cifar10" / f"{part}-00000-of-00001.parquet")
    mark(tmp_path / "cifar10", "cifar10", train=12, test=10)
    data = DATASETS["cifar10"].load(DataSettings(train=10, validation=2, test=10, sample=True), 0, tmp_path)
    inputs, _ = data.test.__getitems__([7])
    assert ((inputs.mean(dim=(2, 3)) + 1) * 127.5)[0].tolist() == pytest.approx([7, 14, 21], abs=1e-3)


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda p: p.unlink(), "no file train-*.parquet in it or below"),
        (lambda p: p.write_bytes(b"PAR1"), "train-0.parquet: cannot be read as parquet"),
        (lambda p: p.write_bytes(p.read_bytes()[:-40]), "train-0.parquet: cannot be read as parquet"),
        (lambda p: write(p, [SMALL] * 2, [0, 1]), "train-0.parquet: column 'img' expected, found"),
        (lambda p: write(p, [SMALL] * 2, [0, 10], "img"), "train row 1: label 10 is out of range"),
        (lambda p: write(p, [SMALL] * 2, [0, None], "img"), "train row 1: label None is out of range, 0 to 9 expected"),
        (lambda p: write(p, [SMALL] * 3, [0, 1, 2], "img"), "a wrong count: 3 examples of train"),
        (lambda p: write(p, [SMALL, b"x"], [0, 1], "img"), "train row 1: cannot be read as an image"),
        (lambda p: write(p, [SMALL, None], [0, 1], "img"), "train row 1: 'img' has no bytes"),
        (lambda p: write(p, [encoded((1, 1, 1), (31, 32))] * 2, [0, 1], "img"), "32×32 pixels expected, found 31×32"),
    ],
)  # fmt: skip
def test_broken_files_are_named(tmp_path, breaks, says):
    folder = tmp_path / "cifar10"
    for part in ("train", "test"):
        write(folder / f"{part}-0.parquet", [SMALL] * 2, [0, 1], "img")
    mark(folder, "cifar10", train=2, test=2)
    breaks(folder / "train-0.parquet")
    with pytest.raises(StudyError) as refused:
        DATASETS["cifar10"].load(DataSettings(train=1, validation=1, test=2, sample=True), 0, tmp_path)
    assert says in str(refused.value)
