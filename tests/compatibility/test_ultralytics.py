"""The trainer of Ultralytics, with `lerac.integrations.ultralytics.attach`."""

import csv
import itertools
import json
import logging
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

import lerac

# Before its import: its settings are not the user's, and it looks for nothing on the net.
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="ultralytics-"))
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
ultralytics = pytest.importorskip("ultralytics")
from PIL import Image  # noqa: E402
from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402

from lerac.integrations.ultralytics import attach  # noqa: E402
from lerac.regimes import record  # noqa: E402

EPOCHS, BATCH, BATCHES = 4, 4, 5  # batches in an epoch
K, RATIO = 11, 1e-3
NETWORK = """
nc: 1
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, C2f, [16, True]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[2, 3], 1, Detect, [nc]]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network, and 20 images of a bright square; six of them for validation too."""
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    for split, count in {"train": BATCH * BATCHES, "val": 6}.items():
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
            x, y = rng.integers(0, 16, 2)
            pixels[y : y + 16, x : x + 16] = 255
            Image.fromarray(pixels).save(root / "images" / split / f"{i}.png")
            (root / "labels" / split / f"{i}.txt").write_text(f"0 {(x + 8) / 32} {(y + 8) / 32} 0.5 0.5\n")
    (root / "data.yaml").write_text(f"path: {root}\ntrain: images/train\nval: images/val\nnames: {{0: square}}\n")
    (root / "network.yaml").write_text(NETWORK)
    return root


def settings_in(folder, project):
    return {
        "data": folder / "data.yaml",
        "imgsz": 32,
        "epochs": EPOCHS,
        "batch": BATCH,
        "nbs": BATCH,  # a step for every batch
        "optimizer": "SGD",
        "warmup_epochs": 1,
        "device": "cpu",
        "amp": False,
        "deterministic": False,  # on a CPU it changes nothing but takes seconds to set
        "plots": False,
        "val": False,
        "project": str(project),
        "verbose": False,
    }


@pytest.fixture
def settings(folder, tmp_path):
    return settings_in(folder, tmp_path)


class Seen:
    """A training's rates in every optimizer step, as the trainer sees them."""

    def __init__(self, folder, settings, lerac_options=None, trainer=None, prepare=lambda model: None):
        self.rates = []
        self.begins = {}  # of each epoch, or of its last try: optimizer steps taken until then
        self.epoch_ends = [0]
        model = ultralytics.YOLO(folder / "network.yaml", verbose=False)
        self.attached = attach(model, **lerac_options) if lerac_options else None
        model.add_callback("on_train_start", self.watch)
        model.add_callback("on_train_epoch_start", lambda trainer: self.begins.update({trainer.epoch: len(self.rates)}))
        model.add_callback("on_train_epoch_end", lambda _: self.epoch_ends.append(len(self.rates)))
        prepare(model)
        try:
            model.train(trainer=trainer, **settings)
        finally:
            self.trainer = model.trainer

    def watch(self, trainer):
        trainer.optimizer.register_step_pre_hook(
            lambda optimizer, *_: self.rates.append([group["lr"] for group in optimizer.param_groups])
        )

    @property
    def weights(self):
        return {name: p.detach().clone() for name, p in self.trainer.model.named_parameters()}

    @property
    def average(self):
        return dict(self.trainer.ema.ema.named_parameters())

    @property
    def table(self):
        with self.trainer.csv.open(encoding="utf-8") as file:
            return [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(file)]


class ByHand(DetectionTrainer):
    """What somebody would write: in each step other param groups, one for each layer in each of the trainer's."""

    taken = 0
    layers = None

    def optimizer_step(self):
        layers = self.layers = self.layers or lerac.find_layers(self.model, torch.zeros(1, 3, 32, 32))
        named = dict(self.model.named_parameters())
        groups, split = self.optimizer.param_groups, []
        for group in groups:
            for layer in layers:
                own = {id(named[name]) for name in layer.parameters}
                params = [p for p in group["params"] if id(p) in own]
                r = RATIO ** (layer.depth / layers[-1].depth)
                lr = group["lr"] * r ** (1 - min(self.taken / K, 1))
                split.append({**group, "params": params, "lr": lr})
        self.optimizer.param_groups = split
        super().optimizer_step()
        self.optimizer.param_groups = groups
        self.taken += 1


def equal(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def plain(folder, tmp_path_factory):
    """A conventional training."""
    return Seen(folder, settings_in(folder, tmp_path_factory.mktemp("plain")))


@pytest.fixture(scope="module")
def ours(folder, tmp_path_factory):
    """The same training with a curriculum."""
    return Seen(folder, settings_in(folder, tmp_path_factory.mktemp("ours")), {"k": K, "ratio": RATIO})


@pytest.mark.compatible("Ultralytics: `attach(model, …)`, with the trainer's warm-up")
@pytest.mark.parametrize("optimizer", ["SGD", "MuSGD", "AdamW", "auto"])
def test_weights_and_their_average_are_those_of_param_groups_by_hand(folder, settings, ours, optimizer):
    """Weights and their moving average are those of a trainer that splits its param groups by hand."""
    if optimizer != settings["optimizer"]:
        settings |= {"optimizer": optimizer}
        ours = Seen(folder, settings, {"k": K, "ratio": RATIO})
    theirs = Seen(folder, settings, trainer=ByHand)
    assert ours.attached.curriculum.finished
    assert len(ours.rates) == theirs.trainer.taken == EPOCHS * BATCHES
    assert equal(ours.weights, theirs.weights)
    assert equal(ours.average, theirs.average)


@pytest.mark.compatible("Ultralytics: `attach(model, …)`, with the trainer's warm-up")
def test_the_trainer_sees_its_own_rates(ours, plain):
    """The trainer sees the rates that it would see without a curriculum, in every step."""
    assert ours.rates == plain.rates
    assert not equal(ours.weights, plain.weights)


def test_equal_rates_are_plain_training(folder, settings, plain):
    ours = Seen(folder, settings, {"k": K, "ratio": 1.0})
    assert ours.rates == plain.rates
    assert equal(ours.weights, plain.weights)
    assert equal(ours.average, plain.average)


def test_no_hook_is_left_anywhere(ours):
    for model in (ours.trainer.model, ours.trainer.ema.ema):
        assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    assert not ours.trainer.optimizer._optimizer_step_post_hooks
    assert len(ours.trainer.optimizer._optimizer_step_pre_hooks) == 1  # the one of this test


@pytest.mark.compatible("Ultralytics: a curriculum in epochs, gradients accumulated")
@pytest.mark.parametrize("nbs", [BATCH, 3 * BATCH, 64])
@pytest.mark.parametrize("warmup", [0, 2.5])
def test_epochs_are_counted_as_the_trainer_accumulates(folder, settings, nbs, warmup):
    """`epochs` is as many optimizer steps as the trainer takes in so many epochs."""
    seen = Seen(folder, settings | {"nbs": nbs, "warmup_epochs": warmup}, {"epochs": 3, "ratio": RATIO})
    assert seen.attached.curriculum.k == max(1, seen.epoch_ends[3])
    assert seen.attached.curriculum.finished


@pytest.mark.compatible("Ultralytics: `results.csv` and loggers have the rate of every layer")
def test_results_have_the_rate_of_every_layer(ours):
    """At the end of every epoch, beside the rate of each param group."""
    layers = ours.attached.curriculum.layers
    assert len(layers) > 4
    for epoch, row in enumerate(ours.table, start=1):
        progress = min(epoch * BATCHES / K, 1)
        for layer in layers:
            factor = (RATIO ** (layer.depth / layers[-1].depth)) ** (1 - progress)
            shown = float(row[f"lr/{layer.name.replace('…', '-')}"])
            assert shown == pytest.approx(float(row["lr/pg0"]) * factor, rel=1e-4)  # it writes six digits
    assert {layer.name for layer in layers} != {layer.name.replace("…", "-") for layer in layers}


class StoppedError(Exception):
    """The power went off."""


@pytest.mark.compatible("Ultralytics: `train(resume=True)`")
@pytest.mark.parametrize("k", [2 * BATCHES - 3, K], ids=["after the curriculum", "in the curriculum"])
def test_resumes_where_it_was(folder, settings, k):
    """The curriculum goes on at its step, or stays finished, and `results.csv` keeps its columns."""

    def stop(trainer):
        if trainer.epoch == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        Seen(folder, settings, {"k": k, "ratio": RATIO}, prepare=lambda m: m.add_callback("on_fit_epoch_end", stop))
    model = ultralytics.YOLO(f"{settings['project']}/train/weights/last.pt")
    attached = attach(model, k=k, ratio=RATIO)
    at_start = []
    model.add_callback("on_train_start", lambda _: at_start.append(attached.curriculum.steps))
    model.train(resume=True)
    assert at_start == [min(k, 2 * BATCHES)]
    assert attached.curriculum.finished
    with model.trainer.csv.open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + EPOCHS
    assert len({len(row) for row in rows}) == 1


@pytest.mark.compatible("Ultralytics: a curriculum in epochs, gradients accumulated")
def test_a_smaller_batch_after_a_lack_of_memory_begins_anew(folder, settings):
    """After a lack of memory the trainer begins again with half the batch, and so does the curriculum."""

    batches = itertools.count(1)

    def fail_once(trainer):
        if next(batches) == 4:  # of five in the epoch
            preprocess = trainer.preprocess_batch

            def out_of_memory(_):
                trainer.preprocess_batch = preprocess
                raise RuntimeError("out of memory")

            trainer.preprocess_batch = out_of_memory

    seen = Seen(
        folder,
        settings | {"nbs": 2 * BATCH, "warmup_epochs": 2},
        {"epochs": 3, "ratio": RATIO},
        prepare=lambda model: model.add_callback("on_train_batch_start", fail_once),
    )
    assert seen.trainer.batch_size == BATCH // 2
    assert seen.begins[0] == 3  # before memory was short
    assert seen.attached.curriculum.k == seen.epoch_ends[3] - seen.begins[0]
    assert seen.attached.curriculum.finished


def test_epochs_of_another_batch_size_are_refused_when_training_continues(folder, settings):
    def stop(trainer):
        if trainer.epoch == 0:
            raise StoppedError

    settings["warmup_epochs"] = 0
    with pytest.raises(StoppedError):
        Seen(folder, settings, {"epochs": 3}, prepare=lambda model: model.add_callback("on_fit_epoch_end", stop))
    last = Path(settings["project"]) / "train" / "weights" / "last.pt"
    kept = last.read_bytes()

    def go_on(options, batch):
        last.write_bytes(kept)
        model = ultralytics.YOLO(last)
        attached = attach(model, **options)
        model.train(resume=True, batch=batch)
        return attached

    message = r"epochs=3 cannot be converted: the checkpoint has 5 optimizer steps .* and 1 epochs of this .* are 3"
    with pytest.raises(ValueError, match=message):
        go_on({"epochs": 3}, 2 * BATCH)
    curriculum = go_on({"epochs": 3}, BATCH // 2).curriculum  # of which it makes steps of two batches
    assert (curriculum.k, curriculum.finished) == (15, True)


@pytest.mark.compatible("Ultralytics: a curriculum that outlasts training is refused")
@pytest.mark.parametrize(
    ("options", "changed", "message"),
    [
        ({"k": EPOCHS * BATCHES + 1}, {}, "lasts 21 optimizer steps, and training has only 20 ahead"),
        ({"epochs": EPOCHS + 1}, {}, "lasts 5 epochs, and training only 4"),
        ({"epochs": 2}, {"time": 0.1}, "training lasts for time=0.1 hours"),
    ],
)
def test_refuses_a_curriculum_that_outlasts_training(folder, settings, options, changed, message):
    """When training starts, before the first batch."""
    with pytest.raises(ValueError, match=message):
        Seen(folder, settings | changed, options)


def test_says_so_if_training_stops_before_the_curriculum_is_over(folder, settings, caplog):
    def stop(trainer):
        trainer.stop = True

    caplog.set_level(logging.INFO, logger="ultralytics")
    logging.getLogger("ultralytics").addHandler(caplog.handler)
    Seen(folder, settings, {"k": K}, prepare=lambda model: model.add_callback("on_train_batch_end", stop))
    assert "a curriculum of 11 optimizer steps over" in caplog.text
    assert "training stopped after 1 of the 11 optimizer steps" in caplog.text


def test_layers_can_be_given(folder, settings):
    def whole_modules(model):
        names = [name for name, _ in model.model.named_parameters()]
        groups = {}
        for name in names:
            groups.setdefault(".".join(name.split(".")[:2]), []).append(name)
        return [lerac.Layer(name, depth, tuple(own)) for depth, (name, own) in enumerate(groups.items())]

    layers = whole_modules(ultralytics.YOLO(folder / "network.yaml", verbose=False))
    seen = Seen(folder, settings | {"epochs": 1}, {"k": 2, "layers": layers})
    assert [layer.name for layer in seen.attached.curriculum.layers] == [f"model.{i}" for i in range(5)]


def test_a_second_training_has_a_curriculum_of_its_own(folder, settings):
    model = ultralytics.YOLO(folder / "network.yaml", verbose=False)
    attached = attach(model, k=3)
    assert attached.curriculum is None
    model.train(**settings | {"epochs": 1})
    first = attached.curriculum
    model.train(**settings | {"epochs": 1})
    assert attached.curriculum is not first
    assert attached.curriculum.steps == first.steps == 3


REGIME = f"lerac(k={K / BATCHES},ratio={RATIO})"


@pytest.mark.compatible("Ultralytics: `attach(model, regime=…)`")
def test_a_regime_is_the_curriculum_of_as_many_steps(folder, settings, ours):
    """Weights and their moving average are those of the same curriculum in optimizer steps."""
    seen = Seen(folder, settings, {"regime": REGIME})
    assert equal(seen.weights, ours.weights)
    assert equal(seen.average, ours.average)
    assert seen.rates == ours.rates
    assert seen.table[0].keys() == ours.table[0].keys()
    assert (seen.attached.attached.regime, seen.attached.curriculum.k) == (
        f"{REGIME[:6]}curve=exponential,{REGIME[6:]}",
        K,
    )


@pytest.fixture
def trial(monkeypatch, tmp_path):
    """The environment of a run of a study; gives what the training has written."""

    def be(regime):
        for name, value in (("REGIME", regime), ("SEED", "0"), ("FOLDER", str(tmp_path))):
            monkeypatch.setenv(f"LERAC_{name}", value)

        def written():
            record.finish()
            [entry] = json.loads((tmp_path / "attach.json").read_text())["attached"]
            return entry

        return written

    yield be
    record.finish()


@pytest.mark.compatible("Ultralytics: `attach(model, regime=…)`")
def test_a_study_sees_what_it_needs(folder, settings, trial, plain, tmp_path):
    """In a run of a study the regime is that of the run; `conventional` trains as ever."""
    written = trial("conventional")
    seen = Seen(folder, settings | {"patience": 0}, {"regime": None})
    assert equal(seen.weights, plain.weights)
    first = written()
    assert (first["epoch_steps"], first["epochs"], first["steps"], first["ended"]) == (BATCHES, EPOCHS, 20, True)
    written = trial("warmup(k=1)")
    Seen(folder, settings | {"patience": 1, "epochs": 2}, {"regime": None})  # which may stop it early
    second = written()
    assert (second["epochs"], second["steps"], second["k"], second["finished"]) == (None, 10, BATCHES, True)
    assert [first[name] for name in ("weights", "batch")] == [second[name] for name in ("weights", "batch")]
    assert None not in (first["weights"], first["batch"])


def test_outside_of_a_study_nothing_is_changed(folder, settings, plain):
    seen = Seen(folder, settings | {"nbs": 64, "epochs": 1}, {"layers": None})
    assert seen.attached.attached.steps == 0
    assert seen.attached.curriculum is None
    assert seen.trainer.optimizer.param_groups[0].keys() == plain.trainer.optimizer.param_groups[0].keys()


@pytest.mark.parametrize(
    ("regime", "changed", "message"),
    [
        (
            REGIME,
            {"nbs": 64},
            r"is in epochs, and the trainer takes a step for 16 batches.*: pass nbs=4, the batch size",
        ),
        (REGIME, {"time": 0.1}, r"is in epochs, and training lasts for time=0\.1 hours.*: pass epochs to the trainer"),
        (f"warmup(k={EPOCHS + 1})", {}, r"outlasts training|and training has only 20 ahead"),
    ],
)
def test_a_regime_that_cannot_be_kept_is_refused(folder, settings, regime, changed, message):
    """When training starts, before the first batch."""
    with pytest.raises(ValueError, match=message):
        Seen(folder, settings | changed, {"regime": regime})


def test_smoothing_is_refused(folder, settings, trial):
    """At once, or of a study when training starts: what is validated is a copy of the model that is not smoothed."""
    with pytest.raises(
        ValueError, match=r"regime 'cbs\+lerac' smooths the model .* validates and saves a moving average"
    ):
        attach(ultralytics.YOLO(folder / "network.yaml", verbose=False), regime="cbs+lerac")
    trial("cbs(every=1)")
    with pytest.raises(ValueError, match=r"smooths the model that is trained, and the trainer validates"):
        Seen(folder, settings, {"regime": None})


def test_half_the_batch_size_ends_a_regime(folder, settings):
    def out_of_memory(trainer):
        def fail(_):
            trainer.preprocess_batch = whole
            raise RuntimeError("out of memory")

        whole, trainer.preprocess_batch = trainer.preprocess_batch, fail

    with pytest.raises(RuntimeError, match=r"memory ran short, .* a batch of 2 in place of 4.* with batch=2 and nbs=2"):
        Seen(folder, settings, {"regime": REGIME}, prepare=lambda m: m.add_callback("on_train_start", out_of_memory))


@pytest.mark.wide
def test_a_regime_goes_on_where_it_was(folder, settings, trial):
    def stop(trainer):
        if trainer.epoch == 1:
            raise StoppedError

    written = trial("lerac(k=3)")
    with pytest.raises(StoppedError):
        Seen(folder, settings, {"regime": None}, prepare=lambda m: m.add_callback("on_fit_epoch_end", stop))
    first = written()
    model = ultralytics.YOLO(f"{settings['project']}/train/weights/last.pt")
    attached = attach(model)
    model.train(resume=True)
    entry = written()
    assert (first["steps"], entry["resumed"], entry["steps"], entry["finished"]) == (10, 10, 20, True)
    assert (attached.curriculum.k, attached.attached.steps) == (15, 20)
    assert (entry["weights"], entry["batch"]) == (first["weights"], first["batch"])


def test_refuses_what_is_no_model_of_ultralytics():
    with pytest.raises(TypeError, match=r"such as YOLO\('yolov8n.yaml'\), got Linear; for a plain"):
        attach(torch.nn.Linear(2, 2), k=3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ratio": 1e-3}, TypeError, "got neither"),
        ({"k": 3, "epochs": 2}, TypeError, "got k=3 and epochs=2"),
        ({"k": 0}, ValueError, "k must be at least 1"),
        ({"epochs": 0}, ValueError, "epochs must be above 0"),
        ({"k": 3, "ratio": 2.0}, ValueError, r"ratio must be in \(0, 1\]"),
        ({"k": 3, "curve": "steep"}, ValueError, "unknown curve 'steep'"),
        ({"regime": "lerac", "k": 3}, TypeError, "says all of the curriculum, so k cannot be given too"),
        ({"regime": "lerak"}, ValueError, "unknown regime"),
        ({"regime": 3}, TypeError, "regime must be text"),
    ],
)
def test_bad_arguments_are_told_at_once(folder, options, error, message):
    with pytest.raises(error, match=message):
        attach(ultralytics.YOLO(folder / "network.yaml", verbose=False), **options)
