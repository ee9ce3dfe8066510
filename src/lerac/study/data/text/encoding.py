"""From pairs of texts to numbers: the word pieces of BERT, or whole words for a recurrent network."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lerac.study.data.text.files import Pairs
from lerac.study.errors import StudyError

__all__ = ["BERT", "BertPieces", "Encoded", "Encoder", "WholeWords", "words_of"]

BERT = "bert-large-uncased"
PIECES = 30_522  # of its vocabulary
PADDING, UNKNOWN, SEPARATOR = 0, 1, 2

Numbers = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True)
class Encoded:
    """Examples as numbers, each as long as it is.

    Args:
        ids: (length,) int32 per example: a token's place in the vocabulary.
        types: (length,) int32 per example: 0 for tokens of the first text, 1 for those of the second.
    """

    ids: list[Numbers]
    types: list[Numbers]


class Encoder(Protocol):
    """Turns pairs of texts into tokens.

    Attributes:
        vocabulary: how many tokens there are.
        padding: the token that fills up a batch.
    """

    @property
    def vocabulary(self) -> int: ...  # noqa: D102

    @property
    def padding(self) -> int: ...  # noqa: D102

    def __call__(self, pairs: Pairs) -> Encoded: ...  # noqa: D102


class BertPieces:
    """Lower-cased word pieces, [CLS] first [SEP] second [SEP], types 0 up to the first [SEP] and 1 from there on.

    A pair that is too long loses tokens at the end of its longer text, so that nothing is lost of the shorter one
    as long as it fits. Source: paper, section on text; the tokenizer is that of transformers.

    Args:
        weights: folder with a folder `bert-large-uncased`, as the Hub has it, that has a `vocab.txt`.
        max_length: most tokens of a pair, in [4, 512]; 512 in the paper, 100 in the authors' code.
        pieces: how many the vocabulary must have; None takes any, as that of a sample.

    Raises:
        StudyError: if the vocabulary is missing, is none or has another size.
    """

    def __init__(self, weights: Path, max_length: int, pieces: int | None = PIECES) -> None:
        from transformers import BertTokenizer  # here, because it takes long to load

        if not 4 <= max_length <= 512:
            raise StudyError(f"max_length of BERT must be 4 to 512, got {max_length}")
        folder = weights / BERT
        words = read_vocabulary(folder / "vocab.txt")
        if pieces not in (None, len(words)):
            raise StudyError(f"{folder / 'vocab.txt'}: {len(words)} word pieces, but {BERT} has {pieces}")
        self.max_length = max_length
        self._tokenizer = BertTokenizer.from_pretrained(str(folder), do_lower_case=True, local_files_only=True)
        if self._tokenizer.get_vocab() != words:
            raise StudyError(f"{folder}: vocab.txt and tokenizer.json disagree; download both anew")

    @property
    def vocabulary(self) -> int:
        """How many word pieces there are."""
        return len(self._tokenizer)

    @property
    def padding(self) -> int:
        """Place of [PAD]."""
        return int(self._tokenizer.pad_token_id)

    def __call__(self, pairs: Pairs) -> Encoded:
        """Encode all pairs at once."""
        if not len(pairs):
            return Encoded([], [])
        result = self._tokenizer(pairs.first, pairs.second, truncation="longest_first", max_length=self.max_length)
        return Encoded(_arrays(result["input_ids"]), _arrays(result["token_type_ids"]))


class WholeWords:
    """Lower-cased words and punctuation marks, first, separator, second.

    Place 0 is padding, 1 any word that is not in the vocabulary, 2 the separator, which has type 0; the words
    follow, most frequent first, those of equal frequency by alphabet. A pair that is too long is cut as for BERT.
    Source: paper for lower case, the training set and 200 tokens; punctuation marks and separator are ours.

    Args:
        training: pairs that the vocabulary is taken from; those of the training split and no others.
        max_length: most tokens of a pair, at least 3; 200 in the paper.
        min_count: how often a word must occur to be in the vocabulary; with 1, all training words are, and what
            an unknown word does is never learnt.

    Raises:
        StudyError: if one of the numbers is too small, or there are no words.
    """

    padding = PADDING

    def __init__(self, training: Pairs, max_length: int, min_count: int = 1) -> None:
        if max_length < 3:
            raise StudyError(f"max_length of words must be at least 3, got {max_length}")
        if min_count < 1:
            raise StudyError(f"min_count must be at least 1, got {min_count}")
        counts = Counter(chain.from_iterable(map(words_of, chain(training.first, training.second))))
        kept = sorted((word for word in counts if counts[word] >= min_count), key=lambda word: (-counts[word], word))
        if not kept:
            raise StudyError(f"no word of the training texts occurs {min_count} times; use a smaller min_count")
        self.max_length = max_length
        self._places = {word: place for place, word in enumerate(kept, start=SEPARATOR + 1)}

    @property
    def vocabulary(self) -> int:
        """How many words there are, with the three places that are none."""
        return len(self._places) + SEPARATOR + 1

    def __call__(self, pairs: Pairs) -> Encoded:
        """Encode all pairs."""
        ids, types = [], []
        for first, second in zip(map(words_of, pairs.first), map(words_of, pairs.second), strict=True):
            parts = shortened(first, second, self.max_length - 1)
            places = [[self._places.get(word, UNKNOWN) for word in words] for words in parts]
            ids.append([*places[0], SEPARATOR, *places[1]])
            types.append([0] * (len(places[0]) + 1) + [1] * len(places[1]))
        return Encoded(_arrays(ids), _arrays(types))


def words_of(text: str) -> list[str]:
    """Split a text into its words and punctuation marks, lower-cased.

    Examples:
        >>> words_of("Is it 5 o'clock?")
        ['is', 'it', '5', 'o', "'", 'clock', '?']
    """
    return re.findall(r"\w+|[^\w\s]", text.lower())


def shortened(first: Sequence[str], second: Sequence[str], room: int) -> tuple[Sequence[str], Sequence[str]]:
    """Cut the longer one, then both, at the end until they have at most `room` tokens together."""
    kept = max(min(len(first), room // 2), room - len(second))
    return first[:kept], second[: max(room - min(kept, len(first)), 0)]


def read_vocabulary(path: Path) -> dict[str, int]:
    """Read a `vocab.txt`: a word piece per line, its place the number of the line from 0.

    Raises:
        StudyError: if it is missing, or not UTF-8, or has a piece twice, or lacks one of BERT's own.
    """
    try:
        pieces = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise StudyError(
            f"{path} is missing: BERT needs its vocabulary, the file vocab.txt of {BERT} on the Hugging Face Hub; "
            f"--weights or LERAC_WEIGHTS must name the folder that has {BERT}/vocab.txt"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    places: dict[str, int] = {}
    for place, piece in enumerate(pieces):
        if piece in places:
            raise StudyError(f"{path}, line {place + 1}: {piece!r} stands in line {places[piece] + 1}, too")
        places[piece] = place
    if missing := [piece for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if piece not in places]:
        raise StudyError(f"{path}: no {', '.join(missing)}; this is no vocabulary of BERT")
    return places


def _arrays(rows: Iterable[Sequence[int]]) -> list[Numbers]:
    return [np.asarray(row, dtype=np.int32) for row in rows]
