"""MNIST-1D: the signals that its package makes, the same parts for every seed, and nothing disturbed by making them."""

import random
import sys

import numpy as np
import pytest
import torch

from lerac.cli import run
from lerac.study.data import DATASETS, mnist1d
from lerac.study.data.fingerprint import Fingerprint
from lerac.study.data.settings import DataSettings
from lerac.study.errors import StudyError

generator = pytest.importorskip("mnist1d.data")
DATA, SIZES = DATASETS["mnist1d"], {"train": 3500, "validation": 500, "test": 1000}


def load(seed=0, **options):
    return DATA.load(DataSettings(**{**SIZES, **options}), seed)


@pytest.fixture(scope="module")
def made():
    """What the package makes, once for all tests; by its fingerprint it is what its authors keep as a file."""
    return mnist1d._made()


def test_signals_and_labels_are_those_of_the_package(made):
    data = load()
    assert (data.classes, data.channels, data.task) == (10, 1, "classification")
    for split, suffix in ((data.train, ""), (data.validation, ""), (data.test, "_test")):
        inputs, labels = split.__getitems__(list(range(len(split))))
        assert inputs.shape == (len(split), 1, 40)
        expected = torch.tensor(made[f"x{suffix}"], dtype=torch.float32)[split.index]
        assert torch.equal(inputs.squeeze(1), expected)
        assert labels.tolist() == made[f"y{suffix}"][split.index].tolist()
    together = torch.cat([data.train.index, data.validation.index])
    assert together.sort().values.tolist() == list(range(4000))
    shares = data.validation.labels.bincount() / torch.tensor(made["y"]).bincount()
    assert ((shares - 0.125).abs() < 0.005).all()  # every class by its share


def test_the_parts_are_the_same_for_every_seed_and_smaller_ones_lie_within_larger_ones():
    first, other = load(), load(seed=77)
    assert torch.equal(first.validation.index, other.validation.index)
    smaller = load(train=30, validation=40, test=50)
    assert set(smaller.validation.index.tolist()) < set(first.validation.index.tolist())
    assert set(smaller.test.index.tolist()) < set(first.test.index.tolist())
    whole = load(train=4000, validation="test")
    assert whole.validation is whole.test
    assert len(load(train=None).train) == 3500
    noisy = load(label_noise=0.2)
    assert (noisy.train.labels != first.train.labels).sum() == 700
    with pytest.raises(StudyError, match=r"mnist1d: train 3501 \+ validation 500 examples asked for, but .* has 4000"):
        load(train=3501)


def states():
    return random.getstate(), [part.tolist() if hasattr(part, "tolist") else part for part in np.random.get_state()]


@pytest.mark.parametrize("fails", [False, True])
def test_making_it_disturbs_no_random_numbers_also_when_it_fails(monkeypatch, fails):
    args = generator.get_dataset_args()
    args.num_samples = 20
    monkeypatch.setattr(generator, "get_dataset_args", lambda: args)
    if fails:
        args.final_seq_length = "forty"  # met after random numbers were drawn
    random.seed(3)
    np.random.seed(3)
    np.random.randn()  # leaves one that is kept for the next call
    before = states()
    try:
        mnist1d._made.__wrapped__()  # which keeps nothing
        assert not fails
    except TypeError:
        assert fails
    assert states() == before


def test_it_is_made_once_in_a_process_by_the_generator_and_never_loaded(monkeypatch):
    load()
    for name in ("make_dataset", "get_dataset"):
        monkeypatch.setattr(generator, name, lambda *_: pytest.fail("made or loaded again"))
    load(seed=1)
    assert DATA.fingerprint(DataSettings(**SIZES)).published


def test_it_is_known_up_to_rounding_errors(made, monkeypatch):
    settings = DataSettings(**SIZES)
    assert DATA.fingerprint(settings) == Fingerprint(mnist1d.PUBLISHED, published=True)
    random_signs = np.random.default_rng(0).choice([-1, 0, 1], size=made["x"].shape)
    rounded = {**made, "x": made["x"] * (1 + random_signs * np.finfo(float).eps)}
    monkeypatch.setattr(mnist1d, "_made", lambda: rounded)
    assert DATA.fingerprint(settings).published
    for part in ("x", "y", "x_test", "y_test"):
        changed = made[part].copy()
        changed[-1] += 1 if part.startswith("y") else 1e-5
        monkeypatch.setattr(mnist1d, "_made", lambda part=part, changed=changed: {**made, part: changed})
        assert not DATA.fingerprint(settings).published


def test_without_its_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(mnist1d, "_made", mnist1d._made.__wrapped__)
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(StudyError, match=r"mnist1d needs mnist1d.data: pip install 'lerac\[experiments\]'"):
        load()


def test_the_command_line_cuts_it_and_knows_that_it_has_no_files(capsys):
    sizes = ["--train", "20", "--validation", "5", "--test", "5"]
    assert run(["data", "split", "mnist1d", *sizes]) == 0
    assert [len(line.split()) for line in capsys.readouterr().out.splitlines()] == [21, 6, 6]
    assert run(["data", "split", "mnist1d", *sizes, "--sample"]) == 2
    assert "mnist1d takes no sample" in capsys.readouterr().err
    assert run(["data", "check", "mnist1d"]) == 2
    assert "'mnist1d' has no files, it comes with its package" in capsys.readouterr().err
    assert run(["data", "split", "digits", *sizes]) == 2
