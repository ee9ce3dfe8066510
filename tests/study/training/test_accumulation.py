"""Several batches per optimizer step, and gradients that are scaled down."""

from itertools import chain

import pytest
import torch
from studies import equal, make_run, make_study, trained, untimed, weights
from torch.nn import functional

from lerac.regimes.drawing import derive
from lerac.study.errors import StudyError
from lerac.study.plan.curriculum import steps_per_epoch
from lerac.study.plan.listing import schedule_of
from lerac.study.recipes.recipe import load_recipe
from lerac.study.training.order import EpochOrder, Part
from lerac.study.training.training import Training, build

CONSTANT = "schedule.name=constant"


def lenet(regime="conventional", *overrides, **options):
    """A network without batch statistics and dropout, so that it does not matter how examples are dealt out."""
    return make_run(regime, recipe="lenet/digits", overrides=overrides, **options)


@pytest.mark.parametrize(("examples", "batch", "accumulate", "processes", "drop"), [
    (95, 10, 1, 1, False), (95, 10, 3, 1, False), (95, 10, 3, 1, True), (95, 10, 4, 2, False), (31, 10, 1, 2, False),
    (33, 8, 2, 3, False), (33, 8, 50, 3, True),
])  # fmt: skip
def test_parts_of_all_processes_are_the_batches_and_weigh_every_example_of_a_step_alike(
    examples, batch, accumulate, processes, drop
):
    options = {"drop_last": drop, "accumulate": accumulate, "processes": processes}
    orders = [EpochOrder(examples, batch, 3, process=process, **options) for process in range(processes)]
    whole = list(EpochOrder(examples, batch, 3, drop_last=drop))
    dealt, parts = [list(order) for order in orders], [order.parts() for order in orders]
    step: list[tuple[int, float]] = []  # (own examples, weight over processes) of the parts of a step
    steps = 0
    for i, positions in enumerate(whole):
        own = [dealt[p][i][: parts[p][i].size] for p in range(processes)]
        assert sorted(chain.from_iterable(own)) == sorted(positions)
        assert all(len(dealt[p][i]) == max(1, parts[p][i].size) for p in range(processes))
        ends = parts[0][i].ends_step
        assert {part[i].ends_step for part in parts} == {ends}
        assert parts[0][i].begins_step == (not step)
        step += [(parts[p][i].size, parts[p][i].weight / processes) for p in range(processes)]
        if ends:
            total = sum(size for size, _ in step)
            assert all(weight == pytest.approx(size / total, rel=1e-15) for size, weight in step)
            step, steps = [], steps + 1
    assert step == []
    assert steps == -(-len(whole) // accumulate)


def test_without_accumulation_a_batch_is_a_step_of_weight_one():
    assert EpochOrder(95, 10, 0).parts() == [Part(10, 1.0, True, True)] * 9 + [Part(5, 1.0, True, True)]


@pytest.mark.parametrize("examples", [90, 95, 75])  # groups of 3 × 10; the last of one batch of 5; of 10 and of 5
@pytest.mark.parametrize("regime", ["conventional", "cbs+lerac(every=1,k=1.5)"])
def test_accumulated_batches_are_one_big_batch(regime, examples):
    data = f"data.train={examples}"
    few = trained(lenet(regime, data, "training.batch_size=10", "training.accumulate=3", epochs=3))
    big = trained(lenet(regime, data, "training.batch_size=30", epochs=3))
    assert few.steps == big.steps == 3 * -(-examples // 30)
    assert [entry["steps"] for entry in few.history] == [entry["steps"] for entry in big.history]
    assert [entry.get("sigma") for entry in few.history] == [entry.get("sigma") for entry in big.history]
    for name, tensor in weights(big).items():
        torch.testing.assert_close(weights(few)[name], tensor, rtol=1e-4, atol=1e-6)
    for one, other in zip(few.history, big.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-5)


def test_accumulation_is_a_plain_loop_by_hand():
    run = make_run(epochs=2, overrides=(CONSTANT, "data.train=75", "training.batch_size=10", "training.accumulate=3"))
    data, network = build(run)
    options = run.settings["optimizer"]
    optimizer = torch.optim.SGD(
        network.parameters(), lr=options["lr"], momentum=options["momentum"], weight_decay=options["weight_decay"]
    )
    for epoch in range(2):
        generator = torch.Generator().manual_seed(derive(run.seed, "order", epoch))
        for step in torch.randperm(75, generator=generator).split(30):
            optimizer.zero_grad()
            for batch in step.split(10):
                loss = functional.cross_entropy(network(data.train.inputs[batch]), data.train.labels[batch])
                (loss * (len(batch) / len(step))).backward()
            optimizer.step()
    assert equal(weights(trained(run)), network.state_dict())


def test_clipping_is_a_plain_loop_by_hand():
    run = make_run(epochs=2, overrides=(CONSTANT, "training.clip_norm=0.5"))
    data, network = build(run)
    options = run.settings["optimizer"]
    optimizer = torch.optim.SGD(
        network.parameters(), lr=options["lr"], momentum=options["momentum"], weight_decay=options["weight_decay"]
    )
    norms = []
    for epoch in range(2):
        generator = torch.Generator().manual_seed(derive(run.seed, "order", epoch))
        for batch in torch.randperm(90, generator=generator).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(network(data.train.inputs[batch]), data.train.labels[batch]).backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)))
            optimizer.step()
    assert max(norms) > 0.5  # something was clipped
    assert equal(weights(trained(run)), network.state_dict())
    assert not equal(weights(trained(make_run(epochs=2, overrides=(CONSTANT,)))), network.state_dict())


def test_every_length_is_in_optimizer_steps():
    overrides = ("training.batch_size=10", "training.accumulate=4", "data.train=95")  # 10 batches, 3 steps
    run = make_run("cbs+lerac(k=1,every=0.5)", epochs=4, overrides=overrides)
    assert steps_per_epoch(run.settings) == 3
    assert run.curriculum.k == 3
    assert run.smoothing.every == 2
    training = trained(run)
    assert training.steps == 12
    assert training._curriculum.steps == 3
    assert training._smoothing.steps == 11  # the last is counted when the next begins
    assert [entry["steps"] for entry in training.history] == [3, 6, 9, 12]
    schedule = schedule_of(load_recipe("digits", [*overrides, "training.epochs=4", "lerac.k=1"]))
    assert (schedule.steps_per_epoch, schedule.curriculum_steps, schedule.steps) == (3, 3, 12)


def test_the_rates_of_each_step_are_those_of_lerac_schedule():
    overrides = ("training.batch_size=10", "training.accumulate=4", "data.train=95", "schedule.name=cosine")
    training = Training(make_run("lerac", epochs=2, overrides=overrides))
    seen, end_step = [], training._end_step

    def watched():
        seen.append(training._curriculum.lrs())
        end_step()

    training._end_step = watched
    while not training.over:
        training.run_epoch()
    small = ("data.validation=40", "data.test=60", "lerac.k=1", "training.epochs=2")
    schedule = schedule_of(load_recipe("digits", [*overrides, *small]))
    assert len(seen) == schedule.steps == 6
    for step, rates in enumerate(seen):
        entry = max(i for i, at in enumerate(schedule.at) if at <= step)
        for group in schedule.groups:
            for parameter in group.parameters:
                assert rates[parameter] == pytest.approx(group.lrs[entry], rel=1e-12)


@pytest.mark.parametrize("regime", ["conventional", "cbs+lerac(every=0.4,k=1.5)"])
def test_continued_is_undisturbed(regime):
    overrides = ("training.batch_size=10", "training.accumulate=4", "data.train=95", "training.clip_norm=1")
    run = make_run(regime, epochs=3, overrides=overrides)
    whole = trained(run)
    continued = Training(run)
    continued.load_state_dict(trained(run, epochs=1).state_dict())
    while not continued.over:
        continued.run_epoch()
    assert equal(weights(continued), weights(whole))
    assert untimed(continued.history) == untimed(whole.history)


def test_a_loss_that_is_not_finite_is_of_the_optimizer_step_it_would_have_gone_into():
    # Steps of 4 batches: the first uses finite weights, the second what a rate of 1e30 made of them.
    training = trained(
        make_run(epochs=2, overrides=("optimizer.lr=1e30", "training.batch_size=10", "training.accumulate=4"))
    )
    assert (training.diverged_at, training.steps) == (1, 1)
    assert training.history == []


def test_what_is_not_set_is_no_part_of_a_configuration():
    assert make_run().settings["training"] == {"epochs": 2, "batch_size": 32}
    assert make_run(overrides=("training.accumulate=1",)).folder == make_run().folder
    changed = ("training.accumulate=2", "training.clip_norm=1", "training.compile=true")
    assert len({make_run(overrides=(one,)).folder for one in changed} | {make_run().folder}) == 4


@pytest.mark.parametrize(("override", "message"), [
    ("training.accumulate=0", "training.accumulate: input should be greater than or equal to 1, got 0"),
    ("training.accumulate=1.5", "training.accumulate: input should be a valid integer, got 1.5"),
    ("training.clip_norm=0", "training.clip_norm: input should be greater than 0, got 0"),
    ("training.compile=false", "training.compile: input should be True, got False"),
])  # fmt: skip
def test_bad_values_are_refused(override, message):
    with pytest.raises(StudyError) as refused:
        make_study(overrides=(override,))
    assert message in str(refused.value)
