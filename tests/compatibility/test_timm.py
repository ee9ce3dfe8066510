"""timm's optimizers, param groups and schedulers, with the one line."""

import copy

import pytest
import torch
from torch import nn

import lerac
from tests.conftest import same

timm = pytest.importorskip("timm")
from timm.optim import create_optimizer_v2  # noqa: E402
from timm.scheduler import create_scheduler_v2  # noqa: E402

RATIO, K, EPOCHS, UPDATES = 1e-3, 8, 4, 3  # UPDATES in an epoch
STEPS = EPOCHS * UPDATES


def make_model():
    torch.manual_seed(0)
    options = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 3, "num_heads": 2, "num_classes": 3}
    return timm.create_model("vit_tiny_patch16_224", **options)


def make_optimizer(model, **options):
    defaults = {"opt": "adamw", "lr": 1e-2, "weight_decay": 0.05}
    return create_optimizer_v2(model, **defaults | options)


def loss_of(model, step):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(6, 3, 8, 8, generator=generator)
    return nn.functional.cross_entropy(model(x), torch.randint(0, 3, (6,), generator=generator))


def make_scheduler(optimizer, name):
    """One of timm's, with warm-up, that follows the updates."""
    if name is None:
        return None
    options = {"warmup_epochs": 1, "warmup_lr": 1e-4, "decay_epochs": 1, "decay_milestones": [1, 2], "min_lr": 1e-5}
    scheduler, _ = create_scheduler_v2(
        optimizer, sched=name, num_epochs=EPOCHS, updates_per_epoch=UPDATES, step_on_epochs=False, **options
    )
    return scheduler


def train(model, optimizer, scheduler=None, steps=range(STEPS), before_step=lambda step: None):
    for step in steps:
        optimizer.zero_grad()
        loss_of(model, step).backward()
        before_step(step)
        optimizer.step()
        if scheduler:
            scheduler.step_update(step + 1)
            if (step + 1) % UPDATES == 0:
                scheduler.step((step + 1) // UPDATES)


def depths(model):
    """What one reads off a vision transformer of this size, parameter by parameter, 0 next to the image."""
    order = ["patch_embed", "cls_token", "pos_embed"]
    for block in range(3):
        order += [f"blocks.{block}.norm1", f"blocks.{block}.attn.qkv", f"blocks.{block}.attn.proj"]
        order += [f"blocks.{block}.norm2", f"blocks.{block}.mlp.fc1", f"blocks.{block}.mlp.fc2"]
    order += ["norm.", "head"]
    return {
        name: next(i for i, part in enumerate(order) if name.startswith(part)) for name, _ in model.named_parameters()
    }


def train_by_hand(scheduler=None, steps=STEPS, **options):
    """One param group per parameter, each set before each step to timm's own rate times its layer's factor.

    timm's own rate comes from an optimizer that is never stepped by anything but its scheduler.
    """
    model = make_model()
    theirs = make_optimizer(model, **options)
    schedule = make_scheduler(theirs, scheduler)
    names = {id(p): name for name, p in model.named_parameters()}
    depth = depths(model)
    largest = max(depth.values())
    each = [(group, p) for group in theirs.param_groups for p in group["params"]]
    ours = type(theirs)([{"params": [p], "weight_decay": group["weight_decay"]} for group, p in each], lr=1.0)
    for step in range(steps):
        ours.zero_grad()
        loss_of(model, step).backward()
        for (group, p), own in zip(each, ours.param_groups, strict=True):
            r = RATIO ** (depth[names[id(p)]] / largest)
            own["lr"] = group["lr"] * (r ** (1 - step / K) if step < K else 1.0)
        ours.step()
        if schedule:
            schedule.step_update(step + 1)
            if (step + 1) % UPDATES == 0:
                schedule.step((step + 1) // UPDATES)
    return model


def close(a, b):
    """Equal but for the last bits: parameters side by side in one kernel are rounded differently."""
    return all(torch.allclose(p, q, rtol=1e-5, atol=1e-7) for p, q in zip(a.parameters(), b.parameters(), strict=True))


GROUPS = pytest.mark.parametrize("options", [{}, {"layer_decay": 0.75}], ids=["weight decay", "layer decay"])
SCHEDULERS = pytest.mark.parametrize("scheduler", ["cosine", "step", "multistep", "poly", "tanh"])


@GROUPS
@pytest.mark.compatible("timm: create_optimizer_v2, weight decay groups and layer_decay")
def test_create_optimizer(options):
    """The loop by hand with a param group for every parameter."""
    model = make_model()
    optimizer = make_optimizer(model, **options)
    before = copy.deepcopy([{n: v for n, v in group.items() if n != "params"} for group in optimizer.param_groups])
    curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    train(model, optimizer)
    assert curriculum.finished
    assert close(model, train_by_hand(**options))
    after = [{n: v for n, v in group.items() if n not in ("params", "lerac_step")} for group in optimizer.param_groups]
    assert after == before


@GROUPS
@SCHEDULERS
@pytest.mark.compatible("timm: schedulers, step and step_update")
def test_schedulers(scheduler, options):
    """The loop by hand with the scheduler's rate times each layer's factor, whichever was built first; the rates that
    you see are those of a run without LeRaC.
    """

    def trained(*steps):
        model = make_model()
        optimizer, schedule, rates = make_optimizer(model, **options), None, []
        for one in steps:
            if one == "LeRaC":
                lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
            else:
                schedule = make_scheduler(optimizer, scheduler)
        train(model, optimizer, schedule, before_step=lambda _: rates.append([g["lr"] for g in optimizer.param_groups]))
        return model, rates

    (plain, expected), by_hand = trained("scheduler"), train_by_hand(scheduler, **options)
    for order in (("LeRaC", "scheduler"), ("scheduler", "LeRaC")):
        model, seen = trained(*order)
        assert seen == expected
        assert close(model, by_hand)
        assert not close(model, plain)


@pytest.mark.compatible("timm: layers of a model")
def test_the_measured_layers_are_the_order_of_the_network():
    """The order that one reads off the model."""
    model = make_model()
    expected = depths(model)
    layers = lerac.find_layers(model, torch.zeros(1, 3, 8, 8))
    assert {name: layer.depth for layer in layers for name in layer.parameters} == expected
    theirs = lerac.layers_from_timm(model)  # coarser, and in the same order
    assert [layer.depth for layer in theirs] == list(range(len(theirs)))
    coarse = {name: layer.depth for layer in theirs for name in layer.parameters}
    ranked = sorted(expected, key=expected.__getitem__)
    assert [coarse[name] for name in ranked] == sorted(coarse.values())


@pytest.mark.parametrize("name", ["lamb", "lookahead_adamw", "lion", "nadamw"])
@pytest.mark.compatible("timm: its own optimizers and Lookahead")
def test_a_ratio_of_one_is_conventional_training(name):
    """The loop by hand with a param group for every parameter; Lookahead, whose inner optimizer is found: conventional
    training with ratio 1.
    """
    models = []
    for ratio in (None, 1.0, RATIO):
        model = make_model()
        optimizer = make_optimizer(model, opt=name, lr=1e-3)
        if ratio is not None:
            lerac.LeRaC(optimizer, model, k=K, ratio=ratio)
        train(model, optimizer)
        models.append(model)
    plain, one, small = models
    assert same(one, plain)
    assert not close(small, plain)
    if name != "lookahead_adamw":
        assert close(small, train_by_hand(opt=name, lr=1e-3))


@GROUPS
@pytest.mark.compatible("timm: continued from a checkpoint")
def test_continuing_is_as_if_never_stopped(options):
    """The uninterrupted run, bit for bit."""

    def run():
        model = make_model()
        optimizer = make_optimizer(model, **options)
        schedule = make_scheduler(optimizer, "cosine")
        return model, optimizer, schedule, lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)

    whole, optimizer, schedule, _ = run()
    train(whole, optimizer, schedule, range(5))
    saved = copy.deepcopy([part.state_dict() for part in (whole, optimizer, schedule)])
    train(whole, optimizer, schedule, range(5, STEPS))
    fresh, optimizer, schedule, curriculum = run()
    for part, state in zip((fresh, optimizer, schedule), saved, strict=True):
        part.load_state_dict(state)
    assert curriculum.steps == 5
    train(fresh, optimizer, schedule, range(5, STEPS))
    assert same(fresh, whole)
