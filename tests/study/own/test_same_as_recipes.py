"""A function that does what our own digits training does has its statistics, to the last digit, for all regimes."""

import copy

import torch
from studies import make_study, train_here
from torch.nn import functional

import lerac.study
from lerac.regimes.drawing import derive
from lerac.study.plan.curriculum import steps_per_epoch
from lerac.study.runs.outcomes import collect
from lerac.study.seeds import seed_everything
from lerac.study.statistics.whole_study import analyse
from lerac.study.training.training import build

EPOCHS, SEEDS = 8, (0, 1)
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


def right(network, split):
    network.eval()
    with torch.inference_mode():
        return float((network(split.inputs).argmax(1) == split.labels).sum()) / len(split)


def digits(trial):
    """The loop of `lerac compare digits` as somebody would write it down: the best epoch by validation is tested."""
    [run] = make_study("conventional", seeds=(trial.seed,), epochs=EPOCHS).runs()
    data, network = build(run)
    options, steps = run.settings["optimizer"], steps_per_epoch(run.settings)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=options["lr"], momentum=options["momentum"], weight_decay=options["weight_decay"]
    )
    attached = trial.attach(optimizer, network, epoch_steps=steps, epochs=EPOCHS)
    best, kept = -1.0, None
    for epoch in range(EPOCHS):
        seed_everything(derive(run.seed, "epoch", epoch))
        network.train()
        generator = torch.Generator().manual_seed(derive(run.seed, "order", epoch))
        for batch in torch.randperm(len(data.train), generator=generator).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(network(data.train.inputs[batch]), data.train.labels[batch]).backward()
            optimizer.step()
        if (found := right(network, data.validation)) > best:
            best, kept = (
                found,
                copy.deepcopy((network.state_dict(), attached.smoothing and attached.smoothing.state_dict())),
            )
    network.load_state_dict(kept[0])
    if attached.smoothing:
        attached.smoothing.load_state_dict(kept[1])
    return {"validation": {"accuracy": best}, "test": {"accuracy": right(network, data.test)}}


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
