"""What the three text data sets have in common: pairs of texts, split, encoded and padded batch by batch."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lerac.study.data.parts import Sizes, choose
from lerac.study.data.places import Checked, Place, data_root, locate
from lerac.study.data.splits import Split, Splits, with_label_noise
from lerac.study.data.text.encoding import PIECES, BertPieces, Encoded, Encoder, WholeWords
from lerac.study.data.text.files import Columns, Pairs, read_hub, read_jsonl, read_tsv
from lerac.study.data.text.sample import write_text_sample
from lerac.study.errors import StudyError

__all__ = ["TextPairs", "TextSplit", "weights_root"]

VARIABLE = "LERAC_WEIGHTS"
CLASSES = 2


@dataclass(frozen=True)
class TextSplit(Split):
    """Encoded pairs of texts, in memory.

    Inputs of a batch are a dict of (n, length) int64 tensors, as long as the longest pair of the batch: `input_ids`,
    padded at the end; `attention_mask`, 1 for tokens and 0 for padding; `token_type_ids`, 0 for the first text and
    padding, 1 for the second.

    Args:
        encoded: of this split.
        labels: (n,) int64.
        index: (n,) int64.
        padding: the token that fills up.
    """

    encoded: Encoded
    labels: Tensor
    index: Tensor
    padding: int

    def __getitems__(self, indices: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        """Give a whole batch at once."""
        ids = [torch.from_numpy(self.encoded.ids[i]).long() for i in indices]
        types = [torch.from_numpy(self.encoded.types[i]).long() for i in indices]
        inputs = {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.padding),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
            "token_type_ids": pad_sequence(types, batch_first=True),
        }
        return inputs, self.labels[indices]


@dataclass(frozen=True)
class TextPairs:
    """A data set of pairs of texts with two labels.

    The labels of the official test part are hidden, so its validation part is the test split here, as in the authors'
    code, and validation examples are cut from the training part (paper: 10 %), the same for every seed.

    Args:
        name: of the data set.
        folders: names that the folder of the official form can have, nested ones first.
        counts: of the official parts `train` and `validation`.
        files: the official files of `train`, `validation` and `test`.
        columns: what they have where.
        hub: folders that hold the Hub's form, and the columns of their Parquet files; nested ones first.
    """

    name: str
    folders: tuple[str, ...]
    counts: Mapping[str, int]
    files: Mapping[str, str]
    columns: Columns
    hub: Mapping[str, Columns]

    def load(
        self,
        seed: int,
        *,
        train: int | None,
        validation: int | Literal["test"],
        test: int,
        tokens: str = "words",
        max_length: int | None = None,
        min_count: int = 1,
        label_noise: float = 0.0,
        sample: bool = False,
        root: Path | None = None,
        weights: Path | None = None,
    ) -> Splits:
        """Give encoded pairs, in memory.

        Args:
            seed: decides the label noise, and nothing else.
            train: number of training examples; None: all of the training part that are left.
            validation: number of examples that choose the epoch, of the training part, too; `test`: the test
                examples choose it, as in the authors' code.
            test: number of examples that are looked at once, of the official validation part.
            tokens: `bert`, or `words` of the training split.
            max_length: most tokens of a pair: None: 512 for `bert`, 200 for `words` (paper; the authors' code
                has 100 for `bert`).
            min_count: for `words`: how often one must occur in the training split to be in the vocabulary.
            label_noise: share of the training labels to replace by the other class, in [0, 1).
            sample: whether a generated sample is wanted instead of the real data.
            root: data root; None: LERAC_DATA.
            weights: folder with `bert-large-uncased/vocab.txt`, for `bert`; None: LERAC_WEIGHTS.

        Raises:
            StudyError: if files are missing or damaged, or there are fewer examples than asked for.
        """
        if tokens not in ("bert", "words"):
            raise StudyError(f"data.tokens must be bert or words, got {tokens!r}")
        if tokens == "bert" and min_count != 1:
            raise StudyError(f"data.min_count is for tokens = words; bert has its own vocabulary, got {min_count}")
        place = self.place(data_root(root), sample)
        parts = [self.read(place, part) for part in ("train", "validation")]
        learning, testing = ((_keys(part), part.labels) for part in parts)
        chosen = choose(self.name, learning, testing, Sizes(train, validation, test))
        members = [(parts[0], chosen.train), (parts[1], chosen.test)]
        if chosen.validation is not None:
            members.insert(1, (parts[0], chosen.validation))
        texts = [part.at(index.tolist()) for part, index in members]
        encoder: Encoder
        if tokens == "bert":
            encoder = BertPieces(
                weights_root(weights), 512 if max_length is None else max_length, None if sample else PIECES
            )
        else:
            encoder = WholeWords(texts[0], 200 if max_length is None else max_length, min_count)
        splits = [
            TextSplit(encoder(pairs), torch.tensor(pairs.labels), index, encoder.padding)
            for pairs, (_, index) in zip(texts, members, strict=True)
        ]
        learned = with_label_noise(splits[0], label_noise, CLASSES, seed) if label_noise else splits[0]
        return Splits(learned, splits[1], splits[-1], CLASSES, vocabulary=encoder.vocabulary)

    def check(self, root: Path) -> Checked:
        """Read the two parts that have labels, and check their number.

        Raises:
            StudyError: with the first faulty file and line.
        """
        place = self.place(root, None)
        counts = {part: len(self.read(place, part)) for part in self.counts}
        form = "official" if self._hub_columns(place) is None else "hub"
        return Checked(self.name, place.folder, form, place.sample, counts, CLASSES)

    def sample(self, root: Path) -> None:
        """Write a tiny generated data set in the official layout, and a vocabulary in `weights/bert-large-uncased`.

        Raises:
            StudyError: if either is there already; a vocabulary of another sample is kept, it is the same.
        """
        write_text_sample(self.name, self.folders[-1], self.files, self.columns, root)

    def place(self, root: Path, sample: bool | None) -> Place:
        """Find the folder."""
        return locate(self.name, (*self.folders, *self.hub), self.counts, root, sample=sample)

    def read(self, place: Place, part: str) -> Pairs:
        """Read `train` or `validation`, and check the number of its examples."""
        columns = self._hub_columns(place)
        if columns is None:
            path = place.folder / self.files[part]
            pairs = (read_jsonl if path.suffix == ".jsonl" else read_tsv)(path, self.columns)
        else:
            path = place.folder
            pairs = read_hub(path, part, columns)
        place.require_count(part, len(pairs), path)
        return pairs

    def _hub_columns(self, place: Place) -> Columns | None:
        for folder, columns in self.hub.items():
            if place.folder.parts[-len(names := Path(folder).parts) :] == names:
                return columns
        return None


def weights_root(root: Path | None = None) -> Path:
    """Give the folder with weights and vocabularies: the one that is given, or that of LERAC_WEIGHTS.

    Raises:
        StudyError: if there is neither, or no such folder.
    """
    text = os.environ.get(VARIABLE) if root is None else str(root)
    if not text:
        raise StudyError(
            f"BERT needs the file bert-large-uncased/vocab.txt: give its folder's folder by --weights or {VARIABLE}"
        )
    if not (path := Path(text)).is_dir():
        raise StudyError(f"weights folder {path} is no folder")
    return path


def _keys(pairs: Pairs) -> list[str]:
    """Name every example by its texts, the same in either form; the position among copies tells copies apart."""
    seen: Counter[str] = Counter()
    keys = []
    for texts in zip(pairs.first, pairs.second, strict=True):
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
        keys.append(f"{digest} {seen[digest]}")
        seen[digest] += 1
    return keys
