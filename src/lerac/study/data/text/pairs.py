"""Three data sets of pairs of texts with two labels: BoolQ, QNLI and RTE; split, encoded and padded batch by batch.

The labels of the official test part are hidden, so its validation part is the test split here, as in the authors'
code, and validation examples are cut from the training part (paper: 10 %), the same for every seed.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lerac.study.data.hub import HUB_FILES
from lerac.study.data.places import Checked, Place, locate
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import Split, Splits, choose, told_apart, with_label_noise
from lerac.study.data.text.encoding import PIECES, BertPieces, Encoded, Encoder, WholeWords
from lerac.study.data.text.files import Columns, Pairs, read_hub, read_jsonl, read_tsv
from lerac.study.data.text.sample import write_text_sample
from lerac.study.errors import StudyError

__all__ = ["BOOLQ", "QNLI", "RTE", "TextPairs", "TextSplit"]

VARIABLE = "LERAC_WEIGHTS"
CLASSES = 2
LONGEST = {"bert": 512, "words": 200}  # tokens of a pair, unless data.max_length says otherwise


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

    def load(self, data: DataSettings, seed: int, root: Path | None = None) -> Splits:
        """Give encoded pairs, in memory; for `bert`, LERAC_WEIGHTS must name the folder with its vocabulary."""
        if data.tokens == "bert" and data.min_count not in (None, 1):
            raise StudyError(f"data.min_count is for tokens = words; bert has its own vocabulary, got {data.min_count}")
        place = self.find(root, bool(data.sample))
        parts = [self.read(place, part) for part in ("train", "validation")]
        learning, testing = ((_keys(part), part.labels) for part in parts)
        chosen = choose(self.name, learning, testing, data)
        members = [(parts[0], chosen.train), (parts[1], chosen.test)]
        if chosen.validation is not None:
            members.insert(1, (parts[0], chosen.validation))
        texts = [part.at(index.tolist()) for part, index in members]
        encoder = _encoder(data, texts[0])
        splits = [
            TextSplit(encoder(pairs), torch.tensor(pairs.labels), index, encoder.padding)
            for pairs, (_, index) in zip(texts, members, strict=True)
        ]
        learned = with_label_noise(splits[0], data.label_noise, CLASSES, seed)
        return Splits(learned, splits[1], splits[-1], CLASSES, vocabulary=encoder.vocabulary)

    def check(self, root: Path | None) -> Checked:
        """Read the two parts that have labels, and check their number; an error names file and line."""
        place = self.find(root, None)
        counts = {part: len(self.read(place, part)) for part in self.counts}
        form = "official" if self._hub_columns(place) is None else "hub"
        return Checked(self.name, place.folder, form, place.sample, counts, CLASSES)

    def sample(self, root: Path) -> None:
        """Write a tiny generated data set in the official layout, and a vocabulary in `weights/bert-large-uncased`.

        Raises:
            StudyError: if either is there already; a vocabulary of another sample is kept, it is the same.
        """
        write_text_sample(self.name, self.folders[-1], self.files, self.columns, root)

    def find(self, root: Path | None, sample: bool | None) -> Place:
        """Find the folder."""
        reads = (self.files["train"], self.files["validation"], *HUB_FILES)
        return locate(self.name, (*self.folders, *self.hub), self.counts, root, sample=sample, reads=reads)

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


def _encoder(data: DataSettings, training: Pairs) -> Encoder:
    length = data.max_length or LONGEST[data.tokens or "words"]
    if data.tokens == "bert":
        return BertPieces(_weights_root(), length, None if data.sample else PIECES)
    return WholeWords(training, length, data.min_count or 1)


def _weights_root() -> Path:
    text = os.environ.get(VARIABLE)
    if not text:
        raise StudyError(
            f"BERT needs the file bert-large-uncased/vocab.txt: give its folder's folder by --weights or {VARIABLE}"
        )
    if not (path := Path(text)).is_dir():
        raise StudyError(f"weights folder {path} is no folder")
    return path


def _keys(pairs: Pairs) -> list[str]:
    """Name every example by its texts, the same in either form; the position among copies tells copies apart."""
    both = zip(pairs.first, pairs.second, strict=True)
    return told_apart(hashlib.sha256("\0".join(texts).encode()).hexdigest() for texts in both)


_ANSWERS = {False: 0, True: 1}
_ENTAILS = {"entailment": 0, "not_entailment": 1}

BOOLQ = TextPairs(
    name="boolq",
    folders=("BoolQ/BoolQ", "BoolQ"),
    counts={"train": 9427, "validation": 3270},
    files={"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"},
    columns=Columns("question", "passage", "label", _ANSWERS),
    hub={
        "super_glue/boolq": Columns("question", "passage", "label", {0: 0, 1: 1}),
        "boolq": Columns("question", "passage", "answer", _ANSWERS),
    },
)
"""BoolQ: yes-or-no questions about a passage; 9,427 to learn from and 3,270 to test on.

Source: Clark et al., "BoolQ", NAACL 2019; official form: `BoolQ` of SuperGLUE (`train.jsonl`, `val.jsonl`); Hub form:
`google/boolq` in a folder `boolq`, or `aps/super_glue` in `super_glue`. No is 0, yes is 1, in every form.
"""

QNLI = TextPairs(
    name="qnli",
    folders=("QNLIv2/QNLI", "QNLI"),
    counts={"train": 104_743, "validation": 5463},
    files={"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"},
    columns=Columns("question", "sentence", "label", _ENTAILS),
    hub={"glue/qnli": Columns("question", "sentence", "label", {0: 0, 1: 1})},
)
"""QNLI: does a sentence answer a question? 104,743 pairs to learn from and 5,463 to test on.

Source: Wang et al., "GLUE", ICLR 2019, from SQuAD; official form: `QNLIv2.zip` of GLUE, with `QNLI/train.tsv` and
`QNLI/dev.tsv`; Hub form: `nyu-mll/glue` in a folder `glue`. Entailment is 0, no entailment 1, in every form.
"""

RTE = TextPairs(
    name="rte",
    folders=("RTE",),
    counts={"train": 2490, "validation": 277},
    files={"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"},
    columns=Columns("sentence1", "sentence2", "label", _ENTAILS),
    hub={"glue/rte": Columns("sentence1", "sentence2", "label", {0: 0, 1: 1})},
)
"""RTE: does a text entail a sentence? 2,490 pairs to learn from and 277 to test on.

Source: Wang et al., "GLUE", ICLR 2019, from the RTE challenges 1, 2, 3 and 5; official form: `RTE.zip` of GLUE, with
`RTE/train.tsv` and `RTE/dev.tsv`; Hub form: `nyu-mll/glue` in a folder `glue`. Entailment is 0, no entailment 1.
"""
