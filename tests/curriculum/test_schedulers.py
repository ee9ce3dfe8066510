"""Every scheduler of torch, built before or after LeRaC, sets the rate that LeRaC multiplies, and never notices it."""

import pytest
from tests.conftest import by_layer, layers_of, make_net, same, train
from torch import optim
from torch.optim import lr_scheduler as schedule

import lerac

K, STEPS, RATIO = 12, 30, 1e-4

SCHEDULERS = {
    "LambdaLR": lambda o: schedule.LambdaLR(o, lambda step: 0.9**step),
    "StepLR": lambda o: schedule.StepLR(o, 5, 0.5),
    "MultiStepLR": lambda o: schedule.MultiStepLR(o, [4, 9, 20], 0.1),
    "CosineAnnealingLR": lambda o: schedule.CosineAnnealingLR(o, STEPS, eta_min=1e-3),
    "OneCycleLR": lambda o: schedule.OneCycleLR(o, 0.2, total_steps=STEPS + 1),
    "CyclicLR": lambda o: schedule.CyclicLR(o, 0.01, 0.1, step_size_up=4),
    "CosineAnnealingWarmRestarts": lambda o: schedule.CosineAnnealingWarmRestarts(o, 7),
    "ReduceLROnPlateau": lambda o: schedule.ReduceLROnPlateau(o, patience=2),
    "SequentialLR": lambda o: schedule.SequentialLR(
        o, [schedule.LinearLR(o, 0.1, total_iters=5), schedule.CosineAnnealingLR(o, STEPS)], milestones=[5]
    ),
    "ChainedScheduler": lambda o: schedule.ChainedScheduler(
        [schedule.ConstantLR(o, 0.5, 6), schedule.ExponentialLR(o, 0.9)], optimizer=o
    ),
}


def step_scheduler(scheduler, step):
    if isinstance(scheduler, schedule.ReduceLROnPlateau):
        scheduler.step(1.0 / (1 + min(step, 8)))  # improves for a while, then not any more
    else:
        scheduler.step()


def plain_run(name):
    """The scheduler's own life without a curriculum: its options at every step, and its state at the end."""
    optimizer = optim.SGD(make_net().parameters(), lr=0.1, momentum=0.9)
    scheduler = SCHEDULERS[name](optimizer)
    options = []
    for step in range(STEPS):
        options.append({key: value for key, value in optimizer.param_groups[0].items() if key != "params"})
        optimizer.step()
        step_scheduler(scheduler, step)
    return options, scheduler


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_rates_are_the_schedulers_own_times_the_factor(name, order):
    options, alone = plain_run(name)
    assert len({o["lr"] for o in options}) > 1, "this scheduler must change the rate for the test to mean anything"

    model, hand = make_net(), make_net()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = SCHEDULERS[name](optimizer) if order == "before" else None
    curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers_of(model))
    scheduler = scheduler or SCHEDULERS[name](optimizer)
    reference = optim.SGD([{"params": p} for p, _ in by_layer(hand, RATIO)], lr=0.1, momentum=0.9)

    for step in range(STEPS):
        group = optimizer.param_groups[0]
        assert {key: group[key] for key in options[step]} == options[step]  # what loggers see, too
        progress = min(step / K, 1)
        rates = curriculum.lrs()
        for target, (parameters, r) in zip(reference.param_groups, by_layer(hand, RATIO), strict=True):
            target.update(options[step])
            target["lr"] = options[step]["lr"] * r ** (1 - progress)
            names = [n for n, p in hand.named_parameters() if any(p is q for q in parameters)]
            assert {rates[n] for n in names} == {target["lr"]}
        train(model, optimizer, range(step, step + 1))
        train(hand, reference, range(step, step + 1))
        step_scheduler(scheduler, step)
    assert same(model, hand)
    assert len(optimizer.param_groups) == 1
    assert plain_state(scheduler) == plain_state(alone)


def plain_state(scheduler):
    """The scheduler's state without the functions in it, which differ as objects."""

    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if not callable(v) and k != "_scale_fn_custom"}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value if not callable(v)]
        return value

    return plain(scheduler.state_dict())
