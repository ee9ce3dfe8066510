"""What the page of a training of somebody's own tells: what it reported, what `attach` has seen, and by which code."""

import json
import math
import re
from dataclasses import replace

import pytest
import torch
from pages import page_of
from studies import train_here
from torch import nn

import lerac
from lerac.regimes import record
from lerac.study.errors import StudyError
from lerac.study.figures.attached import attached_figure
from lerac.study.figures.comparison import curve_figure
from lerac.study.figures.style import broken
from lerac.study.own.functions import find_function
from lerac.study.own.record import Attached, read_record
from lerac.study.own.request import Judged, request_functions
from lerac.study.own.running import holding
from lerac.study.report.sections import details_of
from lerac.study.runs.outcomes import collect
from lerac.study.runs.own import readable

SOURCE = """
import torch
from torch import nn

EPOCHS, STEPS = 3, 4


def train(trial):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.settings.get("lr", 0.5))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2 * STEPS, 0.1)
    trial.attach(optimizer, model, epoch_steps=STEPS, epochs=EPOCHS)
    for epoch in range(EPOCHS):
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = model(torch.ones(2, 1, 4, 4)).square().mean()
            loss.backward()
            optimizer.step()
            scheduler.step()
        rare = {"of my own $x$": 7} if epoch == 1 else {}
        trial.report(epoch, loss=loss, accuracy=0.5 + 0.1 * epoch, **rare)
    return {"accuracy": 0.5 + 0.01 * trial.seed, "loss": loss}
"""
REGIMES = ["conventional", "cbs+lerac(curve=exponential,decay=0.5,every=1,k=1,ratio=1e-6,sigma=1)"]
OTHERS = [
    "cbs(decay=0.5,every=1,sigma=1)",
    "warmup(curve=linear,k=1)",
    "warmup(curve=cosine,k=2,ratio=0.1)",
    "lerac(curve=linear,k=2,ratio=0.01)",
    "lerac(base=10,curve=staircase,k=2,ratio=0.01,updates=2)",
    "lerac-reversed(curve=exponential,k=1,ratio=0.01)",
    "lerac-shuffled(curve=logarithmic,k=3,ratio=0.01)",
    "unfreeze(k=2)",
    "layer-decay(factor=0.5)",
]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A function's study, trained in this process: its folder, study and outcomes."""
    home = tmp_path_factory.mktemp("home")
    (home / "mine.py").write_text(SOURCE)
    source = find_function(str(home / "mine.py:train"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        study = request_functions(
            {"mine.py:train": source},
            regimes=",".join(REGIMES),
            seeds=[0, 1],
            values={"lr": 0.4, "data": {"size": 8}},
            judged=Judged("accuracy", None, "%", 100),
        )
        namespace = {}
        exec(SOURCE, namespace)
        with holding({"mine:train": namespace["train"]}):
            train_here(home / "out", study)
    return home, study, collect(home / "out", study.runs())


@pytest.fixture(scope="module")
def page(told, tmp_path_factory):
    """Of that study, had its code been changed meanwhile, and some runs been interrupted."""
    _, study, outcomes = told
    [own] = study.recipes
    study = study.model_copy(update={"recipes": [own.model_copy(update={"code": [own.code[0], "ab" * 32]})]})
    changed = {0: {"code": "ab" * 32}, 1: {"resumed": "anew"}, 2: {"resumed": "save"}, 3: {"resumed": "anew"}}
    outcomes = [replace(one, beside=one.beside | changed[i]) for i, one in enumerate(outcomes)]
    return page_of(tmp_path_factory.mktemp("page"), study, outcomes)


def test_whatever_was_reported_is_a_curve_under_its_own_name(page):
    curves = [text.removesuffix(" against the epoch") for text in page.pictures if text.endswith(" against the epoch")]
    assert curves == ["loss", "accuracy, %", "of my own $x$"]


def test_curves_stand_at_the_epochs_that_were_reported():
    """Each with its own, in the unit of the metric where it has the metric's name; a lone one is a dot."""
    first = [{"epoch": 0, "a": 1.0}, {"epoch": 4, "a": 2.0, "b": 1}, {"epoch": 9, "a": 4.0}]
    second = [{"epoch": 4, "a": 4.0}]
    [axes] = curve_figure({"x": [first, second], "y": []}, "a", "a", 10).axes
    [x, y] = axes.lines
    assert [[*map(float, part)] for part in x.get_data()] == [[1, 5, 10], [10, 30, 40]]
    assert len(y.get_data()[0]) == 0
    [axes] = curve_figure({"x": [first]}, "b", "b").axes
    assert axes.lines[0].get_marker() == "o"


@pytest.mark.parametrize("regime", [*REGIMES, *OTHERS])
def test_rates_are_those_that_every_step_has_used(regime, tmp_path, monkeypatch):
    for name, value in (("REGIME", regime), ("SEED", "3"), ("FOLDER", str(tmp_path))):
        monkeypatch.setenv(f"LERAC_{name}", value)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 8, 0.1)
    layers = lerac.find_layers(model, torch.ones(2, 1, 4, 4))
    attached, used = lerac.attach(optimizer, model, epoch_steps=4, epochs=3, layers=layers), []
    optimizer.register_step_pre_hook(lambda *_: used.append(attached.lrs()))
    for _ in range(12):
        model(torch.ones(2, 1, 4, 4)).square().mean().backward()
        optimizer.step()
        scheduler.step()
    layers = attached.curriculum.layers if attached.curriculum else [lerac.Layer("all layers", 0, ("0.weight",))]
    record.finish()
    attached.remove()
    [noted] = read_record(tmp_path).attached
    assert not read_record(tmp_path).within_curriculum
    lines = attached_figure(regime, noted, (4, 3)).axes[0].lines
    assert [line.get_label() for line in lines] == [layer.name for layer in layers]
    for line, layer in zip(lines, layers, strict=True):
        drawn = dict(zip(*line.get_data(), strict=True))  # from each step on, and nothing of a rate of 0
        want = [rates[layer.parameters[0]] for rates in used]
        assert [drawn[step] for step in range(12)] == pytest.approx([x or math.nan for x in want], nan_ok=True)


def test_rates_and_sigma_are_drawn_of_what_attach_has_seen(page):
    drawn = [text for text in page.pictures if text.startswith("Learning rate of every layer against the step: ")]
    assert [text.partition(": ")[2] for text in drawn] == REGIMES
    assert "As attach has seen them in the runs of seed 0; where param groups differ" in page.words
    assert "as planned" not in page.words
    assert [text for text in page.pictures if "σ" in text] == [f"σ of the blur against the step: {REGIMES[1]}"]
    assert "of its chosen epoch" not in page.words


def test_settings_name_code_and_metric(told, page):
    home, study, _ = told
    [sha] = study.recipes[0].code
    for words in (
        f"mine:train, the function train of {home / 'mine.py'}",
        "Metric accuracy: more is better",
        f"Code: {home / 'mine.py'}, SHA-256 {'ab' * 5}…; files that it imports are not hashed",
        f"SHA-256 {sha} 3 runs by it",
        f"folder {home} where it is trained",
        "goal max max unless --goal says otherwise",
        "metric accuracy",
        "unit % --unit",
        "scale 100 --scale: what is shown, over what was measured",
        "settings. data. size 8 --set",
        "settings.lr 0.4 --set",
    ):
        assert words.replace(". ", ".") in spaced(page), words


def test_pairing_that_was_checked_is_said(page):
    assert "one by one. As far as they have ended, their initial weights, first batches and numbers of" in page.words


@pytest.mark.parametrize("name", ["goal", "metric", "function", "lr"])
@pytest.mark.parametrize("change", [{"goal": "min"}, {"function": "other"}, {"values": {}}])
def test_whatever_a_setting_is_called_a_change_is_seen(told, name, change):
    own = told[1].recipes[0].model_copy(update={"values": {name: "x"}})
    with pytest.raises(StudyError, match="it has mine:train with "):
        own.joined(own.model_copy(update=change))
    assert own.joined(own) == own


def spaced(page):
    text = re.sub(r"<wbr>", "", page.html[page.html.index("<body>") :])
    return " ".join(re.sub(r"<[^>]*>", " ", text).split()).replace(". ", ".")


def test_what_was_accepted_or_began_anew_is_told(told, page):
    """Changed code with both hashes; runs that were interrupted, with and without a state to go on from."""
    [sha] = told[1].recipes[0].code
    for words in (
        f"which --code accept has accepted (sha256: {sha[:10]} 3 runs, ababababab 1 run).",
        f"SHA-256, version 2 {'ab' * 32} 1 run by it, accepted by --code accept",
        "1 of the runs was interrupted and continued from the last save.",
        "2 of the runs were interrupted and started anew.",
    ):
        assert words.replace(". ", ".") in spaced(page), words


def test_rates_are_of_a_run_that_was_seen_from_its_begin(told):
    _, study, outcomes = told

    def continued(outcome):
        noted = outcome.beside["record"]
        later = [one.model_copy(update={"resumed": 4, "lr": [(4, 0.3)]}) for one in noted.attached]
        return replace(outcome, beside=outcome.beside | {"record": replace(noted, attached=tuple(later))})

    some = [continued(one) if (one.regime, one.seed) == (REGIMES[1], 0) else one for one in outcomes]
    said = details_of(study.recipes[0], study, some).seen
    assert said.startswith("As attach has seen them in the first run of each regime that was not continued; where")
    alone = [continued(one) for one in outcomes]
    details = details_of(study.recipes[0], study, alone)
    [line] = details.rates["conventional"].axes[0].lines
    assert [int(step) for step in line.get_data()[0]] == [*range(4, 13)]
    nothing = details_of(study.recipes[0], study, [replace(one, beside={}) for one in outcomes])
    assert (nothing.rates, nothing.seen, nothing.sigma) == ({}, "", None)


@pytest.mark.parametrize("changes", [3, 500, 501, 100_000])
def test_changes_of_a_rate_are_kept_evenly(changes):
    """However long the training: at most 500, none farther from the truth than their share of it."""
    entry = record.Entry("conventional", 0, 1, None)
    for step in range(changes):
        entry.note_rate(step, 1 - step / changes)
    assert len(entry.lr) <= 500
    gaps = [later - earlier for (earlier, _), (later, _) in zip(entry.lr, [*entry.lr[1:], (changes, 0)], strict=True)]
    assert max(gaps) <= max(1, changes // 100)
    assert all(rate == 1 - step / changes for step, rate in entry.lr)
    for step in range(changes, changes + 2000):
        entry.note_rate(step, 7.0)
    assert entry.lr[-1][1] == 7.0
    assert "_apart" not in vars(record.Entry("conventional", 0, 1, None))


@pytest.mark.parametrize(
    ("field", "value"),
    [("layers", [["a", 0, 0.0]]), ("layers", [["a", -1, 1.0]]), ("k", -1), ("sigma", [[0, -1.0]]), ("steps", 10**15),
     ("epoch_steps", 10**400), ("lr", [[-1, 0.1]])],
)  # fmt: skip
def test_a_record_that_cannot_be_is_damaged(tmp_path, field, value):
    one = {"epoch_steps": 2, "steps": 4, "lr": [[0, 0.1]]} | {field: value}
    (tmp_path / "attach.json").write_text(json.dumps({"version": 1, "regime": "conventional", "attached": [one]}))
    with pytest.raises(StudyError, match="is damaged"):
        read_record(tmp_path)


def test_a_long_training_is_drawn_with_few_points():
    noted = Attached(epoch_steps=10**6, steps=10**8, k=10, layers=[("a", 0, 1.0), ("b", 1, 0.1)], lr=[(0, 0.1)])
    lines = attached_figure("lerac(curve=exponential,k=1e-05,ratio=0.1)", noted, (4, 3)).axes[0].lines
    assert len(lines) == 2
    assert len(lines[0].get_data()[0]) < 500
    assert lines[1].get_data()[1][0] == pytest.approx(0.01)
    assert attached_figure("conventional", Attached(epoch_steps=1, steps=0), (4, 3)) is None


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("lerac", ["lerac"]),
        ("lerac(curve=exponential,k=1,ratio=0.01)", ["lerac", "(curve=exponential,k=1,ratio=0.01)"]),
        (REGIMES[1], ["cbs+lerac", "(curve=exponential,decay=0.5,", "every=1,k=1,ratio=1e-6,", "sigma=1)"]),
        ("x" * 70, ["x" * 30, "x" * 30, "x" * 10]),
    ],
)
def test_long_names_are_broken_at_their_commas(name, lines):
    assert broken(name).split("\n") == lines


@pytest.mark.parametrize(("size", "digits"), [(0.9, 7), (90.0, 5), (9000.0, 3), (0.0009, 9)])
def test_digits_show_how_far_runs_lie_apart(told, size, digits):
    """Nobody has said how large a metric is: a share, a percentage or a perplexity; what is shown has two digits of a
    difference of a hundred-thousandth."""
    _, study, outcomes = told
    study = study.model_copy(update={"recipes": [study.recipes[0].model_copy(update={"scale": 1.0})]})
    values = [size, size * (1 - 1e-5)]
    outcomes = [replace(x, values={"test": {"accuracy": values[i % 2]}}) for i, x in enumerate(outcomes)]
    study, outcomes = readable(study, outcomes)
    [metric] = study.metrics
    assert metric.digits == digits
    assert {one.metric for one in outcomes} == {metric}
    assert float(metric.change(values[0] - values[1])) != 0
