import json

import pytest

from lerac.study.data.text.files import read_jsonl, read_tsv
from lerac.study.data.text.pairs import BOOLQ, QNLI, RTE
from lerac.study.errors import StudyError

HEAD = "index\tquestion\tsentence\tlabel\n"


def tsv(tmp_path, text, head=HEAD):
    path = tmp_path / "train.tsv"
    path.write_bytes((head + text).encode() if isinstance(text, str) else head.encode() + text)
    return path


def jsonl(tmp_path, *lines):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


GOOD = '{"question": "is it", "passage": "It is.", "idx": 0, "label": true}'


def test_a_quotation_mark_is_a_character_wherever_it_stands(tmp_path):
    rows = '0\t"Who\tHe said "no.\tentailment\n1\tWhat "is" it?\t"A cat.\tnot_entailment\n2\t""\t"\tentailment\n'
    pairs = read_tsv(tsv(tmp_path, rows), QNLI.columns)
    assert pairs.first == ['"Who', 'What "is" it?', '""']
    assert pairs.second == ['He said "no.', '"A cat.', '"']
    assert pairs.labels == [0, 1, 0]


def test_only_a_line_feed_ends_a_line(tmp_path):
    rows = "0\ta\u2028b\x85c\x0cd\te\x1ef\tentailment\r\n1\tg\th\tnot_entailment"
    pairs = read_tsv(tsv(tmp_path, rows), QNLI.columns)
    assert pairs.first == ["a\u2028b\x85c\x0cd", "g"]
    assert pairs.second == ["e\x1ef", "h"]
    assert pairs.labels == [0, 1]


def test_columns_are_found_by_name(tmp_path):
    head = "label\tsentence2\tindex\tsentence1\n"
    pairs = read_tsv(tsv(tmp_path, "not_entailment\ttwo\t7\tone\n", head), RTE.columns)
    assert (pairs.first, pairs.second, pairs.labels) == (["one"], ["two"], [1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\ta\tb\tentailment\n1\ta\tb\n", "line 3: 3 columns, but the first line names 4"),
        ("0\ta\tb\tc\tentailment\n", "line 2: 5 columns, but the first line names 4"),
        ("0\ta\tb\tneutral\n", "line 2: label 'neutral' is none of 'entailment' or 'not_entailment'"),
        ("0\ta\tb\tentailment\n\n1\ta\tb\tentailment\n", "line 3: is empty"),
        (b"0\ta\t\xff\tentailment\n", "line 2: not UTF-8"),
    ],
)
def test_a_broken_row_is_named(tmp_path, text, message):
    path = tsv(tmp_path, text)
    with pytest.raises(StudyError) as error:
        read_tsv(path, QNLI.columns)
    assert str(error.value).startswith(f"{path}, {message}")


def test_a_missing_column_or_file_is_named(tmp_path):
    path = tsv(tmp_path, "0\ta\tb\n", "index\tquestion\tsentence\n")
    with pytest.raises(StudyError, match=r"line 1: no column label, only index, question, sentence"):
        read_tsv(path, QNLI.columns)
    with pytest.raises(StudyError, match=r"gone\.tsv is missing"):
        read_tsv(tmp_path / "gone.tsv", QNLI.columns)


def test_json_lines(tmp_path):
    lines = [GOOD, json.dumps({"label": False, "passage": 'é "q"\u2028', "question": "  B"}, ensure_ascii=False)]
    pairs = read_jsonl(jsonl(tmp_path, *lines), BOOLQ.columns)
    assert pairs.first == ["is it", "  B"]
    assert pairs.second == ["It is.", 'é "q"\u2028']
    assert pairs.labels == [1, 0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "a", ', "line 2: not JSON"),
        ("[" * 100_000, "line 2: not JSON"),
        ("[1, 2]", "line 2: must be a JSON object, got '[1, 2]'"),
        ('{"question": "a", "label": true}', "line 2: no passage, only question, label"),
        ('{"question": "a", "passage": null, "label": true}', "line 2: passage must be text, got None"),
        ('{"question": "a", "passage": "b", "label": 1}', "line 2: label 1 is none of False or True"),
        ('{"question": "a", "passage": "b", "label": "true"}', "line 2: label 'true' is none of False or True"),
        ("", "line 2: is empty"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, message):
    path = jsonl(tmp_path, GOOD, line, GOOD)
    with pytest.raises(StudyError) as error:
        read_jsonl(path, BOOLQ.columns)
    assert str(error.value).startswith(f"{path}, {message}")


def test_label_order_is_that_of_the_hub():
    for data in (QNLI, RTE):
        assert data.columns.classes == {"entailment": 0, "not_entailment": 1}
    assert BOOLQ.columns.classes == {False: 0, True: 1}
