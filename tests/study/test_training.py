import copy
import io

import pytest
import torch
from studies import make_run
from torch.nn import functional

from lerac.study.plan import Study
from lerac.study.recipe import load_recipe, recipe_text
from lerac.study.seeds import derive
from lerac.study.training import EpochOrder, Training, build

REGIMES = ["conventional", "warmup", "lerac", "lerac-reversed", "lerac-shuffled", "lerac(curve=linear,k=1.5)"]


def trained(run, epochs=None):
    training = Training(run)
    while not training.over and len(training.history) != epochs:
        training.run_epoch()
    return training


def weights(training):
    return training.state_dict()["network"]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


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

    monkeypatch.setattr("lerac.study.training.EpochOrder", Watched)
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
    whole = trained(run)
    last, tested = copy.deepcopy(weights(whole)), whole.test().loss
    for stop in (0, 1, 3):
        file = io.BytesIO()
        torch.save(trained(run, epochs=stop).state_dict() if stop else Training(run).state_dict(), file)
        file.seek(0)
        torch.manual_seed(99)  # whatever happened in between
        continued = Training(run)
        continued.load_state_dict(torch.load(file, weights_only=True))
        while not continued.over:
            continued.run_epoch()
        assert equal(weights(continued), last)
        assert continued.history == whole.history
        assert continued.test().loss == tested


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
    assert measured.accuracy == (measured.predicted == training.test_split.labels).double().mean().item()


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
