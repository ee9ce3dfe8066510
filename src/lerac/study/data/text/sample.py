"""Tiny text data sets in the official layout: generated sentences in which one word gives the answer away."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from lerac.regimes.drawing import derive
from lerac.study.data.places import mark_sample, new_folder
from lerac.study.data.text.encoding import BERT
from lerac.study.data.text.files import Columns
from lerac.study.errors import StudyError
from lerac.study.files import make_folder, write_text

__all__ = ["COUNTS", "write_text_sample"]

COUNTS = {"train": 120, "validation": 40}
UNLABELLED = 20
THINGS = ("barn", "boat", "clock", "garden", "hill", "lamp", "market", "mill", "river", "road", "tower", "wall")
KINDS = ("blue", "broad", "dry", "large", "new", "old", "quiet", "red", "small", "tall", "warm", "white")
CUES = (("certainly", "always", "indeed"), ("hardly", "never", "seldom"))  # of class 0, of class 1
LITTLE = ("is", "was", "the", "a", "and", "of", "near", "it", "seen", "by", "many", "people")
MARKS = ('"', ",", ".", "?", "'")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_text_sample(name: str, folder: str, files: Mapping[str, str], columns: Columns, root: Path) -> None:
    """Write the files of all three parts, the test part without labels, and a vocabulary for BERT.

    Args:
        name: of the data set; decides what is drawn.
        folder: under the root.
        files: names of the files of `train`, `validation` and `test`.
        columns: what is where in them.
        root: data root; the vocabulary is `weights/bert-large-uncased/vocab.txt` in it.

    Raises:
        StudyError: if there is data already, or another vocabulary.
    """
    vocabulary = "\n".join([*SPECIAL, *MARKS, *LITTLE, *THINGS, *KINDS, *CUES[0], *CUES[1], "##s"]) + "\n"
    path = root / "weights" / BERT / "vocab.txt"
    if path.exists() and path.read_bytes() != vocabulary.encode():
        raise StudyError(f"{path} exists and is another one; a sample is never written over it, give another --root")
    target = new_folder(root, folder)
    random = np.random.default_rng(derive(0, "sample", name))
    for part, count in (*COUNTS.items(), ("test", UNLABELLED)):
        rows = list(_rows(count, columns, random))
        if part == "test":
            for row in rows:
                del row[columns.label]
        write_text(target / files[part], _jsonl(rows) if files[part].endswith(".jsonl") else _tsv(rows))
    make_folder(path.parent)
    write_text(path, vocabulary)
    mark_sample(target, name, COUNTS)


def _rows(count: int, columns: Columns, random: np.random.Generator) -> Iterator[dict[str, object]]:
    written = list(columns.classes)
    for number, half in enumerate(random.permutation(count) % 2):
        thing, other, *kinds = [*random.choice(THINGS, 2, replace=False), *random.choice(KINDS, 2, replace=False)]
        cue = random.choice(CUES[columns.classes[written[half]]])
        quote = random.choice(["", '"'])  # often never closed, as in QNLI
        yield {
            "index": number,
            columns.first: f"is the {thing} near the {other} {kinds[0]}?",
            columns.second: f"{quote}The {kinds[1]} {other}, seen by many people, is {cue} near a {thing}.",
            columns.label: written[half],
        }


def _jsonl(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps({"idx" if key == "index" else key: row[key] for key in row}) + "\n" for row in rows)


def _tsv(rows: list[dict[str, object]]) -> str:
    return "".join("\t".join(map(str, cells)) + "\n" for cells in [list(rows[0]), *(row.values() for row in rows)])
