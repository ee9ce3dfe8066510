"""BoolQ: yes-or-no questions about a passage; 9,427 to learn from and 3,270 to test on.

Source: Clark et al., "BoolQ", NAACL 2019; official form: `BoolQ` of SuperGLUE (`train.jsonl`, `val.jsonl`); Hub form:
`google/boolq` in a folder `boolq`, or `aps/super_glue` in `super_glue`. No is 0, yes is 1, in every form.
"""

from lerac.study.data.text.files import Columns
from lerac.study.data.text.pairs import TextPairs

__all__ = ["BOOLQ"]

ANSWERS = {False: 0, True: 1}

BOOLQ = TextPairs(
    name="boolq",
    folders=("BoolQ/BoolQ", "BoolQ"),
    counts={"train": 9427, "validation": 3270},
    files={"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"},
    columns=Columns("question", "passage", "label", ANSWERS),
    hub={
        "super_glue/boolq": Columns("question", "passage", "label", {0: 0, 1: 1}),
        "boolq": Columns("question", "passage", "answer", ANSWERS),
    },
)
