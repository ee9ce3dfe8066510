import json
import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
import torch
from in_this_process import in_this_process
from scipy.signal import correlate2d
from small_recipes import EXAMPLES, LENGTH, SMALLER, write_samples
from studies import SMALL, make_run, make_study, train_here

from lerac.cli import run
from lerac.commands import over_time
from lerac.study.errors import StudyError
from lerac.study.figures import convolutions
from lerac.study.figures.over_time import UPDATE_RULES, draw_over_time, measured_over_time
from lerac.study.figures.rates import draw_schedule
from lerac.study.figures.style import write_figures
from lerac.study.recipes.regimes import split_regimes
from lerac.study.runs.folder import read_study, write_study
from lerac.study.runs.outcomes import collect

TINY = [word for value in (*SMALL, "training.epochs=2") for word in ("--set", value)]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    with in_this_process():
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    study = make_study("conventional", "cbs", "lerac(base=100,curve=staircase)", seeds=(0, 1))
    folder = train_here(tmp_path_factory.mktemp("trained"), study)
    return collect(folder, study.runs())


def pictures(tmp_path, number):
    """Both files, if they are what their names say."""
    svg, png = (tmp_path / "figures" / f"figure-{number}.{kind}" for kind in ("svg", "png"))
    assert ET.fromstring(svg.read_bytes()).tag == "{http://www.w3.org/2000/svg}svg"
    assert png.read_bytes().startswith(b"\x89PNG")
    return svg.read_bytes(), png.read_bytes()


def test_figure_1_shows_eq_8_for_a_recipe(capsys, tmp_path):
    command = ["figure", "1", *TINY, "--set", "schedule.name=constant", "--set", "lerac.ratio=1e-4"]
    assert run([*command, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["files"] == ["figures/figure-1.svg", "figures/figure-1.png"]
    starts = list(shown["starts"].values())
    assert (shown["k"], shown["steps"]) == (3, 6)
    assert starts == pytest.approx([1e-4 ** (j / (len(starts) - 1)) for j in range(len(starts))])
    first = pictures(tmp_path, 1)
    assert run(command) == 0
    assert f"{len(starts)} layers, equal from step 3 of 6 on" in capsys.readouterr().out
    assert pictures(tmp_path, 1) == first  # the same bytes


def test_figure_1_draws_the_rates():
    made = make_run("lerac(curve=exponential,ratio=1e-4)", overrides=("schedule.name=constant",))
    figure, shown = draw_schedule(made)
    [axes] = figure.axes
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines if line.get_label() in shown["starts"]}
    assert drawn.keys() == shown["starts"].keys()
    lr = made.settings["optimizer"]["lr"]
    for layer, start in shown["starts"].items():
        assert drawn[layer] == pytest.approx([lr * start ** (1 - min(1, step / 3)) for step in range(6)])
    with pytest.raises(StudyError, match="regime cbs leaves the learning rates alone"):
        draw_schedule(make_run("cbs"))


def test_figure_1_of_what_waits_and_of_what_never_ends(capsys):
    found = {}
    for regime in ("unfreeze(k=1)", "layer-decay(factor=0.5)"):
        assert run(["figure", "1", *TINY, "--regime", regime, "--json"]) == 0
        found[regime] = json.loads(capsys.readouterr().out)
    waits, decays = found.values()
    assert (waits["k"], decays["k"], decays["steps"]) == (3, None, 6)
    assert list(waits["starts"].values()) == [1.0] + [0.0] * (len(waits["starts"]) - 1)
    assert list(decays["starts"].values()) == [
        0.5 ** (len(decays["starts"]) - 1 - j) for j in range(len(waits["starts"]))
    ]
    assert run(["figure", "1", *TINY, "--regime", "layer-decay(factor=0.5)"]) == 0
    assert "layers, never equal in 6 steps" in capsys.readouterr().out


def test_convolutions_by_an_independent_reference():
    image = convolutions.example_image()
    assert image.shape == (71, 106)
    assert (image.mean().item(), image.square().mean().item()) == pytest.approx((0, 1), abs=1e-12)
    draw = convolutions.repeated_convolutions(image, 3, 20.0, 10.0)
    generator = torch.Generator().manual_seed(convolutions.derive(3, "random convolutions"))

    def noisy(x, db):
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).numpy()
        return x + noise * np.sqrt(np.mean(x**2) / 10 ** (db / 10))

    clean = image.numpy()
    disturbed = noisy(clean, 20.0)
    for depth in range(7):
        power, noise = np.sum(clean**2), np.sum((disturbed - clean) ** 2)
        assert draw.snr_db[depth] == pytest.approx(10 * np.log10(power / noise), abs=1e-9)
        kernel = torch.randn(3, 3, generator=generator, dtype=torch.float64).numpy()
        clean, disturbed = (
            correlate2d(clean, kernel, mode="valid"),
            correlate2d(disturbed, noisy(kernel, 10.0), mode="valid"),
        )


def test_constructions_share_filters_and_noise_is_of_the_stated_size():
    image = convolutions.example_image()
    made = [convolutions.repeated_convolutions(image, 0, *noise) for noise in convolutions.CONSTRUCTIONS.values()]
    assert all(torch.equal(a, b) for draw in made for a, b in zip(draw.clean, made[0].clean, strict=True))
    assert [draw.snr_db[0] for draw in made] == [pytest.approx(20, abs=0.3), math.inf, pytest.approx(20, abs=0.3)]
    nothing = convolutions.repeated_convolutions(image, 0, math.inf, math.inf)
    assert nothing.snr_db == [math.inf] * 7


def test_theorem_1_by_depth():
    predicted = convolutions._predicted()
    assert predicted[0] == pytest.approx(20)
    ratio = [10 ** (db / 10) for db in predicted]  # 1/SNR of a product: 1/a + 1/b + 1/(a·b)
    for before, after in pairwise(ratio):
        assert 1 / after == pytest.approx(1 / before + 1 / 10 + 1 / (10 * before))


def test_figure_2(capsys, tmp_path):
    assert run(["figure", "2", "--draws", "3", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["draws"] == 3
    image, made = convolutions.example_image(), shown["constructions"]
    draws = [convolutions.repeated_convolutions(image, seed, 20.0, 10.0) for seed in range(3)]
    both = made["noisy image, noisy filters"]
    assert [one["mean"] for one in both["snr_db"]] == pytest.approx(np.mean([d.snr_db for d in draws], axis=0))
    assert (both["fell"], both["of"]) == (sum((np.diff(d.snr_db) < 0).sum() for d in draws), 18)
    assert made["clean image, noisy filters"]["snr_db"][0] is None
    first = pictures(tmp_path, 2)
    assert run(["figure", "2", "--draws", "3"]) == 0
    assert "clean image, noisy filters: ∞, " in capsys.readouterr().out
    assert pictures(tmp_path, 2) == first


def test_figure_4_shows_what_lerac_snr_measures(capsys, tmp_path):
    options = ["--seeds", "2", "--images", "20", "--json", "--set", "data.train=60", "--set", "training.epochs=7"]
    assert run(["figure", "4", *options]) == 0
    shown = json.loads(capsys.readouterr().out)
    pictures(tmp_path, 4)
    assert run(["snr", "lenet", *options]) == 0
    assert shown["ratios"] == json.loads(capsys.readouterr().out)["ratios"]


@pytest.mark.parametrize(
    ("number", "regimes"),
    [("3", "conventional,cbs"), ("5", "conventional,lerac(base=100,curve=staircase)")],
)
def test_figures_3_and_5_train_what_is_missing(capsys, tmp_path, number, regimes):
    command = ["figure", number, *TINY, "--seeds", "2", "--regimes", regimes, "--workers", "1"]
    assert run(command) == 0
    out, err = capsys.readouterr()
    assert err.count("seed ") == 4
    assert "validation accuracy, mean over all epochs" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    first = pictures(tmp_path, number)
    folder = tmp_path / "runs" / "figures" / "small-cnn__digits"
    assert (folder / "results.csv").exists()
    assert run([*command, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""  # nothing was left to train
    shown = json.loads(out)
    assert pictures(tmp_path, number) == first
    [base, other] = shown["time"]
    assert (base["mean"], base["n"], other["difference"]["n"]) == (1.0, 2, 2)
    assert [row["regime"] for row in shown["test accuracy"]] == [str(r) for r in split_regimes(regimes)]


def test_a_study_that_compare_made_is_used(capsys, tmp_path):
    assert run(["compare", "digits", *TINY, "--seeds", "1", "--regimes", "conventional", "--out", "mine"]) == 0
    command = ["figure", "3", *TINY, "--regimes", "conventional,warmup", "--seeds", "1", "--study", "mine"]
    capsys.readouterr()
    assert run(command) == 0
    assert capsys.readouterr().err.count("seed 0") == 1
    assert read_study(tmp_path / "mine").regimes == ["conventional", "warmup"]
    assert run(["figure", "3", *TINY, "--set", "optimizer.lr=0.5", "--study", "mine"]) == 2
    assert "mine holds another study: it has small-cnn/digits with optimizer.lr" in capsys.readouterr().err


LITTLE = [word for value in (*EXAMPLES, *LENGTH, "data.sample=true") for word in ("--set", value)]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("data"), "utkface", "rte")


def test_figure_3_of_ages_is_by_their_metric(capsys, tmp_path, samples, monkeypatch):
    monkeypatch.setenv("LERAC_DATA", "")  # so that it is put back after this test
    widths = ["--set", SMALLER["resnet18"][0]]
    command = ["figure", "3", "resnet18/utkface", *LITTLE, *widths, "--regimes", "conventional,lerac", "--seeds", "1"]
    assert run([*command, "--workers", "1"]) == 2
    assert "no data root: give --data-root" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert run([*command, "--workers", "1", "--data-root", str(samples)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "test mean absolute error regime mean, years" in out
    assert "validation mean absolute error, last epoch" in out
    assert "%" not in out.replace("[95%]", "")
    pictures(tmp_path, 3)
    study = read_study(tmp_path / "runs/figures/resnet18__utkface")
    results = collect(tmp_path / "runs/figures/resnet18__utkface", study.runs())
    figure = draw_over_time(results, "title")
    assert figure.axes[0].get_title(loc="left") == "validation mean absolute error, years (lower is better)"
    assert list(figure.axes[0].lines[0].get_ydata()) == [entry["validation_mae"] for entry in results[0].history]
    [base, _] = measured_over_time(results)["test mean absolute error"]
    assert base.values == {0: results[0].value("test", "mae")}


def test_all_draws_every_recipe_whose_data_is_found(capsys, tmp_path, samples, monkeypatch):
    names = ["gru/digits", "lstm/rte", "resnet18/cifar10", "resnet18/utkface"]
    monkeypatch.setattr(over_time, "recipe_names", lambda: names)
    monkeypatch.setenv("LERAC_DATA", str(samples))
    command = ["figure", "5", "--all", *LITTLE, "--regimes", "conventional", "--seeds", "1", "--workers", "1"]
    assert run([*command, "--json", "--study", "mine"]) == 0
    out, err = capsys.readouterr()
    shown = json.loads(out)
    assert [one["recipe"] for one in shown["recipes"]] == ["lstm/rte", "resnet18/utkface"]
    assert list(shown["left_out"]) == ["gru/digits", "resnet18/cifar10"]
    assert "digits takes no sample" in shown["left_out"]["gru/digits"]
    assert "no folder cifar-10-batches-py" in shown["left_out"]["resnet18/cifar10"]
    assert "lerac: left out: resnet18/cifar10: " in err
    assert shown["failed"] == []
    assert "test accuracy" in shown["recipes"][0]
    for one in shown["recipes"]:
        stem = f"figures/figure-5-{one['recipe'].replace('/', '__')}"
        assert one["files"] == [f"{stem}.svg", f"{stem}.png"]
        assert all((tmp_path / file).stat().st_size > 1000 for file in one["files"])
    assert sorted(folder.name for folder in (tmp_path / "mine").iterdir()) == ["lstm__rte", "resnet18__utkface"]
    # One that cannot be drawn does not keep the others from it, and is told by the exit code.
    (tmp_path / "mine" / "lstm__rte" / "study.json").write_text("{")
    assert run([*command, "--study", "mine"]) == 1
    out, err = capsys.readouterr()
    assert "lerac: lstm/rte: " in err
    assert "figure 5: figures/figure-5-resnet18__utkface.svg" in out


def test_all_needs_a_recipe_that_can_be_drawn(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(over_time, "recipe_names", lambda: ["resnet18/cifar10"])
    monkeypatch.setenv("LERAC_DATA", str(tmp_path))
    assert run(["figure", "3", "--all"]) == 2
    assert "--all: no recipe can be drawn" in capsys.readouterr().err
    assert run(["figure", "3", "digits", "--all"]) == 2
    assert "--all draws every recipe; leave digits out, or --all" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_figure_1_needs_no_data(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("LERAC_DATA", raising=False)
    assert run(["figure", "1", "resnet18/cifar10", "--source", "paper"]) == 0
    assert "layers, equal from step 3520 of 140800 on" in capsys.readouterr().out  # 704 steps per epoch
    pictures(tmp_path, 1)


def test_a_folder_of_another_study_names_the_option_that_gave_it(capsys, tmp_path):
    study = make_study(overrides=("optimizer.lr=0.5",))
    write_study(tmp_path / "mine", study)
    assert run(["figure", "3", *TINY, "--study", "mine"]) == 2
    assert capsys.readouterr().err.endswith("choose another --study\n")


def test_curves_are_the_means_of_the_metrics(trained, tmp_path):
    figure = draw_over_time(trained, "title")
    epochs, seconds = figure.axes
    for axes in (epochs, seconds):
        assert [line.get_label() for line in axes.lines] == ["conventional", "cbs", "lerac(base=100,curve=staircase)"]
    of = [r.history for r in trained if r.regime == "cbs"]
    means = [50 * sum(history[e]["validation_accuracy"] for history in of) for e in range(2)]
    assert list(epochs.lines[1].get_ydata()) == pytest.approx(means)
    assert list(epochs.lines[1].get_xdata()) == [1, 2]
    assert list(seconds.lines[1].get_ydata()) == pytest.approx(means)
    assert list(seconds.lines[1].get_xdata()) == pytest.approx(
        [sum(history[e]["seconds"] for history in of) / 2 for e in range(2)]
    )
    colours = {line.get_color() for line in epochs.lines}
    assert len(colours) == 3
    written = [path.read_bytes() for path in write_figures(figure, tmp_path / "one")]
    again = draw_over_time(trained, "title")
    assert [path.read_bytes() for path in write_figures(again, tmp_path / "two")] == written


def test_outcomes_are_paired(trained):
    found = measured_over_time(trained)
    of = {(r.regime, r.seed): r for r in trained}
    seconds = {key: result.seconds for key, result in of.items()}
    time = next(s for s in found["time"] if s.regime == "cbs")
    ratios = [seconds["cbs", seed] / seconds["conventional", seed] for seed in (0, 1)]
    assert list(time.values.values()) == pytest.approx(ratios)
    assert time.difference.mean == pytest.approx(math.sqrt(ratios[0] * ratios[1]) - 1)
    average = next(s for s in found["validation accuracy, mean over all epochs"] if s.regime == "cbs")
    for seed in (0, 1):
        history = of["cbs", seed].history
        assert average.values[seed] == pytest.approx(sum(e["validation_accuracy"] for e in history) / 2)
    test = next(s for s in found["test accuracy"] if s.regime == "cbs")
    assert test.values == {seed: of["cbs", seed].value("test", "accuracy") for seed in (0, 1)}


def test_a_run_that_diverged_is_in_no_mean(tmp_path):
    study = make_study("conventional", "lerac", epochs=2, overrides=("optimizer.lr=1e30",))
    results = collect(train_here(tmp_path / "study", study), study.runs())
    assert all(result.diverged for result in results)
    for summaries in measured_over_time(results).values():
        assert [summary.n for summary in summaries] == [0, 0]
    draw_over_time(results, "nothing")


def test_update_rules_are_regimes_in_their_canonical_text():
    regimes = [str(regime) for regime in split_regimes(UPDATE_RULES)]
    assert ",".join(regimes) == UPDATE_RULES
    assert regimes[0] == "conventional"
    assert sum("staircase" in regime for regime in regimes) == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["figure", "6"], "6"),
        (["figure", "1", "nope"], "unknown recipe 'nope'"),
        (["figure", "1", "--regime", "conventional"], "--regime conventional leaves the learning rates alone"),
        (["figure", "1", "--regime", "lerac,warmup"], "one regime, got lerac,warmup"),
        (["figure", "1", "--seeds", "3"], "--seeds"),
        (["figure", "2", "--draws", "0"], "--draws"),
        (["figure", "2", "digits"], "digits"),
        (["figure", "3", "--seeds", "x"], "--seeds takes a count"),
        (["figure", "3", "--regimes", "lerak"], "unknown regime 'lerak'"),
        (["figure", "3", "--device", "toaster"], "--device toaster cannot be used here"),
        (["figure", "5", "--set", "lerac.k=0.5"], "do not fit into a curriculum of 5 steps"),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, says, capsys, tmp_path):
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"lerac: .*\n", err)
    assert says in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", "12345")
def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_trained(number, capsys, tmp_path):
    (tmp_path / "taken").write_text("mine")
    assert run(["figure", number, "--out", "taken/figures"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"lerac: --out taken/figures: {tmp_path / 'taken'} is a file, not a folder\n"
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


def test_help_explains_every_figure(capsys):
    assert run(["figure", "--help"]) == 0
    out = capsys.readouterr().out
    for number in "12345":
        assert re.search(rf"^ +{number} +\w", out, re.MULTILINE)
    assert re.search(r"^ +1 +Learning rate of each layer .*equation 8", out, re.MULTILINE)
