"""Every recipe cut down until a CPU trains it in seconds: fewer examples, and stand-ins for the large networks.

Data, loaders, networks' code, schedules and regimes stay what they are; only numbers are smaller.
"""

from pathlib import Path

import torch

from lerac.study.data import DATASETS
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import Recipe, load_recipe
from lerac.study.training.training import Training

EXAMPLES = ("data.train=12", "data.validation=6", "data.test=6")
LENGTH = ("training.epochs=2", "training.batch_size=6", "lerac.k=1", "warmup.k=1", "cbs.every=1")

# Of digits, every part has all classes.
SIZES = {"digits": ("data.train=20", "data.validation=10", "data.test=10")}

SMALLER = {
    "bert-large": (
        "network.layers=2", "network.width=32", "network.heads=2", "network.mlp_width=64", "network.pretrained=false",
    ),
    "cvt13": ("network.widths=[8, 12, 12]", "network.depths=[1, 2, 3]", "network.heads=[1, 3, 6]"),
    "cvt13-pretrained": (
        "network.widths=[8, 12, 12]", "network.depths=[1, 2, 3]", "network.heads=[1, 3, 6]", "network.pretrained=false",
    ),
    "densenet121": ("network.blocks=[1, 1, 1, 1]", "network.growth=4"),
    "lstm": ("network.width=16",),
    "resnet18": ("network.widths=[4, 8, 8, 8]",),
    "septr": ("network.width=16", "network.depth=1", "network.heads=2", "network.head_width=8", "network.mlp_width=16"),
    "wide-resnet50": ("network.blocks=[1, 1, 1, 1]", "network.base_width=16"),
    "yolov5": ("network.scale=n", "data.size=64"),
    "wrn52-2": ("network.depth=10",),
}  # fmt: skip

# With the authors' settings, every block that these name has to be there.
WITH_ALL_BLOCKS = {
    "cvt13-pretrained": ("network.depths=[1, 2, 5]",),
    "wide-resnet50": ("network.blocks=[3, 3, 1, 1]",),
    "wrn52-2": ("network.depth=52", "network.widening=1"),
}


def small_recipe(name: str, *more: str, source=None) -> Recipe:
    """A recipe on the sample of its data set, cut down; `more` overrides."""
    model, dataset = name.split("/")
    sample = ("data.sample=true",) if DATASETS[dataset].has_files else ()
    sizes = SIZES.get(dataset, EXAMPLES)
    length = [one for one in LENGTH if not one.startswith("cbs.") or load_recipe(name, source=source).cbs]
    return load_recipe(name, [*sizes, *length, *sample, *SMALLER.get(model, ()), *more], source)


def small_run(name: str, regime: str, *more: str, source=None):
    return run_of(small_recipe(name, *more, source=source), regime)


def small_official_run(name: str, regime: str, *more: str):
    """With the authors' staircase and choice of epochs, and as many epochs of two steps as the staircase needs."""
    model = name.split("/")[0]
    sizes = ("data.train=12", "data.test=6", "data.sample=true", "training.epochs=8", "training.batch_size=6")
    return run_of(
        load_recipe(name, [*sizes, *SMALLER.get(model, ()), *WITH_ALL_BLOCKS.get(model, ()), *more], "official"), regime
    )


def run_of(recipe: Recipe, regime: str):
    [run] = Study(recipes=[recipe], regimes=[regime], seeds=[0]).runs()
    return run


def write_samples(root: Path, *names: str) -> Path:
    for name in names:
        DATASETS[name].sample(root)
    return root


def train_to_the_end(run) -> Training:
    """Train, and check what is true of every run."""
    training = Training(run)
    before = {k: v.clone() for k, v in training.state_dict()["network"].items()}
    while not training.over:
        training.run_epoch()
    after = training.state_dict()["network"]
    assert training.diverged_at is None
    assert len(training.history) == run.settings["training"]["epochs"]
    learned = dict(training.network.named_parameters())
    assert all(not torch.equal(before[name], after[name]) for name, p in learned.items() if p.requires_grad and used(p))
    measured = training.test()
    assert len(measured.kept.get("predicted", measured.kept.get("counts"))) == len(training.test_split)
    assert 0 <= measured.loss < float("inf")
    return training


def used(parameter) -> bool:
    """Whether it had a gradient other than zero in the last step."""
    return parameter.grad is not None and bool(parameter.grad.count_nonzero())
