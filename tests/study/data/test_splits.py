"""How data is cut; batches of what is held in memory: the same bits as by plain indexing, and it stays as it is."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lerac.study.data.pictures.images import HALF, IMAGENET, Normalise
from lerac.study.data.splits import HeldSplit, stratified, told_apart

ROWS = [5, 0, 5, 3]
LABELS = torch.arange(6)


@pytest.mark.parametrize("inputs", [torch.randn(6, 1, 8, 8), torch.arange(6 * 48, dtype=torch.uint8).view(6, 3, 4, 4)])
def test_held_rows_are_those_of_plain_indexing(inputs):
    batch, labels = HeldSplit(inputs, LABELS, LABELS).__getitems__(ROWS)
    assert torch.equal(batch, inputs[ROWS])
    assert torch.equal(labels, LABELS[ROWS])
    batch.zero_()
    assert inputs.count_nonzero() > 0


def test_held_texts_are_taken_tensor_by_tensor():
    held = {"input_ids": torch.randint(0, 99, (6, 7)), "attention_mask": torch.rand(6, 7) < 0.5}
    batch, _ = HeldSplit(held, LABELS, LABELS).__getitems__(ROWS)
    assert batch.keys() == held.keys()
    assert all(torch.equal(batch[name], held[name][ROWS]) for name in held)


def test_positions_that_are_not_there_are_refused():
    with pytest.raises(IndexError):
        HeldSplit(torch.randn(6, 1, 8, 8), LABELS, LABELS).__getitems__([6])


@pytest.mark.parametrize("statistics", [HALF, IMAGENET])
def test_every_byte_is_normalised_as_the_formula_says(statistics):
    every = torch.arange(256, dtype=torch.uint8).repeat(3).view(1, 3, 16, 16)
    before = every.clone()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in statistics)
    assert torch.equal(Normalise(*statistics)(every), (every.float() / 255 - mean) / std)
    assert torch.equal(every, before)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_a_stratified_order_keeps_each_stratum_as_shuffled_and_takes_from_all_by_their_share(strata, random):
    shuffled = list(range(len(strata)))
    random.shuffle(shuffled)
    place, size = {}, {stratum: strata.count(stratum) for stratum in strata}
    for stratum in size:
        for number, i in enumerate(i for i in shuffled if strata[i] == stratum):
            place[i] = (number + 0.5) / size[stratum]
    assert stratified(np.array(shuffled), strata).tolist() == sorted(shuffled, key=place.__getitem__)


@given(st.lists(st.sampled_from("abc")))
def test_copies_are_told_apart_by_their_number(keys):
    assert told_apart(keys) == [f"{key} {keys[:i].count(key)}" for i, key in enumerate(keys)]
