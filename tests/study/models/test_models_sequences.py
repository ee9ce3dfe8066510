"""What networks of sequences read: texts without their padding, images row by row."""

import pytest
import torch
from networks import make_small, small_batch
from torch.nn import functional


@pytest.mark.parametrize("name", ["lstm", "bert-large"])
def test_padding_changes_no_logits(name):
    network = make_small(name).eval()
    batch = small_batch(name, size=3, length=7)
    expected = network(batch)
    longer = {key: functional.pad(values, (0, 9)) for key, values in batch.items()}
    longer["input_ids"][:, 7:] = 7  # whatever stands there
    torch.testing.assert_close(network(longer), expected)
    longer["attention_mask"][:, 7] = 1
    assert not torch.allclose(network(longer), expected)


def test_lstm_reads_only_what_the_mask_keeps_wherever_it_is():
    network = make_small("lstm").eval()
    ids = torch.tensor([[3, 9, 4, 0, 0, 0], [0, 0, 3, 9, 4, 0], [3, 0, 9, 0, 0, 4], [3, 9, 4, 8, 8, 8]])
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0], [1, 0, 1, 0, 0, 1], [1, 1, 1, 0, 0, 0]])
    logits = network({"input_ids": ids, "attention_mask": mask})
    alone = network({"input_ids": ids[:1, :3], "attention_mask": mask[:1, :3]})
    torch.testing.assert_close(logits, alone.expand(4, -1))


def test_lstm_reads_token_by_token():
    """The slow reference: one text at a time without its padding."""
    network = make_small("lstm").eval()
    batch = small_batch("lstm", size=3, length=9)
    lengths = [9, 1, 4]
    batch["attention_mask"] = (torch.arange(9) < torch.tensor(lengths)[:, None]).long()
    for logits, ids, length in zip(network(batch), batch["input_ids"], lengths, strict=True):
        state = None
        for word in ids[:length]:
            _, state = network.lstm(network.embedding(word).view(1, 1, -1), state)
        torch.testing.assert_close(logits, network.fc2(network.fc1(state[0][-1, 0]).clamp(min=0)))


def test_lstm_survives_a_text_without_tokens():
    network = make_small("lstm").eval()
    ids = torch.tensor([[5, 2, 0]])
    empty = network({"input_ids": ids, "attention_mask": torch.zeros_like(ids)})
    one = network({"input_ids": ids[:, :1], "attention_mask": torch.ones(1, 1, dtype=torch.int64)})
    torch.testing.assert_close(empty, one)


def test_gru_reads_rows_from_top_to_bottom():
    network = make_small("gru").eval()
    image = torch.rand(1, 1, 8, 8, requires_grad=True)
    state = torch.zeros(2, 1, 8)
    for row in image[0, 0]:
        _, state = network.gru(row.view(1, 1, 8), state)
    torch.testing.assert_close(network(image), network.fc(state[-1]))
