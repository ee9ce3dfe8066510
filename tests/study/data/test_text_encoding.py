import itertools
import json

import numpy as np
import pytest

from lerac.study.data.text.encoding import BERT, BertPieces, WholeWords, shortened, words_of
from lerac.study.data.text.files import Pairs
from lerac.study.errors import StudyError

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = [*SPECIAL, "is", "it", "red", "##dish", "?", "the", "barn", "e", ",", ".", "ab", "##c"]


@pytest.fixture
def weights(tmp_path):
    (tmp_path / BERT).mkdir()
    (tmp_path / BERT / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return tmp_path


def pair(first, second):
    return Pairs([first], [second], [0])


def tokens(encoded, example=0):
    return " ".join(VOCABULARY[i] for i in encoded.ids[example])


def test_word_pieces_lower_cased_without_accents(weights):
    encoded = BertPieces(weights, 512, None)(pair("Is it REDDISH?", "The barn, é xyz."))
    assert tokens(encoded) == "[CLS] is it red ##dish ? [SEP] the barn , e [UNK] . [SEP]"
    assert encoded.types[0].tolist() == [0] * 7 + [1] * 7


@pytest.mark.parametrize(("first", "second"), list(itertools.product([1, 3, 9, 30], repeat=2)))
@pytest.mark.parametrize("max_length", [8, 13])
def test_too_long_a_pair_loses_the_end_of_its_longer_text(weights, first, second, max_length):
    encoded = BertPieces(weights, max_length, None)(pair("red " * first, "barn " * second))
    room = max_length - 3
    kept = {6: np.count_nonzero(encoded.ids[0] == 7), 11: np.count_nonzero(encoded.ids[0] == 11)}
    assert sum(kept.values()) == min(first + second, room)
    assert len(encoded.ids[0]) == min(first + second + 3, max_length)
    if min(first, second) <= room // 2:
        assert min(kept.values()) == min(first, second)
    else:
        assert abs(kept[6] - kept[11]) <= 1
    words = [len(part) for part in shortened(["a"] * first, ["b"] * second, room)]  # the rule of whole words
    assert sum(words) == sum(kept.values())
    assert max(abs(words[0] - kept[6]), abs(words[1] - kept[11])) <= 1  # an odd place goes to either


def test_no_weights_or_another_vocabulary(weights, tmp_path):
    with pytest.raises(StudyError, match=r"vocab\.txt: 17 word pieces, but bert-large-uncased has 30522"):
        BertPieces(weights, 512)
    (weights / BERT / "vocab.txt").unlink()
    with pytest.raises(StudyError, match=r"bert-large-uncased/vocab\.txt is missing.*LERAC_WEIGHTS"):
        BertPieces(weights, 512)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[PAD]\n[UNK]\n[CLS]\na\n", r"no \[SEP\], \[MASK\]"),
        ("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\na\n", "line 8: 'a' stands in line 6, too"),
    ],
)
def test_a_broken_vocabulary(weights, text, message):
    (weights / BERT / "vocab.txt").write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=message):
        BertPieces(weights, 512, None)


def test_a_tokenizer_that_disagrees_with_the_vocabulary(weights):
    BertPieces(weights, 512, None)._tokenizer.save_pretrained(weights / BERT)
    BertPieces(weights, 512, None)
    path = weights / BERT / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["red"], vocabulary["barn"] = vocabulary["barn"], vocabulary["red"]
    path.write_text(json.dumps(content))
    with pytest.raises(StudyError, match="disagree"):
        BertPieces(weights, 512, None)


@pytest.mark.parametrize("max_length", [3, 513])
def test_length_of_bert(weights, max_length):
    with pytest.raises(StudyError, match=f"4 to 512, got {max_length}"):
        BertPieces(weights, max_length, None)


def test_words():
    assert words_of('He said: "Don\'t", İt\u2028was 3.5 °C') == [
        *("he", "said", ":", '"', "don", "'", "t", '"', ",", "i", "\u0307", "t", "was", "3", ".", "5", "°", "c")
    ]


def test_places_of_words_by_frequency_then_alphabet():
    training = Pairs(["b a", "c A"], ["a d", "c"], [0, 1])
    words = WholeWords(training, 200)  # a: 3, c: 2, b and d: 1
    encoded = words(pair("a b c", "d x A"))
    assert encoded.ids[0].tolist() == [3, 5, 4, 2, 6, 1, 3]
    assert encoded.types[0].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert words.vocabulary == 7


def test_rare_words_are_unknown():
    words = WholeWords(Pairs(["b a"], ["a d"], [0]), 200, min_count=2)
    assert words.vocabulary == 4
    assert words(pair("a b", "d")).ids[0].tolist() == [3, 1, 2, 1]


def test_at_most_as_many_words_as_said():
    words = WholeWords(Pairs(["a"], ["b"], [0]), 6)
    assert words(pair("a " * 9, "b " * 9)).ids[0].tolist() == [3, 3, 2, 4, 4, 4]
    assert words(pair("a " * 9, "b")).ids[0].tolist() == [3, 3, 3, 3, 2, 4]
    assert words(pair("a", "b " * 9)).ids[0].tolist() == [3, 2, 4, 4, 4, 4]
    assert words(pair("", "")).ids[0].tolist() == [2]


def test_bad_settings_of_words():
    with pytest.raises(StudyError, match="at least 3, got 2"):
        WholeWords(Pairs(["a"], ["b"], [0]), 2)
    with pytest.raises(StudyError, match="min_count must be at least 1, got 0"):
        WholeWords(Pairs(["a"], ["b"], [0]), 200, 0)
    with pytest.raises(StudyError, match="no word of the training texts occurs 2 times"):
        WholeWords(Pairs(["a"], ["b"], [0]), 200, 2)
