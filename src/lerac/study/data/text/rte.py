"""RTE: does a text entail a sentence? 2,490 pairs to learn from and 277 to test on.

Source: Wang et al., "GLUE", ICLR 2019, from the RTE challenges 1, 2, 3 and 5; official form: `RTE.zip` of GLUE, with
`RTE/train.tsv` and `RTE/dev.tsv`; Hub form: `nyu-mll/glue` in a folder `glue`. Entailment is 0, no entailment 1.
"""

from lerac.study.data.text.files import Columns
from lerac.study.data.text.pairs import TextPairs

__all__ = ["RTE"]

RTE = TextPairs(
    name="rte",
    folders=("RTE",),
    counts={"train": 2490, "validation": 277},
    files={"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"},
    columns=Columns("sentence1", "sentence2", "label", {"entailment": 0, "not_entailment": 1}),
    hub={"glue/rte": Columns("sentence1", "sentence2", "label", {0: 0, 1: 1})},
)
