"""SepTr never attends across both axes of a spectrogram at once."""

import pytest
import torch
from networks import make_small, small_batch
from torch import nn

from lerac.study.models import MODELS
from lerac.study.models.septr import Attention, SeparableBlock

BINS, FRAMES, WIDTH = 3, 4, 8


def block(first="time"):
    torch.manual_seed(0)
    return SeparableBlock(WIDTH, heads=2, head_width=5, mlp_width=16, first=first)


def tokens_and_class(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, BINS, FRAMES, WIDTH, generator=generator), torch.randn(2, WIDTH, generator=generator)


def test_attention_is_torchs_where_torch_has_it():
    torch.manual_seed(0)
    ours, theirs = Attention(12, heads=3, head_width=4), nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    x = torch.randn(2, 7, 12)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


@pytest.mark.parametrize("within", ["time", "frequency"])
def test_a_token_influences_only_its_time_step_or_frequency_bin_and_the_class_token(within):
    tokens, token = tokens_and_class()
    before, class_before = block().attend(within, tokens, token)
    changed = tokens.clone()
    changed[0, 1, 2] = torch.randn(WIDTH)  # not a shift of all its numbers, which normalisation takes away
    after, class_after = block().attend(within, changed, token)
    moved = (before != after).any(dim=-1)
    expected = torch.zeros(2, BINS, FRAMES, dtype=torch.bool)
    if within == "time":
        expected[0, :, 2] = True
    else:
        expected[0, 1, :] = True
    assert torch.equal(moved, expected)
    assert (class_before != class_after).any(dim=-1).tolist() == [True, False]


@pytest.mark.parametrize("within", ["time", "frequency"])
def test_each_group_is_a_sequence_of_its_own(within):
    """The slow reference: one group at a time through the layer, class token first; the copies' mean goes on."""
    tokens, token = tokens_and_class()
    layer = block().get_submodule(f"within_{within}")
    out, class_out = block().attend(within, tokens, token)
    copies = []
    for group in range(FRAMES if within == "time" else BINS):
        members = tokens[:, :, group] if within == "time" else tokens[:, group]
        sequence = layer(torch.cat((token[:, None], members), dim=1))
        copies.append(sequence[:, 0])
        torch.testing.assert_close(out[:, :, group] if within == "time" else out[:, group], sequence[:, 1:])
    torch.testing.assert_close(class_out, torch.stack(copies).mean(dim=0))


def test_order_within_an_axis_matters_to_positions_only_but_mixing_axes_does():
    tokens, token = tokens_and_class()
    out, class_out = block()(tokens, token)
    bins, frames = torch.tensor([2, 0, 1]), torch.tensor([3, 1, 0, 2])
    shuffled, class_shuffled = block()(tokens[:, bins][:, :, frames], token)
    torch.testing.assert_close(shuffled, out[:, bins][:, :, frames])
    torch.testing.assert_close(class_shuffled, class_out)
    _, class_mixed = block()(tokens.flatten(1, 2).flip(1).roll(1, 1).view(tokens.shape), token)
    assert not torch.allclose(class_mixed, class_out)


def test_either_axis_can_be_first():
    tokens, token = tokens_and_class()
    time, frequency = block("time"), block("frequency")
    assert [name for name, _ in time.named_children()] == ["within_time", "within_frequency"]
    assert [name for name, _ in frequency.named_children()] == ["within_frequency", "within_time"]
    frequency.within_frequency.load_state_dict(time.within_time.state_dict())
    frequency.within_time.load_state_dict(time.within_frequency.state_dict())
    out, class_out = time(tokens, token)
    mirrored, class_mirrored = frequency(tokens.transpose(1, 2), token)  # the same, with the axes exchanged
    torch.testing.assert_close(mirrored.transpose(1, 2), out)
    torch.testing.assert_close(class_mirrored, class_out)


def test_logits_depend_on_where_in_the_spectrogram_something_is():
    network, spectrograms = make_small("septr").eval(), small_batch("septr")
    logits = network(spectrograms)
    assert not torch.allclose(network(spectrograms.flip(2)), logits)
    assert not torch.allclose(network(spectrograms.roll(8, 3)), logits)


def test_size_follows_from_the_description_and_grows_linearly_with_the_input():
    def size(frames):
        return sum(p.numel() for p in MODELS["septr"].skeleton(35, frames=frames).parameters())

    inner, width = 5 * 64, 256
    layer = 2 * 2 * width + (width + 1) * 3 * inner + (inner + 1) * width + (width + 1) * 1024 + 1025 * width
    outside = 65 * width + width + 16 * width + 16 * width + 2 * width + (width + 1) * 35
    assert size(128) == 3 * 2 * layer + outside
    assert size(256) - size(128) == size(384) - size(256) == 16 * width
