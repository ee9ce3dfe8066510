"""QNLI: does a sentence answer a question? 104,743 pairs to learn from and 5,463 to test on.

Source: Wang et al., "GLUE", ICLR 2019, from SQuAD; official form: `QNLIv2.zip` of GLUE, with `QNLI/train.tsv` and
`QNLI/dev.tsv`; Hub form: `nyu-mll/glue` in a folder `glue`. Entailment is 0, no entailment 1, in every form.
"""

from lerac.study.data.text.files import Columns
from lerac.study.data.text.pairs import TextPairs

__all__ = ["QNLI"]

QNLI = TextPairs(
    name="qnli",
    folders=("QNLIv2/QNLI", "QNLI"),
    counts={"train": 104_743, "validation": 5463},
    files={"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"},
    columns=Columns("question", "sentence", "label", {"entailment": 0, "not_entailment": 1}),
    hub={"glue/qnli": Columns("question", "sentence", "label", {0: 0, 1: 1})},
)
