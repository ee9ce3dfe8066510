import copy
import io

import pytest
import torch
from studies import equal, make_run, trained, untimed, weights
from torch.nn import functional

from lerac.regimes.drawing import derive
from lerac.regimes.effects import Smoothing, sigma_of
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import load_recipe, recipe_text
from lerac.study.training.training import EpochOrder, Training, build

REGIMES = [
    "conventional",
    "warmup",
    "cbs(every=1.5,decay=0.5)",
    "lerac",
    "cbs+lerac(every=0.4,k=1.5)",
    "lerac-reversed",
    "lerac-shuffled",
    "lerac(curve=linear,k=1.5)",
    "lerac(curve=staircase,base=4,updates=3,k=1.5)",
]


def test_conventional_is_a_plain_loop_bit_for_bit():
    run = make_run(epochs=3, overrides=("schedule.name=constant",))
    data, network = build(run)
    optimizer = torch.optim.SGD(network.parameters(), **{k: run.settings["optimizer"][k] for k in ("lr", "momentum")},
                                weight_decay=run.settings["optimizer"]["weight_decay"])  # fmt: skip
    for epoch in range(3):
        generator = torch.Generator().manual_seed(derive(run.seed, "order", epoch))
        for batch in torch.randperm(90, generator=generator).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(network(data.train.inputs[batch]), data.train.labels[batch]).backward()
            optimizer.step()
    assert equal(weights(trained(run)), network.state_dict())


def test_warmup_is_a_plain_loop_with_the_factor_set_by_hand():
    run = make_run("warmup(k=2)", epochs=3, overrides=("schedule.name=constant",))
    data, network = build(run)
    options = run.settings["optimizer"]
    optimizer = torch.optim.SGD(
        network.parameters(), lr=options["lr"], momentum=options["momentum"], weight_decay=options["weight_decay"]
    )
    step = 0
    for epoch in range(3):
        generator = torch.Generator().manual_seed(derive(run.seed, "order", epoch))
        for batch in torch.randperm(90, generator=generator).split(32):
            optimizer.param_groups[0]["lr"] = options["lr"] * min(1.0, step / 6)
            optimizer.zero_grad()
            functional.cross_entropy(network(data.train.inputs[batch]), data.train.labels[batch]).backward()
            optimizer.step()
            step += 1
    assert equal(weights(trained(run)), network.state_dict())


@pytest.mark.parametrize("regime", REGIMES[1:])
def test_all_regimes_of_a_seed_start_alike_and_see_the_same_batches(regime, monkeypatch):
    seen = []

    class Watched(EpochOrder):
        def __iter__(self):
            for batch in super().__iter__():
                seen.append(tuple(batch))
                yield batch

    monkeypatch.setattr("lerac.study.training.training.EpochOrder", Watched)
    one, other = Training(make_run("conventional")), Training(make_run(regime))
    assert equal(weights(one), weights(other))
    for training in (one, other):
        while not training.over:
            training.run_epoch()
    half = len(seen) // 2
    assert half == 6
    assert seen[:half] == seen[half:]
    assert not equal(weights(one), weights(other))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0)):
        order = EpochOrder(50, 16, seed)
        order.epoch = epoch
        orders.append([i for batch in order for i in batch])
    assert orders[0] == orders[3]
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == list(range(50)) for order in orders)


@pytest.mark.parametrize("regime", REGIMES)
def test_continued_is_undisturbed(regime):
    run = make_run(regime, epochs=4, overrides=("schedule.name=cosine",))
    whole, stopped = Training(run), []
    while not whole.over:
        torch.save(whole.state_dict(), file := io.BytesIO())
        stopped.append(file)
        whole.run_epoch()
    assert len(stopped) == 4
    assert equal(weights(whole), weights(trained(run)))  # which was never saved
    last, tested = copy.deepcopy(weights(whole)), whole.test().loss
    for file in stopped:
        file.seek(0)
        torch.manual_seed(99)  # whatever happened in between
        continued = Training(run)
        continued.load_state_dict(torch.load(file, weights_only=True))
        while not continued.over:
            continued.run_epoch()
        assert equal(weights(continued), last)
        assert untimed(continued.history) == untimed(whole.history)
        assert continued.test().loss == tested


@pytest.mark.parametrize(("regime", "rates"), [("cbs", "conventional"), ("cbs+lerac", "lerac")])
def test_smoothing_is_a_plain_loop_with_the_blur_set_by_hand(regime, rates):
    run = make_run(f"{regime}(sigma=0.8,decay=0.5,every=1.5)", epochs=3, overrides=("schedule.name=constant",))
    assert run.smoothing == Smoothing(0.8, 0.5, 4)  # round(1.5 · 3) steps
    by_hand = Training(make_run(rates, epochs=3, overrides=("schedule.name=constant",)))
    step, sigma = 0, 0.8

    def blur(module, args, output):
        x = torch.tensor([-1.0, 0.0, 1.0])
        weights = torch.exp(-(x[:, None] ** 2 + x[None, :] ** 2) / (2 * sigma**2))
        kernel = (weights / weights.sum()).expand(output.shape[1], 1, 3, 3)
        return functional.conv2d(output, kernel, padding=1, groups=output.shape[1])

    def count(module, args):
        nonlocal step, sigma
        if module.training:
            sigma = 0.8 * 0.5 ** (step // 4)
            step += 1

    network = by_hand.network
    network.register_forward_pre_hook(count)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size != (1, 1):
            module.register_forward_hook(blur)
    while not by_hand.over:
        by_hand.run_epoch()
    ours = trained(run)
    assert step == 9
    assert [entry["sigma"] for entry in ours.history] == [0.8, 0.4, 0.2]
    for name, tensor in weights(by_hand).items():
        torch.testing.assert_close(weights(ours)[name], tensor, rtol=1e-3, atol=1e-4)
    for one, other in zip(ours.history, by_hand.history, strict=True):
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-3)


def test_smoothing_leaves_no_trace_in_the_weights():
    smoothed, plain = trained(make_run("cbs")), trained(make_run("conventional"))
    assert weights(smoothed).keys() == weights(plain).keys()
    assert weights(smoothed).keys() == smoothed.state_dict()["best_weights"].keys()


def test_history_follows_the_planned_sigma():
    run = make_run("cbs(decay=0.5,every=1.5)", epochs=5)
    training = trained(run)
    assert [entry["sigma"] for entry in training.history] == [sigma_of(run.smoothing)(3 * e + 2) for e in range(5)]
    assert all("sigma" not in entry for entry in trained(make_run("lerac")).history)


@pytest.mark.parametrize("continued", [False, True])
def test_the_network_that_was_chosen_is_tested_with_its_blur(continued):
    run = make_run("cbs(sigma=1,every=1,decay=0.5)", epochs=4)
    training = Training(run)
    training.run_epoch()
    at_first = training.measure(training.test_split).loss
    training.history[0]["validation_accuracy"] = 2.0  # so that no later epoch is chosen
    while not training.over:
        training.run_epoch()
    if continued:
        state, training = training.state_dict(), Training(run)
        training.load_state_dict(state)
    assert training.history[-1]["sigma"] == 0.125
    assert training.test().loss == at_first
    training._smoothing.remove()
    assert training.measure(training.test_split).loss != at_first  # the blur matters


def test_time_of_an_epoch_is_what_has_passed_since_the_first():
    training = trained(make_run(epochs=3))
    seconds = [entry["seconds"] for entry in training.history]
    assert 0 < seconds[0] < seconds[1] < seconds[2] == round(training.seconds, 3)


def test_the_test_split_is_measured_with_the_first_best_validation_epoch():
    run = make_run(epochs=5)
    training, snapshots = Training(run), []
    while not training.over:
        training.run_epoch()
        snapshots.append(copy.deepcopy(weights(training)))
    accuracies = [entry["validation_accuracy"] for entry in training.history]
    assert training.best_epoch == accuracies.index(max(accuracies))
    measured = training.test()
    assert equal(weights(training), snapshots[training.best_epoch])
    assert measured.score == (measured.kept["predicted"] == training.test_split.labels).double().mean().item()


def test_history_says_what_was_trained():
    training = trained(make_run(epochs=2))
    assert [entry["epoch"] for entry in training.history] == [0, 1]
    assert [entry["steps"] for entry in training.history] == [3, 6]
    assert training.history[1]["train_loss"] < training.history[0]["train_loss"]
    assert training.steps == 6


def test_a_loss_that_is_not_finite_ends_the_run_with_its_step():
    training = trained(make_run(epochs=3, overrides=("optimizer.lr=1e30",)))
    assert training.over
    assert training.diverged_at == 1  # the first step used finite weights, the second what lr 1e30 made of them
    assert training.history == []
    with pytest.raises(RuntimeError, match="reached its last epoch"):
        training.test()


@pytest.mark.parametrize("name", ["adam", "adamw", "adamax"])
def test_optimizers_without_momentum(name, tmp_path):
    path = tmp_path / "adam.toml"
    text = recipe_text("digits").replace('name = "sgd"', f'name = "{name}"').replace("momentum = 0.9\n", "")
    path.write_text("".join(line for line in text.splitlines(keepends=True) if "optimizer.momentum" not in line))
    small = [
        "data.train=90",
        "data.validation=40",
        "data.test=60",
        "training.epochs=1",
        "optimizer.lr=1e-3",
        "lerac.k=1",
    ]
    study = Study(recipes=[load_recipe(str(path), small)], regimes=["lerac"], seeds=[0])
    training = trained(study.runs()[0])
    assert len(training.history) == 1
    assert training.history[0]["train_loss"] > 0
