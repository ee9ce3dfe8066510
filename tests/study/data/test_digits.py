import pytest
import sklearn.datasets
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lerac.study.data import DATASETS
from lerac.study.data.settings import DataSettings

SIZES = {"train": 600, "validation": 300, "test": 897}


def load(seed=0, label_noise=0.3, **sizes):
    return DATASETS["digits"].load(DataSettings(label_noise=label_noise, **{**SIZES, **sizes}), seed)


def truth(split):
    return torch.tensor(sklearn.datasets.load_digits().target)[split.index]


def test_sizes_shapes_and_range():
    data = load()
    assert [len(s) for s in (data.train, data.validation, data.test)] == [600, 300, 897]
    assert data.train.inputs.shape == (600, 1, 8, 8)
    assert data.train.inputs.dtype == torch.float32
    assert (data.train.inputs.min(), data.train.inputs.max()) == (0, 1)
    assert data.classes == 10


@pytest.mark.parametrize("size", [10, 100, 297, 897])
def test_every_class_has_its_share_of_the_test_examples(size):
    everything = torch.tensor(sklearn.datasets.load_digits().target).bincount() / 1797
    counts = load(train=100, test=size).test.labels.bincount(minlength=10)
    assert ((counts - everything * size).abs() < 1).all()


def test_the_three_parts_are_the_whole_data_set_once():
    data = load()
    together = torch.cat([data.train.index, data.validation.index, data.test.index])
    assert together.sort().values.tolist() == list(range(1797))


def test_stratified():
    everything = torch.tensor(sklearn.datasets.load_digits().target).bincount() / 1797
    data = load(label_noise=0)
    for split in (data.train, data.validation, data.test):
        assert ((split.labels.bincount() - everything * len(split)).abs() < 2).all()


def test_noise_replaces_exactly_the_share_by_other_classes_and_only_in_training():
    data = load(label_noise=0.3)
    assert (data.train.labels != truth(data.train)).sum() == 180
    assert torch.equal(data.validation.labels, truth(data.validation))
    assert torch.equal(data.test.labels, truth(data.test))


def test_wrong_labels_are_uniform_over_the_other_classes():
    shifts = []
    for seed in range(40):
        train = load(seed).train
        shift = (train.labels - truth(train)) % 10
        shifts.append(shift[shift > 0])
    counts = torch.cat(shifts).bincount(minlength=10)
    assert counts[0] == 0
    assert ((counts[1:] / counts.sum() - 1 / 9).abs() < 0.015).all()  # 7200 draws: more than four sigma


def test_decided_by_the_seed_alone():
    torch.manual_seed(1)
    first = load(3)
    torch.manual_seed(2)
    again, other = load(3), load(4)
    assert torch.equal(first.train.index, again.train.index)
    assert torch.equal(first.train.labels, again.train.labels)
    assert not torch.equal(first.train.index, other.train.index)


def test_no_seed_and_no_size_ever_trains_or_chooses_on_a_test_example():
    large = set(load().test.index.tolist())
    for seed in range(5):
        data = load(seed)
        assert set(data.test.index.tolist()) == large
        other = load(seed, train=1200, test=297)
        assert set(other.test.index.tolist()) < large
        assert large.isdisjoint(torch.cat([data.train.index, data.validation.index]).tolist())


def test_noise_does_not_move_the_split():
    assert torch.equal(load(0, 0.0).train.index, load(0, 0.5).train.index)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(10, 700), st.integers(10, 500), st.integers(10, 597), st.floats(0, 0.99))
def test_counts_are_exact_for_any_sizes(seed, train, validation, test, noise):
    data = load(seed, noise, train=train, validation=validation, test=test)
    assert [len(data.train), len(data.validation), len(data.test)] == [train, validation, test]
    assert int((data.train.labels != truth(data.train)).sum()) == round(noise * train)
