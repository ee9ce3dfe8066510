"""The authors' learning rates: 22 experiments against their table and a replay of their loop."""

import functools
import json
import math
import re
from itertools import pairwise

import pytest

from lerac.curves import staircase
from lerac.study.errors import StudyError
from lerac.study.plan import listing
from lerac.study.plan.listing import schedule_of
from lerac.study.recipes.official import block_of, initial_rate, official_ramp, update_steps
from lerac.study.recipes.recipe import load_recipe, recipe_names, recipe_sources
from lerac.study.recipes.sections import StaircaseSettings

# experiment: epochs, batch, full rate, lowest start, updates per epoch, K, k (epochs), cap, decay epoch or timm's shift
EXPERIMENTS = {
    "resnet18/cifar10": (200, 64, 0.1, 1e-6, 1, 5, 5, 0.11, 35),
    "resnet18/cifar100": (200, 64, 0.1, 1e-7, 1, 6, 6, 0.11, 36),
    "resnet18/tiny-imagenet": (100, 64, 0.1, 1e-8, 4, 7, 1.75, 0.11, 33),
    "resnet18/imagenet200": (100, 256, 0.1, 1e-8, 4, 7, 1.75, 0.11, 33),
    "resnet18/food101": (200, 64, 0.1, 1e-7, 1, 6, 6, 0.11, 36),
    "wrn52-2/cifar10": (200, 64, 0.1, 1e-8, 1, 7, 7, 0.11, 38),
    "wrn52-2/cifar100": (200, 64, 0.1, 1e-8, 1, 7, 7, 0.11, 38),
    "wrn52-2/tiny-imagenet": (100, 64, 0.1, 1e-6, 4, 5, 1.25, 0.11, 32),
    "wide-resnet50/imagenet200": (120, 256, 0.1, 1e-6, 4, 5, 1.25, 0.11, 32),
    "wrn52-2/food101": (150, 64, 0.1, 1e-6, 4, 5, 1.25, 0.11, 32),
    "cvt13/cifar10": (200, 64, 0.002, 2e-7, 2, 4, 2, 0.0021, 5),
    "cvt13/cifar100": (200, 64, 0.002, 2e-5, 2, 2, 1, 0.0021, 5),
    "cvt13/tiny-imagenet": (150, 64, 0.002, 2e-8, 4, 5, 1.25, 0.0021, 6),
    "cvt13/imagenet200": (150, 128, 0.002, 2e-5, 2, 2, 1, 0.0021, 5),
    "cvt13/food101": (200, 64, 0.002, 2e-7, 2, 4, 2, 0.0021, 5),
    "cvt13-pretrained/cifar10": (25, 64, 0.0005, 5e-6, 4, 2, 0.5, 0.005, None),
    "cvt13-pretrained/cifar100": (25, 64, 0.0005, 5e-6, 4, 2, 0.5, 0.005, None),
    "cvt13-pretrained/tiny-imagenet": (25, 64, 0.0005, 5e-10, 4, 6, 1.5, 0.005, None),
    "cvt13-pretrained/food101": (25, 64, 0.0005, 5e-6, 4, 2, 0.5, 0.005, None),
    "bert-large/boolq": (10, 10, 5e-05, 5e-08, 4, 3, 0.75, 0.00049, None),
    "bert-large/qnli": (7, 10, 5e-05, 5e-08, 1, 3, 3, 0.00049, None),
    "bert-large/rte": (25, 10, 5e-05, 5e-08, 1, 3, 3, 0.00049, None),
}

# Initial rates by the authors' blocks, in their order; "a … b (n)" is n blocks in a row.
RESNET18 = (
    "bn1_initial, conv1_initial: 1e-1; layer1.0: 1e-2; layer1.1: 1e-3; layer2.0: 1e-4; layer2.1: 1e-5; layer3.0: 1e-6; "
)
WIDE = (
    "conv1_initial, layer1.0: 1e-1; layer1.1: 1e-2; layer1.2: 1e-3; layer1.3 … layer1.7 (5): 1e-6; layer2.0: 1e-4; "
    "layer2.1: 1e-5; "
)
WIDE_CIFAR = WIDE + (
    "layer2.2: 1e-6; layer2.3: 1e-7; layer2.4 … layer2.7 (4): 1e-6; layer3.0 … layer3.5 (6): 1e-8; "
    "layer3.6, layer3.7: 1e-6; bn1_final: 1e-1; linear: 1e-6"
)
WIDE_SMALL = WIDE + "layer2.2 … layer3.7 (14): 1e-6; bn1_final: 1e-1; linear: 1e-6"
CVT = "stage0.patch_embed, stage0.blocks.0: 2e-3; stage1.patch_embed, stage1.blocks.0: 2e-4; "
CVT_DEEP = CVT + "stage1.blocks.1: 2e-5; stage2.patch_embed … stage2.blocks.0 (3): 2e-6; "
TUNED = "stage0.patch_embed, stage0.blocks.0: 5e-4; stage1.patch_embed, stage1.blocks.0: 5e-5; "
TUNED_SHORT = TUNED + "stage1.blocks.1 … stage2.blocks.9 (13): 5e-6; head, norm_final: 5e-4"
BERT = "bert.embeddings … bert.encoder.layer.9 (25): 5e-5; bert.pooler, classifier: 5e-8"
STARTS = {
    "resnet18/cifar10": RESNET18 + "layer3.1 … layer4.1 (3): 1e-6; linear: 1e-4",
    "resnet18/cifar100": RESNET18 + "layer3.1 … layer4.1 (3): 1e-7; linear: 1e-6",
    "resnet18/tiny-imagenet": RESNET18 + "layer3.1: 1e-7; layer4.0 … linear (3): 1e-8",
    "resnet18/imagenet200": RESNET18 + "layer3.1: 1e-7; layer4.0 … linear (3): 1e-8",
    "resnet18/food101": RESNET18 + "layer3.1 … layer4.1 (3): 1e-7; linear: 1e-6",
    "wrn52-2/cifar10": WIDE_CIFAR,
    "wrn52-2/cifar100": WIDE_CIFAR,
    "wrn52-2/tiny-imagenet": WIDE_SMALL,
    "wide-resnet50/imagenet200": "bn1 … layer1.0 (3): 1e-1; layer1.1: 1e-2; layer1.2: 1e-3; layer2.0: 1e-4; "
    "layer2.1: 1e-5; layer2.2 … fc (12): 1e-6",
    "wrn52-2/food101": WIDE_SMALL,
    "cvt13/cifar10": CVT_DEEP + "stage2.blocks.1 … stage2.blocks.9 (9): 2e-7; head, norm_final: 2e-6",
    "cvt13/cifar100": CVT + "stage1.blocks.1 … norm_final (15): 2e-5",
    "cvt13/tiny-imagenet": CVT_DEEP + "stage2.blocks.1: 2e-7; stage2.blocks.2 … stage2.blocks.9 (8): 2e-8; "
    "head, norm_final: 2e-7",
    "cvt13/imagenet200": CVT + "stage1.blocks.1 … stage2.blocks.9 (13): 2e-5; head, norm_final: 2e-3",
    "cvt13/food101": CVT_DEEP + "stage2.blocks.1 … stage2.blocks.9 (9): 2e-7; head, norm_final: 2e-5",
    "cvt13-pretrained/cifar10": TUNED_SHORT,
    "cvt13-pretrained/cifar100": TUNED_SHORT,
    "cvt13-pretrained/tiny-imagenet": TUNED + "stage1.blocks.1: 5e-6; stage2.patch_embed … stage2.blocks.0 (3): 5e-7; "
    "stage2.blocks.1: 5e-8; stage2.blocks.2: 5e-9; stage2.blocks.3 … stage2.blocks.9 (7): 5e-10; "
    "head, norm_final: 5e-4",
    "cvt13-pretrained/food101": TUNED_SHORT,
    "bert-large/boolq": BERT,
    "bert-large/qnli": BERT,
    "bert-large/rte": BERT,
}


def layers(*blocks):
    return [f"layer{stage}.{block}" for stage, count in enumerate(blocks, 1) for block in range(count)]


# The authors' blocks in the order of the lists above → number of tensors.
BLOCKS = {
    "resnet18": {"bn1_initial": 2, "conv1_initial": 1}
    | {b: 9 if b in ("layer2.0", "layer3.0", "layer4.0") else 6 for b in layers(2, 2, 2, 2)}
    | {"linear": 2},
    "wrn52-2": {"conv1_initial": 2}
    | {b: 10 if b.endswith(".0") else 8 for b in layers(8, 8, 8)}
    | {"bn1_final": 2, "linear": 2},
    "wide-resnet50": {"bn1": 2, "conv1": 1}
    | {b: 12 if b.endswith(".0") else 9 for b in layers(3, 4, 6, 3)}
    | {"fc": 2},
    "cvt13": {"stage0.patch_embed": 4, "stage0.blocks.0": 25}
    | {"stage1.patch_embed": 4, "stage1.blocks.0": 25, "stage1.blocks.1": 25}
    | {"stage2.patch_embed": 4, "stage2.cls_token": 1}
    | {f"stage2.blocks.{i}": 25 for i in range(10)}
    | {"head": 2, "norm_final": 2},
    "bert-large": {"bert.embeddings": 5}
    | dict.fromkeys(sorted(f"bert.encoder.layer.{i}" for i in range(24)), 16)
    | {"bert.pooler": 2, "classifier": 2},
}
BLOCKS["cvt13-pretrained"] = BLOCKS["cvt13"]
# One optimizer group per tensor, but for those of the head, which are one.
GROUPS = {
    "resnet18": (61, 2),
    "wrn52-2": (203, 2),
    "wide-resnet50": (160, 2),
    "cvt13": (339, 4),
    "bert-large": (390, 4),
}

OURS = (
    (r"(conv1|bn1)_initial$", r"\1"),
    (r"bn1_final$", "bn_final"),
    (r"linear$", "fc"),
    (r"stage(\d)\.patch_embed$", r"cvt.encoder.stages.\1.embedding"),
    (r"stage(\d)\.blocks\.(\d)$", r"cvt.encoder.stages.\1.layers.\2"),
    (r"stage2\.cls_token$", "cvt.encoder.stages.2.cls_token"),
    (r"head$", "classifier"),
    (r"norm_final$", "layernorm"),
)


def starts_of(experiment) -> dict[str, float]:
    """The authors' block → initial rate, from the text above."""
    order, found = list(BLOCKS[experiment.partition("/")[0]]), {}
    for part in STARTS[experiment].split("; "):
        names, rate = part.split(": ")
        if match := re.fullmatch(r"(\S+) … (\S+) \((\d+)\)", names):
            first, last, count = match.groups()
            run = order[order.index(first) : order.index(first) + int(count)]
            assert run[-1] == last
        else:
            run = names.split(", ")
        found |= dict.fromkeys(run, float(rate))
    assert set(found) == set(order)
    return found


def in_our_names(experiment, block) -> str:
    if experiment.startswith(("resnet18", "wrn", "cvt")):
        for pattern, ours in OURS:
            block = re.sub(pattern, ours, block)
    return block


# The epoch in which updates stop, where it is not 5 (CvT) or late enough to mean nothing.
STOPS = {"cvt13/tiny-imagenet": 6, "cvt13-pretrained/tiny-imagenet": 5}


def replay(lr, start, per_epoch, experiment) -> dict[int, float]:
    """A rate in the authors' training loop, a scalar: step → rate, wherever it may have changed."""
    epochs, _, full, _, updates, _, _, cap, last = EXPERIMENTS[experiment]
    rate, decay, history = start, last, {}
    stop = STOPS.get(experiment, 5 if experiment.startswith("cvt13/") else 10)
    points = {1: [], 2: [per_epoch // 2], 4: [per_epoch // 4, per_epoch // 2, 3 * per_epoch // 4]}[updates]
    points = [batches for batches in range(1, per_epoch) if batches in points]
    for epoch in range(1, epochs + 1):
        if lr == 0.1 and epoch == decay and epoch < last + 61:
            rate, decay = rate / 10 if rate > 1e-4 else rate, decay + 30
        history[(epoch - 1) * per_epoch] = rate
        for batches in [*points, per_epoch]:
            if batches == per_epoch and lr == 0.002 and epoch >= stop:
                rate = 5e-5 + 0.5 * (full - 5e-5) * (1 + math.cos(math.pi * (epoch - stop) / epochs))
            elif epoch < stop and rate * 10 < cap:
                rate *= 10
            history[(epoch - 1) * per_epoch + batches] = rate
    del history[epochs * per_epoch]
    return history


@pytest.fixture(autouse=True, scope="module")
def networks():
    """Every network is built once."""
    build = listing.skeleton
    recipes = {name.partition("/")[0]: load_recipe(name) for name in sorted(EXPERIMENTS, reverse=True)}
    cached = functools.cache(lambda model: build(recipes[model].settings()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "skeleton", lambda settings, _: cached(settings["model"]))
        yield


def at_step(schedule, step):
    """Parameter → rate that the optimizer step uses."""
    entry = max(i for i, first in enumerate(schedule.at) if first <= step)
    return {parameter: group.lrs[entry] for group in schedule.groups for parameter in group.parameters}


def test_the_22_experiments_are_there():
    assert len(EXPERIMENTS) == 22
    assert set(EXPERIMENTS) == {name for name in recipe_names() if "official" in recipe_sources(name)}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_settings_are_those_of_the_table(experiment):
    epochs, batch, lr, lowest, updates, _, k, cap, base = EXPERIMENTS[experiment]
    recipe = load_recipe(experiment, source="official")
    stairs = recipe.lerac.staircase
    assert (recipe.training.epochs, recipe.training.batch_size, recipe.optimizer.lr) == (epochs, batch, lr)
    assert (recipe.lerac.k, stairs.updates_per_epoch, stairs.cap, stairs.base) == (k, updates, cap, 10)
    assert min(stairs.starts.values()) == lowest
    if lr == 0.1:
        assert (recipe.optimizer.name, recipe.optimizer.momentum, recipe.optimizer.weight_decay) == ("sgd", 0.9, 1e-4)
        assert recipe.schedule.model_dump(exclude_none=True) == {
            "name": "step", "epochs": [base, base + 30, base + 60], "divide_by": 10.0, "floor": 1e-4,
        }  # fmt: skip
    else:
        assert (recipe.optimizer.name, recipe.optimizer.weight_decay) == ("adamax", 0)
        wave = {"name": "epoch-cosine", "after": base, "floor": 5e-5}
        assert recipe.schedule.model_dump(exclude_none=True) == (wave if base else {"name": "constant"})
    assert recipe.surprises


@pytest.mark.parametrize("per_epoch", [100, 391, 782, 1562])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_rates_are_those_of_the_authors_loop(experiment, per_epoch):
    epochs, _, lr, _, updates, count, k, _, _ = EXPERIMENTS[experiment]
    schedule = schedule_of(load_recipe(experiment, source="official"), per_epoch)
    starts = starts_of(experiment)

    quarters = {1: (4,), 2: (2, 4), 4: (1, 2, 3, 4)}[updates]
    all_points = [e * per_epoch + q * per_epoch // 4 for e in range(epochs) for q in quarters]
    assert schedule.curriculum_steps == all_points[count - 1]
    if per_epoch % 4 == 0:
        assert schedule.curriculum_steps == k * per_epoch
    assert schedule.at[: count + 1] == (0, *all_points[:count])

    replayed = {start: replay(lr, start, per_epoch, experiment) for start in set(starts.values())}
    changed = {
        step
        for history in replayed.values()
        for (_, before), (step, after) in pairwise(sorted(history.items()))
        if not math.isclose(before, after, rel_tol=1e-9)
    }
    assert set(schedule.at) == {0, *changed}
    by_step = {step: at_step(schedule, step) for step in (*schedule.at[:12], *schedule.at[-3:])}
    for block, start in starts.items():
        ours, history = in_our_names(experiment, block), replayed[start]
        inside = [p for p in by_step[0] if p == ours or p.startswith(f"{ours}.")]
        assert len(inside) == BLOCKS[experiment.partition("/")[0]][block], block
        for step, rates in by_step.items():
            expected = history[max(s for s in history if s <= step)]
            assert [rates[p] for p in inside] == pytest.approx([expected] * len(inside), rel=1e-12), (block, step)


@pytest.mark.parametrize("per_epoch", [1, 2, 3, 5])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_rates_of_very_short_epochs(experiment, per_epoch):
    schedule = schedule_of(load_recipe(experiment, source="official"), per_epoch)
    for block, start in starts_of(experiment).items():
        history = replay(EXPERIMENTS[experiment][2], start, per_epoch, experiment)
        ours = in_our_names(experiment, block)
        [group] = [g for g in schedule.groups if any(f"{p}.".startswith(f"{ours}.") for p in g.parameters)]
        found = dict(zip(schedule.at, group.lrs, strict=True))
        rate = expected = start
        for step in range(schedule.steps):
            rate = found.get(step, rate)
            expected = history.get(step, expected)
            assert math.isclose(rate, expected, rel_tol=1e-12), (block, step)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_number_of_tensors(experiment):
    model = experiment.partition("/")[0]
    schedule = schedule_of(load_recipe(experiment, source="official"), 100)
    names = [p for group in schedule.groups for p in group.parameters]
    groups, in_head = GROUPS[model.removesuffix("-pretrained")]
    assert len(names) == len(set(names)) == groups - 1 + in_head
    per_rate = {}
    for block, start in starts_of(experiment).items():
        per_rate[start] = per_rate.get(start, 0) + BLOCKS[model][block]
    rates = sorted((g.lrs[0], len(g.parameters)) for g in schedule.groups)
    assert rates == [(pytest.approx(start, rel=1e-12), count) for start, count in sorted(per_rate.items())]
    assert schedule.exact is True


@pytest.mark.parametrize(
    ("experiment", "last"),
    [
        ("resnet18/cifar10", 1e-4), ("resnet18/tiny-imagenet", 1e-4), ("wrn52-2/food101", 1e-4),
        ("cvt13/cifar10", 5.43e-5), ("cvt13/tiny-imagenet", 6.05e-5), ("cvt13/imagenet200", 5.77e-5),
        ("cvt13-pretrained/cifar10", 5e-4), ("bert-large/rte", 5e-5),
    ],
)  # fmt: skip
def test_rate_of_the_last_epoch(experiment, last):
    schedule = schedule_of(load_recipe(experiment, source="official"), 782)
    rates = list(at_step(schedule, schedule.steps - 1).values())
    assert rates == pytest.approx([last] * len(rates), rel=1e-3)


def test_the_example_in_the_ramp_of_resnet18_on_cifar10():
    schedule = schedule_of(load_recipe("resnet18/cifar10", source="official"), 782)
    columns = ["fc.weight", "bn1.bias", "layer1.0.conv1.weight", "layer1.1.conv1.weight", "layer2.0.conv1.weight",
               "layer2.1.bn2.weight", "layer4.1.conv2.weight"]  # fmt: skip
    rows = [[at_step(schedule, 782 * epoch)[name] for name in columns] for epoch in range(6)]
    assert rows == [
        pytest.approx(row, rel=1e-12)
        for row in (
            [1e-4, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6],
            [1e-3, 0.1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5],
            [1e-2, 0.1, 0.1, 0.1, 1e-2, 1e-3, 1e-4],
            [0.1, 0.1, 0.1, 0.1, 0.1, 1e-2, 1e-3],
            [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 1e-2],
            [0.1] * 7,
        )
    ]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_no_rate_passes_the_full_rate_and_the_curve_staircase_is_the_same_ramp(experiment):
    recipe = load_recipe(experiment, source="official")
    lr, stairs, per_epoch = recipe.optimizer.lr, recipe.lerac.staircase, 391
    ramp = official_ramp(stairs, lr=lr, epochs=recipe.training.epochs, per_epoch=per_epoch)
    k = ramp[-1][0]
    curve = staircase(base=10.0, updates=[step / k for step, _ in ramp[1:]])
    for step, rates in ramp:
        for block, rate in rates.items():
            assert rate <= lr * (1 + 1e-15)
            assert rate == pytest.approx(lr * curve(step / k, stairs.starts[block] / lr), rel=1e-12)
    assert all(rate == pytest.approx(lr, rel=7e-16) for rate in ramp[-1][1].values())


def stairs(**values):
    return StaircaseSettings(**{"base": 10.0, "cap": 0.11, "updates_per_epoch": 4, "starts": {"a": 0.1}, **values})


@pytest.mark.parametrize(
    ("per_epoch", "steps"),
    [(1, [1, 2]), (2, [1, 2, 3, 4, 5]), (3, [1, 2, 3, 4, 5, 6, 7, 8]), (4, list(range(1, 12)))],
)
def test_points_of_very_short_epochs_count_once_and_never_before_the_first_step(per_epoch, steps):
    assert list(update_steps(stairs(), epochs=3, per_epoch=per_epoch)) == steps


def test_no_updates_from_the_epoch_in_which_they_stop():
    steps = update_steps(stairs(before_epoch=2, updates_per_epoch=2), epochs=9, per_epoch=5)
    assert list(steps) == [2, 5]
    recipe = load_recipe("cvt13-pretrained/tiny-imagenet", source="official")  # six updates needed, four allowed
    short = schedule_of(recipe, 1)
    assert short.curriculum_steps == 4
    assert min(group.lrs[-1] for group in short.groups) == pytest.approx(5e-6)


def test_a_rate_that_the_cap_forbids_stays_where_it_is():
    ramp = official_ramp(stairs(starts={"a": 0.1, "b": 0.02}, updates_per_epoch=1), lr=0.1, epochs=9, per_epoch=1)
    assert ramp == [(0, {"a": 0.1, "b": 0.02})]


def test_initial_rates_are_products_of_a_tenth():
    assert initial_rate(0.1, 1e-5) == 0.1 * 0.1 * 0.1 * 0.1 * 0.1 > 1e-5
    assert initial_rate(0.002, 2e-5) == 0.002 * 0.1 * 0.1
    assert initial_rate(0.1, 3e-3) == 3e-3
    assert initial_rate(0.1, 0.1) == 0.1
    assert initial_rate(0.1, 1.0) == 1.0


def test_a_parameter_takes_the_rate_of_the_longest_block_around_it():
    names = ["layer1.0.weight", "layer1.1.weight", "layer10.0.weight", "scale"]
    assert block_of(names, ["layer1", "layer1.1", "layer10", "scale"]) == {
        "layer1.0.weight": "layer1", "layer1.1.weight": "layer1.1", "layer10.0.weight": "layer10", "scale": "scale",
    }  # fmt: skip
    with pytest.raises(StudyError, match=r"no block holds the parameter layer10.0.weight; add one"):
        block_of(names, ["layer1", "scale"])
    with pytest.raises(StudyError, match=r"no parameter takes the rate of head, layer1$"):
        block_of(names, ["layer1", "layer1.0", "layer1.1", "layer10", "scale", "head"])


def test_steps_per_epoch_follow_from_data_and_batch_size():
    known = {"resnet18/cifar10": 782, "resnet18/tiny-imagenet": 1562, "cvt13/food101": 1184, "bert-large/boolq": 943}
    for name, per_epoch in known.items():
        assert schedule_of(load_recipe(name, source="official")).steps_per_epoch == per_epoch
    assert json.dumps(schedule_of(load_recipe("resnet18/imagenet200", source="official"), 5).as_dict())
    for source in ("official", "ours"):
        with pytest.raises(StudyError, match="how many examples there are is not known here; give --steps-per-epoch"):
            schedule_of(load_recipe("resnet18/imagenet200", source=source))
