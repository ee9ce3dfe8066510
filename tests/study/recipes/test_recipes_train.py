"""Recipes of every modality train as a study: images, text, sound, and ages as a regression."""

import copy
import csv
import io
import json
import os

import numpy as np
import pytest
import torch
from in_this_process import in_this_process
from small_recipes import (
    LENGTH,
    SMALLER,
    run_of,
    small_official_run,
    small_recipe,
    small_run,
    train_to_the_end,
    write_samples,
)
from studies import make_run, untimed
from torch.nn import functional
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lerac.cli import run as command
from lerac.study.data import DATASETS
from lerac.study.data.splits import HeldSplit
from lerac.study.data.tasks import MAE
from lerac.study.errors import StudyError
from lerac.study.metrics import ACCURACY
from lerac.study.plan.request import request_study
from lerac.study.plan.study import Study
from lerac.study.recipes.official import block_of, official_ramp
from lerac.study.recipes.recipe import load_recipe
from lerac.study.statistics import summarise, verdict
from lerac.study.training.judging import JUDGES
from lerac.study.training.optimizing import Plateau
from lerac.study.training.training import EpochOrder, Training, build


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("data"), "cifar10", "fashion-mnist", "rte", "utkface")


@pytest.fixture(autouse=True)
def places(monkeypatch, root):
    monkeypatch.setenv("LERAC_DATA", str(root))
    monkeypatch.setenv("LERAC_WEIGHTS", str(root / "weights"))


@pytest.mark.parametrize("regime", ["conventional", "cbs", "lerac"])
@pytest.mark.parametrize("name", ["resnet18/cifar10", "lstm/rte", "bert-large/rte", "resnet18/utkface", "gru/digits",
                                  "cnn1d/mnist1d", "gru/mnist1d", "lenet/fashion-mnist"])  # fmt: skip
def test_a_recipe_trains(name, regime):
    train_to_the_end(small_run(name, regime))


def test_sound_trains_with_mixed_examples(tmp_path, monkeypatch):
    for module in ("soundfile", "librosa", "soxr"):
        pytest.importorskip(module)
    monkeypatch.setenv("LERAC_DATA", str(write_samples(tmp_path, "cremad")))
    training = train_to_the_end(small_run("septr/cremad", "lerac", "data.augment.mixup=1", "data.augment.noise=0"))
    inputs, labels = training._data.train.__getitems__([0, 1])
    assert inputs.shape == (2, 1, 128, 1000)
    assert labels.shape == (2, 6)
    with pytest.raises(StudyError, match=r"data.columns must be 1 to 1001, all that the spectrograms have, got 1002"):
        build(small_run("septr/cremad", "lerac", "data.columns=1002"))
    with pytest.raises(StudyError, match=r"augment.noize is unknown; there are noise"):
        small_recipe("septr/cremad", "data.augment.noize=1")


# What is judged, and how.


def test_mixed_labels_have_a_soft_loss_and_count_by_their_larger_part():
    outputs = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]])
    shares = torch.tensor([[0.7, 0.3, 0.0], [0.4, 0.6, 0.0]])
    by_hand = -(shares * outputs.log_softmax(dim=1)).sum(dim=1).mean()
    judge, network = JUDGES["classification"], torch.nn.Identity()
    torch.testing.assert_close(judge.loss(network, outputs, shares), by_hand)
    assert judge.total_score(outputs, shares).item() == 1
    assert judge.total_score(outputs, torch.tensor([0, 2])).item() == 2


def test_a_regression_is_judged_by_its_mean_absolute_error():
    judge, network = JUDGES["regression"], torch.nn.Identity()
    ages = torch.tensor([23.0, 30.0])
    split = HeldSplit(torch.zeros(2, 1), ages, torch.arange(2))
    batches = [(torch.tensor([[20.0]]), ages[:1]), (torch.tensor([[31.5]]), ages[1:])]
    found = judge.measure(network, batches, split)
    assert (found.score, found.loss, found.others) == (2.25, 2.25, {})
    assert {name: kept.tolist() for name, kept in found.kept.items()} == {"label": [23, 30], "predicted": [20, 31.5]}
    outputs = torch.tensor([[20.0], [31.5]], requires_grad=True)
    judge.loss(network, outputs, ages).backward()
    assert outputs.grad.tolist() == [[-0.5], [0.5]]


def test_the_best_epoch_of_a_regression_has_the_least_error():
    training = train_to_the_end(small_run("resnet18/utkface", "conventional", "training.epochs=4"))
    errors = [entry["validation_mae"] for entry in training.history]
    assert len(set(errors)) > 1
    assert training.best_epoch == errors.index(min(errors))


def test_a_smaller_error_is_better():
    base = {seed: 6.0 + 0.01 * seed for seed in range(5)}
    less = {seed: 5.5 + 0.02 * seed for seed in range(5)}
    _, lerac = summarise({"conventional": base, "lerac": less})
    assert verdict(lerac, metric=MAE).startswith("lerac is better than conventional: -0.48 years [-0.50, -0.46], n = 5")
    assert verdict(lerac, metric=ACCURACY).startswith("lerac is worse than conventional: -48.00 points")
    _, lerac = summarise({"conventional": less, "lerac": base})
    assert verdict(lerac, metric=MAE).startswith("lerac is worse than conventional: +0.48 years")


def compare(out, *arguments):
    return command(["compare", *arguments, "--seeds", "2", "--regimes", "conventional,lerac", "--out", str(out),
                    "--workers", "1"])  # fmt: skip


def test_ages_from_the_command_to_the_report(tmp_path, root, monkeypatch, capsys):
    monkeypatch.delenv("LERAC_DATA")
    monkeypatch.setenv("COLUMNS", "80")
    sizes = ["data.train=20", "data.validation=8", "data.test=9", "data.sample=true", *LENGTH, *SMALLER["resnet18"]]
    sets = [word for value in sizes for word in ("--set", value)]
    assert compare(tmp_path, "resnet18/utkface", *sets) == 2
    assert "LERAC_DATA" in capsys.readouterr().err
    assert compare(tmp_path, "resnet18/utkface", *sets, "--data-root", str(tmp_path / "nowhere")) == 2
    assert "--data-root" in capsys.readouterr().err
    monkeypatch.setenv("LERAC_DATA", "")  # so that it is put back after this test
    with in_this_process():
        assert compare(tmp_path, "resnet18/utkface", *sets, "--data-root", str(root)) == 0
    out, err = capsys.readouterr()
    assert "test mean absolute error" in out
    assert "Trained on a generated sample: the numbers say nothing about utkface." in " ".join(out.split())
    assert "years, too few for a verdict" in " ".join(out.split()) or "years compared" in " ".join(out.split())
    assert " years, test " in err
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert {row["metric"] for row in rows} == {"mae", "loss"}
    page = (tmp_path / "report.html").read_text()
    assert "test mean absolute error, years" in page
    assert "below 0 is better" in page
    assert "Trained on a generated sample" in page
    assert str(root) not in (tmp_path / "study.json").read_text()
    [folder, *_] = sorted((tmp_path / "runs").glob("*-conventional-*/0"))
    status = json.loads((folder / "status.json").read_text())
    with np.load(folder / "predictions.npz") as file:
        kept = dict(file)
    assert kept["predicted"].dtype == np.float32
    assert np.abs(kept["predicted"].astype(float) - kept["label"]).mean() == pytest.approx(status["test"]["mae"])
    monkeypatch.delenv("LERAC_DATA")
    assert command(["report", str(tmp_path)]) == 0  # needs no data


# Base schedules.

PLATEAU = ("schedule.name=plateau", "schedule.divide_by=4.0", "schedule.patience=0")


def test_a_plateau_is_a_plain_loop_with_torchs_scheduler_bit_for_bit():
    run = make_run(epochs=6, overrides=(*PLATEAU, "optimizer.lr=0.3"))
    data, network = build(run)
    options = {k: run.settings["optimizer"][k] for k in ("lr", "momentum", "weight_decay")}
    optimizer = torch.optim.SGD(network.parameters(), **options)
    scheduler = ReduceLROnPlateau(optimizer, factor=1 / 4, patience=0, eps=0)
    order, rates = EpochOrder(90, 32, run.seed), []
    for epoch in range(6):
        order.epoch = epoch
        network.train()
        for batch in order:
            optimizer.zero_grad()
            functional.cross_entropy(network(data.train.inputs[batch]), data.train.labels[batch]).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            scores = network(data.validation.inputs).double()
        scheduler.step(functional.cross_entropy(scores, data.validation.labels).item())
        rates.append(optimizer.param_groups[0]["lr"])
    assert len(set(rates)) > 1  # it did divide
    ours = Training(run)
    for rate in rates:
        ours.run_epoch()
        assert ours._optimizer.param_groups[0]["lr"] == rate
    assert all(torch.equal(ours.state_dict()["network"][k], v) for k, v in network.state_dict().items())


@pytest.mark.parametrize("regime", ["lerac(k=2)", "warmup(k=3)", "cbs+lerac"])
def test_a_continued_plateau_is_undisturbed(regime):
    run = make_run(regime, epochs=5, overrides=(*PLATEAU, "optimizer.lr=0.3"))
    whole = Training(run)
    states = [copy.deepcopy(whole.state_dict())]
    while not whole.over:
        whole.run_epoch()
        states.append(copy.deepcopy(whole.state_dict()))
    assert states[-1]["plateau"]["factor"] < 1
    for state in states[:-1]:
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        continued = Training(run)
        continued.load_state_dict(torch.load(file, weights_only=True))
        while not continued.over:
            continued.run_epoch()
        assert untimed(continued.history) == untimed(whole.history)
        assert all(torch.equal(v, states[-1]["network"][k]) for k, v in continued.state_dict()["network"].items())


def test_a_plateau_waits_as_long_as_its_patience():
    plateau = Plateau(10.0, 2)
    losses = [1.0, 0.9, 0.9, 0.89995, 0.95, 0.5]  # a fall by less than a ten-thousandth is none
    assert [plateau.step(loss) for loss in losses] == [False, False, False, False, True, False]
    assert plateau.factor == pytest.approx(0.1)


def test_early_stopping_waits_for_a_better_validation_loss():
    training = Training(make_run(epochs=9, overrides=("training.early_stopping=2", "optimizer.lr=1e-3")))
    losses = []
    for loss in (1.0, 0.8, 0.9, 0.8, 0.5):
        assert not training.over
        training.run_epoch()
        training.history[-1]["validation_loss"] = loss
        losses.append(loss)
        if training.over:
            break
    assert losses == [1.0, 0.8, 0.9, 0.8]  # as good as the best is not better
    assert training.test().score >= 0
    assert training.steps == 12


@pytest.mark.parametrize("schedule", [("step", "schedule.epochs=[2]", "schedule.divide_by=10.0", "schedule.floor=1e-4"),
                                      ("epoch-cosine", "schedule.after=1", "schedule.floor=1e-3")])  # fmt: skip
def test_other_base_schedules_hold_a_rate_for_an_epoch(schedule):
    name, *keys = schedule
    training = Training(make_run(epochs=4, overrides=(f"schedule.name={name}", *keys)))
    rates = []
    while not training.over:
        rates.append(training._optimizer.param_groups[0]["lr"])
        training.run_epoch()
    wave = [0.001 + 0.5 * 0.009 * (1 + np.cos(np.pi * late / 4)) for late in (0, 0, 1, 2)]
    assert rates == pytest.approx([0.01, 0.001, 0.001, 0.001] if name == "step" else wave)


# The authors' settings.


@pytest.mark.parametrize("name", ["resnet18/cifar10", "cvt13-pretrained/cifar10"])
def test_a_staircase_has_the_rates_of_the_authors_code_in_every_step(name):
    recipe = load_recipe(name, source="official")
    run = small_official_run(name, "lerac")
    ramp = official_ramp(recipe.lerac.staircase, lr=recipe.optimizer.lr, epochs=8, per_epoch=2)
    assert run.curriculum.k == ramp[-1][0]
    training = Training(run)
    backward, seen = training._accelerator.backward, []

    def recorded(loss):
        seen.append(training._curriculum.lrs())
        backward(loss)

    training._accelerator.backward = recorded
    while not training.over:
        training.run_epoch()
    blocks = block_of(seen[0], recipe.lerac.staircase.starts)
    assert len(seen) == 16
    for step, rates in enumerate(seen):
        _, expected = [entry for entry in ramp if entry[0] <= step][-1]
        assert rates == pytest.approx({p: expected[block] for p, block in blocks.items()}, rel=1e-12)


def test_controls_of_a_staircase_have_the_same_rates_on_other_blocks():
    runs = {regime: small_official_run("resnet18/cifar10", regime) for regime in
            ("lerac", "lerac-reversed", "lerac-shuffled")}  # fmt: skip
    starts = {}
    for regime, run in runs.items():
        curriculum = Training(run)._curriculum
        starts[regime] = [curriculum.lrs()[layer.parameters[0]] for layer in curriculum.layers]
    assert starts["lerac-reversed"] == starts["lerac"][::-1]
    assert sorted(starts["lerac-shuffled"]) == sorted(starts["lerac"])
    assert starts["lerac-shuffled"] != starts["lerac"]


def test_a_staircase_that_cannot_arrive_or_is_changed_is_refused():
    with pytest.raises(StudyError, match=r"ends at step 4 with .* below the full rate 0.0005: it needs more steps"):
        run_of(load_recipe("cvt13-pretrained/tiny-imagenet", ["data.train=64"], "official"), "lerac")
    recipe = load_recipe("resnet18/cifar10", source="official")
    with pytest.raises(StudyError, match=r"k of this recipe's staircase follow from \[lerac.staircase\]"):
        run_of(recipe, "lerac(k=3)")
    assert run_of(recipe, "lerac(curve=exponential,k=3,ratio=1e-7)").curriculum.ratio == 1e-7


def test_epochs_can_be_chosen_on_the_test_split_and_the_reader_is_told():
    run = small_official_run("resnet18/cifar10", "conventional")
    training = train_to_the_end(run)
    assert training._data.validation is training.test_split
    best = training.history[training.best_epoch]
    assert training.test().score == best["validation_accuracy"]

    told = load_recipe("resnet18/cifar10", ["data.sample=true"], "official").warnings
    assert [text.split()[0] for text in told] == ["Trained", "Epochs"]
    assert load_recipe("resnet18/cifar10").warnings == []


def test_the_last_batch_can_be_left_out():
    run = make_run(epochs=2, overrides=("training.drop_last=true",))
    training = Training(run)
    while not training.over:
        training.run_epoch()
    assert [entry["steps"] for entry in training.history] == [2, 4]  # of 90 examples in batches of 32
    kept, whole = EpochOrder(90, 32, 0, drop_last=True), EpochOrder(90, 32, 0)
    assert list(kept) == list(whole)[:2]
    with pytest.raises(StudyError, match=r"training\.drop_last: 90 examples fill no batch of 91"):
        make_run(overrides=("training.drop_last=true", "training.batch_size=91"))


# What fits together.


def test_training_examples_are_counted_where_nobody_says_how_many(root, monkeypatch):
    text = ("data.validation=20", "data.test=10", "data.sample=true", "data.size=32")
    monkeypatch.setattr("lerac.study.plan.request.load_recipe", lambda *args: uncounted(*args))

    def uncounted(name, overrides, source):
        recipe = load_recipe(name, overrides, source)
        return recipe.model_copy(update={"data": recipe.data.model_copy(update={"train": None})})

    study = request_study(["resnet18/cifar10"], "lerac", [0], text, None, "cpu")
    assert study.recipes[0].data.train == 180
    assert study.recipes[0].sources["data.train"].startswith("set: counted")
    recipe = load_recipe("resnet18/imagenet200")
    with pytest.raises(StudyError, match="imagenet200: how many training examples there are is not known; set"):
        Study(recipes=[recipe], regimes=["lerac"], seeds=[0]).runs()


@pytest.mark.parametrize(
    ("name", "override", "says"),
    [
        ("lstm/rte", "dataset=cifar10", "lstm reads text, but cifar10 has pictures"),
        ("digits", "dataset=rte", "small-cnn reads images, but rte has text"),
        ("digits", "dataset=mnist1d", "small-cnn reads images, but mnist1d has signals"),
        ("cnn1d/mnist1d", "dataset=digits", "cnn1d reads signals, but digits has pictures"),
        ("lstm/rte", "dataset=mnist1d", "lstm reads text, but mnist1d has signals"),
        (
            "mlp/mnist1d",
            "data.sample=true",
            "mnist1d takes no sample; allowed in [data]: train, validation, test, label",
        ),
        ("resnet18/cifar10", "dataset=voc", "voc has boxes for labels, but resnet18 detects no objects"),
        ("resnet18/cifar10", "data.tokens=bert", "cifar10 takes no tokens; allowed in [data]: train, validation, test"),
        ("lstm/rte", "data.tokens=letters", "data.tokens: input should be 'bert' or 'words', got 'letters'"),
        ("digits", "data.sample=true", "digits takes no sample; allowed in [data]: train, validation, test, label"),
        ("digits", "data.validation=test", "digits has no parts of its own: train and validation must be numbers"),
        ("resnet18/cifar10", "data.sample=false", "data.sample: input should be True, got False"),
        ("resnet18/cifar10", "data.train=70000", "but cifar10 has 60000"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, override, says):
    with pytest.raises(StudyError) as refused:
        load_recipe(name, [override])
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_command_line_says_where_things_are(tmp_path, monkeypatch, capsys):
    from lerac.study.plan.request import set_places

    monkeypatch.setenv("LERAC_DATA", "before")
    monkeypatch.setenv("LERAC_WEIGHTS", "before")
    set_places(None, tmp_path)
    assert (os.environ["LERAC_DATA"], os.environ["LERAC_WEIGHTS"]) == ("before", str(tmp_path))
    with pytest.raises(StudyError, match=r"--weights .*nowhere: there is no such folder"):
        set_places(tmp_path, tmp_path / "nowhere")


def test_every_loader_says_what_a_recipe_can_set():
    assert DATASETS["digits"].settings == ["train", "validation", "test", "label_noise", "size"]
    assert {"tokens", "max_length", "min_count", "sample"} <= set(DATASETS["boolq"].settings)
    assert not {"seed", "root", "weights"} & set(DATASETS["boolq"].settings)
