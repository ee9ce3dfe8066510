"""`lerac snr`, LeNet and the pictures of ratios and layers."""

import copy
import csv
import json
import math
import statistics

import pytest
import torch
from matplotlib.figure import Figure
from torch.nn import functional

import lerac
from lerac import plot
from lerac.cli import run
from lerac.layers import Layer
from lerac.regimes.drawing import derive
from lerac.snr import LayerSNR, layer_snr, with_weight_noise
from lerac.study.models import MODELS
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import load_recipe
from lerac.study.snr import FINAL, Measured, compare_regimes
from lerac.study.training.training import Training, build

SMALL = ["--set", "data.train=60", "--set", "data.validation=20", "--set", "data.test=40", "--set", "training.epochs=2",
         "--set", "warmup.k=1", "--set", "lerac.k=1", "--images", "20"]  # fmt: skip
LAYERS = ["conv1", "conv2", "fc1", "fc2", "fc3"]
PLOTS = ["--plot", "a.svg", "--plot", "a.png"]
REFERENCES = ["trained copy", "untrained + weight noise 0.5", "trained + weight noise 0.5"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")


def answer(capsys, *arguments):
    assert run(["snr", "lenet", *SMALL, *arguments]) == 0
    return capsys.readouterr().out


def small_run(regime="conventional", seed=0):
    recipe = load_recipe("lenet/digits", [text for text in SMALL if "=" in text])
    return Study(recipes=[recipe], regimes=[regime], seeds=[seed]).runs()[0]


def networks_of(a_run):
    """Before training and after each epoch, and the images, by the pieces of a study."""
    training, (data, network) = Training(a_run), build(a_run)
    networks = [copy.deepcopy(network)]
    while not training.over:
        training.run_epoch()
        network.load_state_dict(training.state_dict()["network"])
        networks.append(copy.deepcopy(network))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(derive(a_run.seed, "snr images")))
    return networks, data.test.inputs[order[:20]]


def test_every_reference_is_what_docs_say(capsys):
    found = json.loads(answer(capsys, "--seeds", "2", "--weight-noise", "0.5", "--json"))
    assert (found["recipe"], found["seeds"], found["images"]) == ("lenet/digits", [0, 1], 20)
    ratios = {(r["reference"], r["seed"], r["layer"]): r["snr_db"] for r in found["ratios"]}
    assert len(ratios) == len(found["ratios"]) == 3 * 2 * 5
    for seed in (0, 1):
        (untrained, *_, trained), images = networks_of(small_run(seed=seed))
        noise = derive(seed, "weight noise")
        for reference, model, clean in zip(
            REFERENCES,
            (untrained, with_weight_noise(untrained, 0.5, seed=noise), with_weight_noise(trained, 0.5, seed=noise)),
            (trained, untrained, trained),
            strict=True,
        ):
            for layer in layer_snr(model, [images], clean):
                assert ratios[reference, seed, layer.name] == layer.snr_db
    for row in found["summary"]:
        both = [ratios[row["reference"], seed, row["layer"]] for seed in (0, 1)]
        assert row["n"] == 2
        assert row["mean_db"] == pytest.approx(statistics.fmean(both))
        assert row["sd_db"] == pytest.approx(statistics.stdev(both))


def test_table_figure_and_csv(capsys, tmp_path):
    out = answer(capsys, "--seeds", "2", "--weight-noise", "0.5", *PLOTS, "--csv", "a.csv")
    lines = out.splitlines()
    assert "mean ± sd of 2 seeds" in lines[0]
    assert [line.split()[:2] for line in lines[2:7]] == [[str(i), name] for i, name in enumerate(LAYERS)]
    assert (tmp_path / "a.svg").read_text().count("</svg>") == 1
    assert (tmp_path / "a.png").stat().st_size > 10_000
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [r["layer"] for r in rows] == LAYERS * 3
    assert f"{float(rows[1]['mean_db']):.2f} ± {float(rows[1]['sd_db']):.2f}" in lines[3]


def test_during_training_every_epoch_is_measured(capsys, tmp_path):
    out = answer(capsys, "--seeds", "2", "--during-training", "--regimes", "conventional,lerac", "--json", "--plot",
                 "b.png", "--csv", "b.csv")  # fmt: skip
    found = json.loads(out)
    ratios = {(r["reference"], r["regime"], r["seed"], r["epoch"], r["layer"]): r["snr_db"] for r in found["ratios"]}
    assert len(ratios) == 2 * 2 * 2 * 3 * 5
    networks, images = networks_of(small_run("lerac", seed=1))
    for epoch, network in enumerate(networks):
        noisy = with_weight_noise(network, 0.1, seed=derive(1, "weight noise"))
        for layer in layer_snr(noisy, [images], network):
            assert ratios["weight noise 0.1", "lerac", 1, epoch, layer.name] == layer.snr_db
        for layer in layer_snr(network, [images], networks[-1]):
            ratio = ratios[FINAL, "lerac", 1, epoch, layer.name]
            assert ratio == layer.snr_db if epoch < 2 else ratio == "inf"
    [early] = [d["early_db"] for d in found["differences"] if (d["reference"], d["layer"]) == (FINAL, "fc3")]
    by_hand = [ratios[FINAL, "lerac", s, 1, "fc3"] - ratios[FINAL, "conventional", s, 1, "fc3"] for s in (0, 1)]
    assert early["mean"] == pytest.approx(statistics.fmean(by_hand))
    assert (tmp_path / "b.png").stat().st_size > 10_000
    rows = list(csv.DictReader((tmp_path / "b.csv").read_text().splitlines()))
    assert len(rows) == 2 * 2 * 3 * 5
    assert {r["mean_db"] for r in rows if r["epoch"] == "2" and r["reference"] == FINAL} == {"inf"}


def test_during_training_prints_differences(capsys):
    out = answer(capsys, "--seeds", "2", "--during-training", "--regimes", "conventional,warmup")
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("warmup")] == [
        ["warmup", name] for name in LAYERS * 2
    ]


def test_sooner_is_counted_from_when_on_the_ratio_stays():
    def measured(regime, seed, ratios):
        return [Measured(FINAL, regime, seed, e, LayerSNR("a", 0, r, 1)) for e, r in enumerate(ratios)]

    base = [measured("conventional", s, [0, 12, 9, 10, math.inf]) for s in (0, 1)]  # from epoch 3 on
    ours = [measured("lerac", 0, [0, 11, 11, 11, math.inf]), measured("lerac", 1, [0, 5, 11, 11, math.inf])]
    [sooner] = compare_regimes([m for part in (*base, *ours) for m in part], curriculum=2)
    assert sooner.reached.by_seed == {0: -2, 1: -1}
    assert sooner.early.by_seed == {0: 0.5, 1: -2.5}
    never = measured("lerac", 2, [0, 0, 0, 0, 0]) + measured("conventional", 2, [0] * 5)
    [sooner] = compare_regimes(never, curriculum=2)
    assert sooner.reached is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope"], "unknown recipe 'nope/digits'"),
        (["lenet", "--data", "cifar100"], "unknown recipe 'lenet/cifar100'"),
        (["lenet", "--seeds", "x"], "--seeds takes a count"),
        (["lenet", "--images", "1000"], "--images 1000: the test split of lenet/digits has 897"),
        (["lenet", "--images", "0"], "Invalid value for '--images'"),
        (["lenet", "--weight-noise", "0"], "--weight-noise takes different numbers above 0"),
        (["lenet", "--weight-noise", "0.1,0.1"], "--weight-noise takes different numbers above 0"),
        (["lenet", "--weight-noise", "a"], "got 'a'"),
        (["lenet", "--regimes", "lerac"], "--regimes is for --during-training"),
        (["lenet", "--during-training", "--regimes", "lerak"], "unknown regime 'lerak'"),
        (["lenet", "--during-training", "--regimes", "lerac"], "the table compares with conventional, add it"),
        (["lenet", "--plot", "a.txt"], "--plot a.txt: the name must end in one of"),
        (["lenet", "--plot", "no/a.svg"], "there is no folder no"),
        (["lenet", "--csv", "no/a.csv"], "there is no folder no"),
        (["lenet", "--csv", "."], "--csv .: this is a folder, give the name of a file"),
        (["lenet", "--set", "data.size=8", "--seeds", "1"], "LeNet takes images of 32×32, got 8×8"),
        (["lenet", "--set", "data.size=0"], "data.size: "),
        (["lenet", *SMALL, "--seeds", "1", "--set", "optimizer.lr=1e30"], "the loss is not finite at step"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, arguments, says):
    assert run(["snr", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    last = [line for line in err.splitlines() if not line.startswith("lerac: training")]
    assert len(last) == 1
    assert says in last[0]


def test_lenet_has_the_sizes_of_its_paper():
    torch.manual_seed(0)
    network = MODELS["lenet"](1, 10)
    weights = {name: sum(p.numel() for p in m.parameters()) for name, m in network.named_children()}
    assert weights == {"conv1": 156, "conv2": 2416, "fc1": 48_120, "fc2": 10_164, "fc3": 850}
    images = torch.rand(3, 1, 32, 32)
    network(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert [layer.name for layer in lerac.find_layers(network, images)] == LAYERS
    assert MODELS["lenet"](3, 7)(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    with pytest.raises(ValueError, match="32×32, got 28×28; resize them"):
        network(torch.rand(3, 1, 28, 28))


def test_resized_digits_are_the_same_digits():
    from lerac.study.data import DATASETS
    from lerac.study.data.settings import DataSettings

    sizes = {"train": 60, "validation": 20, "test": 40, "label_noise": 0.3}
    plain, resized = (DATASETS["digits"].load(DataSettings(**sizes, size=size), 3) for size in (None, 32))
    assert resized.test.inputs.shape == (40, 1, 32, 32)
    assert torch.equal(plain.train.labels, resized.train.labels)
    assert torch.equal(plain.test.index, resized.test.index)
    # Bilinear by a factor of 4: pixels whose centres lie between two centres of the original are their mean.
    expected = functional.interpolate(plain.test.inputs.double(), scale_factor=4, mode="bilinear").float()
    torch.testing.assert_close(resized.test.inputs, expected)
    assert (resized.test.inputs.min(), resized.test.inputs.max()) == (0, 1)


def ratio(name, depth, db):
    return LayerSNR(name, depth, db, 8)


def test_the_picture_of_ratios():
    noisy = [[ratio("a", 0, 20.0), ratio("b", 1, -4.0)], [ratio("a", 0, 22.0), ratio("b", 1, -8.0)]]
    figure = plot.snr({"noise": noisy, "copy": [[ratio("a", 0, math.inf), ratio("b", 1, 1.0)]]})
    [axes] = figure.axes
    first, second = axes.containers
    assert [c.get_label() for c in (first, second)] == ["noise", "copy"]
    assert first.lines[0].get_ydata() == pytest.approx([21, -6])
    assert second.lines[0].get_ydata() == pytest.approx([math.nan, 1], nan_ok=True)
    low, high = first.lines[1][0].get_ydata(), first.lines[1][1].get_ydata()
    assert (high - low) / 2 == pytest.approx([math.sqrt(2), 2 * math.sqrt(2)])
    assert [text.get_text() for text in axes.texts] == ["∞"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b"]
    assert axes.get_ylim()[0] < -6 < 0 < 21 < axes.get_ylim()[1]
    own = Figure()
    assert plot.snr({"noise": noisy}, axes=own.add_subplot()) is own


@pytest.mark.parametrize("ratios", [{}, {"a": []}, {"a": [[]]}, {"a": [[ratio("a", 0, 1.0)]], "b": []}])
def test_no_ratios(ratios):
    with pytest.raises(ValueError, match="at least one result of layer_snr per reference"):
        plot.snr(ratios)


@pytest.mark.parametrize("ratios", [[[ratio("a", 0, 1.0)]], {"x": [ratio("a", 0, 1.0)]}, {"x": None}])
def test_ratios_of_another_form(ratios):
    with pytest.raises(TypeError, match="ratios must go from names to lists of what layer_snr returned, one per seed"):
        plot.snr(ratios)


def test_infinities_of_both_signs_have_no_mean():
    figure = plot.snr({"x": [[ratio("a", 0, math.inf)], [ratio("a", 0, -math.inf)]]})
    assert [text.get_text() for text in figure.axes[0].texts] == ["undefined"]


def test_ratios_of_different_layers():
    with pytest.raises(ValueError, match=r"differ in their layers: \['a'\] and \['b'\]"):
        plot.snr({"x": [[ratio("a", 0, 1.0)], [ratio("b", 0, 1.0)]]})


def test_the_picture_of_layers():
    network = MODELS["lenet"](1, 10)
    found = lerac.find_layers(network, torch.zeros(1, 1, 32, 32))
    figure = plot.layers(found, network)
    [axes] = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [156, 2416, 48_120, 10_164, 850]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [f"{name}   {i}" for i, name in enumerate(LAYERS)]
    assert "48,120" in [text.get_text() for text in axes.texts]
    assert axes.yaxis_inverted()


def test_layers_of_another_model():
    network = MODELS["lenet"](1, 10)
    with pytest.raises(ValueError, match=r"LeNet has no parameter 'stem.weight': pass the layers of this model"):
        plot.layers([Layer("stem", 0, ("stem.weight",))], network)
    with pytest.raises(ValueError, match="at least one layer"):
        plot.layers([], network)
