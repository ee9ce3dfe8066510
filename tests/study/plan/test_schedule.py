"""`lerac schedule`: Eq. (8) with its base schedule, and what the command prints."""

import json
from bisect import bisect_right

import pytest
from networks import needed

from lerac import find_layers
from lerac.cli import run
from lerac.commands.named_models import named_model
from lerac.study.errors import StudyError
from lerac.study.plan.listing import schedule_of
from lerac.study.plan.rates import rates_of
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import load_recipe, recipe_names, recipe_sources, recipe_text
from lerac.study.training.training import Training

STEPS = ["schedule.name=step", "schedule.epochs=[2,3]", "schedule.divide_by=10.0", "schedule.floor=1e-9"]
KEYS = ["recipe", "source", "steps_per_epoch", "curriculum_steps", "base", "exact", "at", "groups"]


def asked(capsys, *arguments):
    assert run(["schedule", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_demo_is_equation_8(capsys):
    found = asked(capsys, "digits")
    assert list(found) == KEYS
    assert (found["recipe"], found["source"], found["base"], found["exact"]) == (
        "small-cnn/digits", "ours", "constant", True,
    )  # fmt: skip
    assert (found["steps_per_epoch"], found["curriculum_steps"]) == (10, 30)
    assert found["at"] == list(range(31))
    network = named_model("small-cnn")
    layers = find_layers(network.model, *network.args)
    assert [group["parameters"] for group in found["groups"]] == [list(layer.parameters) for layer in layers]
    for layer, group in zip(layers, found["groups"], strict=True):
        ratio = 1e-4 ** (layer.depth / layers[-1].depth)
        assert group["lrs"] == pytest.approx([0.01 * ratio ** (1 - t / 30) for t in range(31)], rel=1e-12)


@pytest.mark.parametrize(
    ("regime", "steps"),
    [
        ("unfreeze(k=1.2)", 12),
        ("layer-decay(factor=0.5)", 30),
        ("lerac-reversed(k=0.7)", 7),
        ("warmup(k=0.4)", 4),
        ("cbs", 0),
    ],
)
def test_any_regime_can_be_listed(capsys, tmp_path, regime, steps):
    file = tmp_path / "three-epochs.toml"
    file.write_text(recipe_text("digits").replace("epochs = 25", "epochs = 3"))
    found = asked(capsys, str(file), "--regime", regime, "--plot", str(tmp_path / "rates.svg"))
    assert list(found) == [*KEYS, "regime"]
    assert (found["regime"], found["curriculum_steps"]) == (regime, steps)
    [run] = Study(recipes=[load_recipe(str(file))], regimes=[regime], seeds=[0]).runs()
    plan = rates_of(run)
    assert plan.steps == 30
    for group, layer in zip(found["groups"], plan.layers, strict=True):
        for step in range(plan.steps):
            listed = group["lrs"][bisect_right(found["at"], step) - 1]
            assert listed == pytest.approx(plan.shared(step) * plan.factor(layer.name, step), rel=1e-12)


def test_a_bad_regime_is_one_line(capsys):
    assert run(["schedule", "digits", "--regime", "unfreeze(ratio=1)"]) == 2
    assert "unknown option 'ratio'; allowed for unfreeze: k, lr, depth" in capsys.readouterr().err
    assert run(["schedule", "digits", "--regime", "unfreeze(k=99)"]) == 2
    assert "outlasts training" in capsys.readouterr().err


def test_the_demo_has_the_rates_that_training_really_uses():
    overrides = ["data.train=90", "data.validation=40", "data.test=60", "training.epochs=3", "lerac.k=2", "warmup.k=1"]
    recipe = load_recipe("digits", [*overrides, "schedule.name=cosine"])
    schedule = schedule_of(recipe)
    entries = rates_in_training(recipe)
    assert len(entries) == schedule.steps == 6
    for position, rates in enumerate(entries):
        expected = {p: group.lrs[position] for group in schedule.groups for p in group.parameters}
        assert rates == pytest.approx(expected, rel=1e-12)


def test_a_plateau_is_held_and_not_exact(capsys):
    found = asked(capsys, "resnet18/cifar10", "--source", "paper", "--steps-per-epoch", "4")
    assert list(found) == KEYS
    assert (found["base"], found["exact"], found["curriculum_steps"]) == ("plateau", False, 20)
    assert found["at"] == list(range(21))
    first, last = found["groups"][0], found["groups"][-1]
    assert first["parameters"] == ["conv1.weight"]
    assert first["lrs"] == pytest.approx([0.1] * 21)
    assert last["parameters"] == ["fc.weight", "fc.bias"]
    assert last["lrs"] == pytest.approx([0.1 * 1e-7 ** (1 - t / 20) for t in range(21)], rel=1e-12)


# One for each network, but for the linear one, which has one layer; the values of all recipes have their tests.
@pytest.mark.parametrize(
    "name", {name.partition("/")[0]: name for name in recipe_names() if name != "linear/mnist1d"}.values()
)
def test_equation_8_for_every_recipe(name):
    needed(name.partition("/")[0])
    recipe = load_recipe(name)
    schedule = schedule_of(recipe, 2)
    assert schedule.curriculum_steps == round(2 * recipe.lerac.k)
    at_start = [group.lrs[0] for group in schedule.groups]
    assert at_start == sorted(at_start, reverse=True)
    assert (at_start[0], at_start[-1]) == pytest.approx((recipe.optimizer.lr, recipe.optimizer.lr * recipe.lerac.ratio))
    parameters = [p for group in schedule.groups for p in group.parameters]
    assert len(parameters) == len(set(parameters))
    if recipe.schedule.name == "plateau":
        assert {group.lrs[-1] for group in schedule.groups} == {recipe.optimizer.lr}
        assert len(schedule.at) == schedule.curriculum_steps + 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["digits", "--source", "official"], "recipe digits has no settings from source 'official', only from 'ours'"),
        (["resnet18/cifar10", "--source", "ours"], "only from 'paper', 'official'"),
        (["resnet18/imagenet200"], "resnet18/imagenet200: how many examples there are is not known here"),
        (["digits", "--steps-per-epoch", "0"], "--steps-per-epoch"),
        (["digits", "--source", "rumour"], "rumour"),
        (["nope"], "unknown recipe 'nope'"),
        (["missing.toml"], "recipe missing.toml: there is no such file"),
        (["."], "recipe .: this is a folder; give a TOML file, or the name of a recipe of ours"),
        (["digits", "--plot", "rates.xyz"], "--plot rates.xyz: the name must end in one of .eps"),
        (["digits", "--plot", "rates"], "--plot rates: the name must end in one of"),
        (["digits", "--plot", "nowhere/rates.svg"], "--plot nowhere/rates.svg: there is no folder nowhere"),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["schedule", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_curriculum_that_does_not_fit_is_refused():
    with pytest.raises(
        StudyError, match=r"k = 26 epochs, 260 optimizer steps\) outlasts training \(25 epochs, 250 steps"
    ):
        schedule_of(load_recipe("digits", ["lerac.k=26"]))
    with pytest.raises(StudyError, match=r"k = 0.4 epochs, 0 optimizer steps\) is shorter than a step"):
        schedule_of(load_recipe("digits", ["lerac.k=0.4"]), 1)
    assert schedule_of(load_recipe("digits", ["lerac.k=25"])).curriculum_steps == 250  # it ends with training
    with pytest.raises(StudyError, match="--steps-per-epoch must be 1 or more, got 0"):
        schedule_of(load_recipe("digits"), 0)


def test_a_base_schedule_that_changes_during_the_staircase_has_the_rates_of_training(tmp_path):
    stairs = (
        "\n[lerac.staircase]\nbase = 10.0\ncap = 0.011\nupdates_per_epoch = 2\n"
        "[lerac.staircase.starts]\nconv1 = 1e-2\nbn1 = 1e-3\nlayer1 = 1e-4\nlayer2 = 1e-5\nlayer3 = 1e-6\nfc = 1e-6\n"
    )
    file = tmp_path / "mine.toml"
    text = recipe_text("digits").replace("k = 3 # epochs\nratio = 1e-4 #", "k = 2\nratio = 1e-4 #")
    file.write_text(text.replace('curve = "exponential"\n', 'curve = "staircase"\n' + stairs))
    overrides = ["data.train=60", "data.validation=20", "data.test=20", "training.epochs=4", "training.batch_size=15"]
    for base in (["schedule.name=cosine"], STEPS):
        recipe = load_recipe(str(file), [*overrides, *base])
        schedule = schedule_of(recipe)
        assert schedule.curriculum_steps == 8
        used = rates_in_training(recipe)
        assert len(used) == schedule.steps == 16
        for step, rates in enumerate(used):
            entry = max(i for i, first in enumerate(schedule.at) if first <= step)
            expected = {p: group.lrs[entry] for group in schedule.groups for p in group.parameters}
            assert rates == pytest.approx(expected, rel=1e-12), step
    # By hand: at step 4, the second epoch, two updates have come and the base is divided once.
    head = schedule.groups[-1]
    assert "fc.weight" in head.parameters
    assert dict(zip(schedule.at, head.lrs, strict=True))[4] == pytest.approx(1e-6 * 10**2 / 10)


def rates_in_training(recipe):
    """Parameter → rate, for every optimizer step of a training with LeRaC."""
    [planned] = Study(recipes=[recipe], regimes=["lerac"], seeds=[0]).runs()
    training = Training(planned)
    backward, entries = training._accelerator.backward, []

    def recorded(loss):  # called right before every optimizer step
        entries.append(training._curriculum.lrs())
        backward(loss)

    training._accelerator.backward = recorded
    while not training.over:
        training.run_epoch()
    return entries


def test_the_table_fits_a_terminal_and_names_what_is_surprising(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["schedule", "wrn52-2/cifar10", "--source", "official"]) == 0
    out = capsys.readouterr().out
    table, words = out.split("In brackets: number of parameter tensors.\n")
    assert max(map(len, table.splitlines())) <= 80
    assert "layer1.1 (8)             1.0e-2 1.0e-1 1.0e-1" in table
    assert "rest of layer3 (50)      1.0e-8 1.0e-7 1.0e-6" in table
    assert "0    782   1564   2346   3128   3910   4692   5474" in table
    assert "divided by 10 at the start of epochs 38, 68, 98, down to 0.0001" in words
    assert "bn1_final there, starts at the full rate" in words
    for name, says in (
        ("resnet18/cifar10", "a metric decides, so it is held here"),
        ("bert-large/rte", "a metric decides"),
        ("digits", "Base schedule: constant"),
    ):
        assert run(["schedule", name]) == 0
        assert says in capsys.readouterr().out
    assert run(["schedule", "cvt13/tiny-imagenet", "--source", "official"]) == 0
    assert "constant through epoch 7, then a cosine" in capsys.readouterr().out


def test_plot(capsys, tmp_path):
    file = tmp_path / "rates.svg"
    assert run(["schedule", "resnet18/cifar10", "--source", "official", "--plot", str(file)]) == 0
    assert "</svg>" in file.read_text()
    assert "resnet18/cifar10 (source official)" in capsys.readouterr().out


def test_recipes_lists_all_sources(capsys):
    assert run(["recipes", "--json"]) == 0
    known = {recipe["name"]: recipe for recipe in json.loads(capsys.readouterr().out)}
    assert len(known) == 36
    recipe = known["wide-resnet50/imagenet200"]
    assert {key: recipe[key] for key in ("name", "model", "dataset", "sources")} == {
        "name": "wide-resnet50/imagenet200", "model": "wide-resnet50", "dataset": "imagenet200",
        "sources": ["ours", "official"],
    }  # fmt: skip
    assert all(recipe["sources"] == recipe_sources(name) for name, recipe in known.items())


def test_compare_and_train_ask_for_the_data_before_anything_is_written(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LERAC_DATA", raising=False)
    for command in (["compare", "cvt13/cifar10"], ["train", "cvt13/cifar10", "--regime", "lerac", "--seed", "0"]):
        out = ["--out", "o"] if command[0] == "train" else []
        assert run([*command, *out]) == 2
        err = capsys.readouterr().err
        assert "no data root: give --data-root" in err
        assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert run(["compare", "cvt13/cifar10", "--plan"]) == 0  # needs none
    assert "25 runs, 25 to train" in capsys.readouterr().out
