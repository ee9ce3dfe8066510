import hashlib
import os
import pickle

import numpy as np
import pytest
import torch
from handmade import cifar10, mark, python2_batch, truncate
from PIL import Image

from lerac.study.data import DATASETS
from lerac.study.data.settings import DataSettings
from lerac.study.errors import StudyError

SIZES = {"train": 14, "validation": 6, "test": 10, "sample": True}


def load(root, seed=0, **options):
    return DATASETS["cifar10"].load(DataSettings(**{**SIZES, **options}), seed, root)


def batch_of(split, **_):
    return split.__getitems__(list(range(len(split))))


def test_pixels_and_labels_are_those_of_the_files(tmp_path):
    pixels, labels = cifar10(tmp_path)
    data = load(tmp_path)
    assert (data.classes, data.channels, data.task) == (10, 3, "classification")
    for split in (data.train, data.validation):
        inputs, found = batch_of(split)
        expected = pixels[split.index].reshape(-1, 3, 32, 32).astype(np.float32) / 255 * 2 - 1
        torch.testing.assert_close(inputs, torch.from_numpy(expected))
        assert found.tolist() == [labels[i] for i in split.index]
    together = torch.cat([data.train.index, data.validation.index])
    assert together.sort().values.tolist() == list(range(20))


def test_the_split_is_the_same_for_every_seed_and_smaller_parts_lie_within_larger_ones(tmp_path):
    cifar10(tmp_path)
    first = load(tmp_path)
    other = load(tmp_path, seed=77)
    assert torch.equal(first.validation.index, other.validation.index)
    smaller = load(tmp_path, train=3, validation=3, test=4)
    assert set(smaller.validation.index.tolist()) < set(first.validation.index.tolist())
    assert set(smaller.test.index.tolist()) < set(first.test.index.tolist())


def test_resized_as_pillow_does(tmp_path):
    pixels, _ = cifar10(tmp_path)
    data = load(tmp_path, size=64)
    inputs, _ = batch_of(data.train)
    for row, i in enumerate(data.train.index[:5]):
        image = Image.fromarray(pixels[i].reshape(3, 32, 32).transpose(1, 2, 0))
        expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)).transpose(2, 0, 1).astype(float)
        found = ((inputs[row] + 1) * 127.5).double().numpy()
        assert np.abs(found - expected).max() < 1.01  # one level of 255


def test_label_noise_is_only_in_training(tmp_path):
    _, labels = cifar10(tmp_path, each=20)
    data = load(tmp_path, train=80, validation=20, label_noise=0.25)
    truth = torch.tensor(labels)
    assert (data.train.labels != truth[data.train.index]).sum() == 20
    assert torch.equal(data.validation.labels, truth[data.validation.index])


def test_written_by_python_2(tmp_path):
    pixels, labels = cifar10(tmp_path)
    before = batch_of(load(tmp_path).train)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(python2_batch(pixels[4:8], labels[4:8]))
    assert b"numpy._core" not in path.read_bytes()
    after = batch_of(load(tmp_path).train)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_what_is_no_array_is_not_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/run",)

    cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps({b"data": Evil()}, protocol=2))
    with pytest.raises(StudyError, match=r"data_batch_2: cannot be read \(it asks for posix.system"):
        load(tmp_path)
    assert not (tmp_path / "run").exists()


def broken(path, **changes):
    content = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({**content, **{key.encode(): value for key, value in changes.items()}}, protocol=2))


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda f: (f / "data_batch_3").unlink(), "data_batch_3: this file is missing"),
        (lambda f: (f / "batches.meta").unlink(), "batches.meta: this file is missing"),
        (lambda f: truncate(f / "test_batch"), "test_batch: cannot be read"),
        (lambda f: (f / "test_batch").write_bytes(b""), "test_batch: cannot be read"),
        # Damage after which Python appends to what is no list, or decodes what is no text.
        (lambda f: (f / "test_batch").write_bytes(b"\x80\x02}]a."), "test_batch: cannot be read"),
        (lambda f: (f / "test_batch").write_bytes(pickle.dumps({b"\xb4": 1}, 2)), "test_batch: 'data' must be"),
        (lambda f: broken(f / "data_batch_1", labels=[0, 1, 10, 2]), "data_batch_1: image 2: label 10 is out of range"),
        (lambda f: broken(f / "data_batch_1", labels=[0, 1, -1, 2]), "image 2: label -1 is out of range"),
        (lambda f: broken(f / "data_batch_1", labels=[0, 1]), "data_batch_1: 4 images, but 2 'labels'"),
        (lambda f: broken(f / "data_batch_1", data=np.zeros((4, 3071), np.uint8)), "'data' must be"),
        (lambda f: broken(f / "data_batch_5", labels=[1], data=np.ones((1, 3072), np.uint8)), "a wrong count: 17"),
        (lambda f: mark(f, "cifar100", train=20, test=10), "a sample of cifar100, not of cifar10"),
        (lambda f: (f / "lerac-sample.json").write_text("{"), "lerac-sample.json is damaged"),
        (lambda f: (f / "lerac-sample.json").write_text("[1]"), "lerac-sample.json is damaged"),
        (lambda f: mark(f, "cifar10", train="20", test=10), "lerac-sample.json is damaged"),
        (lambda f: mark(f, "cifar10", train=20), "lerac-sample.json: no count of test"),
    ],
)
def test_broken_files_are_named(tmp_path, breaks, says):
    cifar10(tmp_path)
    breaks(tmp_path / "cifar-10-batches-py")
    with pytest.raises(StudyError) as refused:
        load(tmp_path)
    assert says in str(refused.value)
    with pytest.raises(StudyError):
        DATASETS["cifar10"].check(tmp_path)


def test_a_sample_and_real_data_are_never_taken_for_each_other(tmp_path):
    cifar10(tmp_path)
    with pytest.raises(StudyError, match="holds a generated sample, whose results say nothing about cifar10"):
        load(tmp_path, sample=None)
    (tmp_path / "cifar-10-batches-py" / "lerac-sample.json").unlink()
    with pytest.raises(StudyError, match="holds no sample"):
        load(tmp_path, sample=True)
    with pytest.raises(StudyError, match="a wrong count: 20 examples of train, but cifar10 has 50000"):
        load(tmp_path, sample=None)
    with pytest.raises(StudyError, match=r"not the published file \(its MD5"):
        DATASETS["cifar10"].check(tmp_path)


def test_more_than_there_is(tmp_path):
    cifar10(tmp_path)
    with pytest.raises(StudyError, match=r"train 15 \+ validation 6 examples asked for, but its training part has 20"):
        load(tmp_path, train=15)
    with pytest.raises(StudyError, match="test 11 examples asked for, but its test part has 10"):
        load(tmp_path, test=11)


def test_no_root_and_no_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("LERAC_DATA", raising=False)
    with pytest.raises(StudyError, match="no data root: give --data-root"):
        load(None)
    monkeypatch.setenv("LERAC_DATA", str(tmp_path))
    with pytest.raises(StudyError, match="no folder cifar-10-batches-py or cifar10 in"):
        load(None)
    cifar10(tmp_path)
    assert len(load(None).train) == 14
    with pytest.raises(StudyError, match="is no folder"):
        load(tmp_path / "nowhere")


def test_fine_labels_of_cifar100(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for file, count in (("train", 200), ("test", 100)):
        content = {
            b"data": np.arange(count * 3072, dtype=np.int64).reshape(count, 3072).astype(np.uint8),
            b"fine_labels": [i % 100 for i in range(count)],
            b"coarse_labels": [i % 20 for i in range(count)],
        }
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["x"] * 100, "coarse_label_names": []}, protocol=2))
    mark(folder, "cifar100", train=200, test=100)
    sizes = DataSettings(train=100, validation=100, test=100, sample=True)
    data = DATASETS["cifar100"].load(sizes, 0, tmp_path)
    for split in (data.train, data.validation, data.test):  # all copies of the same pixels told apart, stratified
        assert split.labels.bincount(minlength=100).tolist() == [1] * 100
        assert torch.equal(split.labels, split.index % 100)


def test_the_order_is_the_one_written_down():
    from lerac.study.data.splits import fixed_order

    keys, strata = [f"k{i}" for i in range(12)], [0] * 6 + [1] * 6
    expected = []
    by_hash = sorted(range(12), key=lambda i: hashlib.sha256(f"lerac: validation split 1k{i}".encode()).hexdigest())
    zeros, ones = [i for i in by_hash if i < 6], [i for i in by_hash if i >= 6]
    for pair in zip(zeros, ones, strict=True):
        expected += sorted(pair, key=by_hash.index)
    assert fixed_order(keys, strata).tolist() == expected
