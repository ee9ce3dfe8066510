"""A function that does what our own digits training does has its statistics, to the last digit, for all regimes."""

from plain_digits import train_by_hand
from studies import make_study, train_here

import lerac.study
from lerac.study.runs.outcomes import collect
from lerac.study.statistics.whole_study import analyse

EPOCHS, SEEDS = 3, (0, 1)
REGIMES = [
    "conventional",
    "warmup(curve=linear,k=1)",
    "warmup(curve=exponential,k=1.5,ratio=0.01)",
    "cbs(decay=0.5,every=1,sigma=0.5)",
    "lerac(curve=exponential,k=1,ratio=1e-6)",
    "cbs+lerac(curve=linear,decay=0.5,every=1,k=2,ratio=0.001,sigma=0.5)",
    "lerac-reversed(curve=exponential,k=1,ratio=1e-6)",
    "lerac-shuffled(curve=exponential,k=1,ratio=1e-6)",
]


def digits(trial):
    [run] = make_study("conventional", seeds=(trial.seed,), epochs=EPOCHS).runs()
    _, _, best, test = train_by_hand(run, trial.attach)
    return {"validation": {"accuracy": best}, "test": {"accuracy": test}}


def cells(analysis):
    return [
        {key: value for key, value in cell.as_dict().items() if key not in ("recipe", "networks")}
        | {"validation": cell.validation.as_dict()}
        for cell in analysis.cells
    ]


def test_statistics_of_a_function_are_those_of_the_recipe(tmp_path):
    study = make_study(*REGIMES, seeds=SEEDS, epochs=EPOCHS)
    train_here(tmp_path / "recipe", study)
    recipes = analyse(collect(tmp_path / "recipe", study.runs()))
    own = lerac.study.compare(
        digits,
        REGIMES,
        SEEDS,
        metric="accuracy",
        scale=100,
        unit="%",
        out=tmp_path / "own",
        workers=0,
        paired="require",
    )
    assert cells(own.analysis) == cells(recipes)
    assert len({cell.summary.mean for cell in recipes.cells}) > 4  # the regimes do differ
