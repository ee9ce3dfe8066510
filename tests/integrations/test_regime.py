"""`regime=` of the callbacks: for every regime bit for bit what `lerac.attach` gives in a plain loop."""

import copy
import json

import pytest
import torch
from tests.conftest import same
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

import lerac
from lerac.regimes import record

lightning = pytest.importorskip("lightning.pytorch")
transformers = pytest.importorskip("transformers")
from accelerate.state import AcceleratorState, GradientState  # noqa: E402
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint  # noqa: E402
from lightning.pytorch.loggers.logger import DummyLogger  # noqa: E402

from lerac.integrations import lightning as for_lightning  # noqa: E402
from lerac.integrations import transformers as for_transformers  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create the checkpoint"),
]

BATCHES, EPOCHS = 5, 3
REGIMES = [
    "conventional",
    "warmup(k=1.5)",
    "warmup(curve=exponential,k=1.5,ratio=1e-2)",
    "lerac(k=1.5,ratio=1e-3)",
    "lerac-reversed(k=1.5,ratio=1e-3)",
    "lerac-shuffled(k=1.5,ratio=1e-3)",
    "lerac(depth=registered,k=1.5,ratio=1e-3)",
    "cbs(every=0.5,sigma=2)",
    "cbs+lerac(every=0.5,k=1.5)",
    "layer-decay(factor=0.3)",
    "unfreeze(k=1.5)",
]


class Pictures(nn.Module):
    """Convolutions, for what smooths them; in the form that both trainers call."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.body = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x, labels=None):
        return {"loss": nn.functional.cross_entropy(self.head(self.body(self.stem(x).tanh()).mean((2, 3))), labels)}


class Samples(Dataset):
    def __len__(self):
        return BATCHES

    def __getitem__(self, i):
        generator = torch.Generator().manual_seed(i)
        return {"x": torch.randn(1, 4, 4, generator=generator), "labels": torch.tensor(i % 3)}


class Stream(IterableDataset):
    def __iter__(self):
        return (Samples()[i] for i in range(BATCHES))


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)


def by_hand(regime, accumulate=1, watched=None):
    """A plain loop with `lerac.attach`."""
    model = Pictures()
    optimizer = sgd(model)
    steps = -(-BATCHES // accumulate)
    attached = lerac.attach(optimizer, model, regime, epoch_steps=steps, epochs=EPOCHS)
    for _ in range(EPOCHS):
        for i, batch in enumerate(DataLoader(Samples(), batch_size=1)):
            (model(**batch)["loss"] / accumulate).backward()
            if (i + 1) % accumulate == 0 or i + 1 == BATCHES:
                if watched is not None:
                    watched.append(attached.smoothing and attached.smoothing.sigma)
                optimizer.step()
                optimizer.zero_grad()
    return model


class Module(lightning.LightningModule):
    """Its `training_step` calls a network, and not the module itself."""

    def __init__(self, seed=0):
        super().__init__()
        self.net = Pictures(seed)

    def training_step(self, batch, batch_idx):
        return self.net(**batch)["loss"]

    def configure_optimizers(self):
        return sgd(self)


def fit(ours, resume=None, callbacks=(), seed=0, loader=None, module=None, **options):
    """Train by Lightning and give the network."""
    module = module or Module(seed)
    trainer = lightning.Trainer(
        accelerator="cpu",
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ours, *callbacks],
        **{"logger": False, "max_epochs": EPOCHS} | options,
    )
    trainer.fit(module, DataLoader(Samples(), batch_size=1) if loader is None else loader, ckpt_path=resume)
    return getattr(module, "net", None)


class InOrder(transformers.Trainer):
    def _get_train_sampler(self, *args):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def train(ours, folder, resume=None, callbacks=(), seed=0, samples=None, **options):
    """Train by the Trainer of Transformers and give the Trainer."""
    model = Pictures(seed)
    defaults = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "per_device_train_batch_size": 1,
        "num_train_epochs": EPOCHS,
        "save_strategy": "no",
        "logging_strategy": "no",
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "dataloader_pin_memory": False,
    }
    trainer = InOrder(
        model=model,
        args=transformers.TrainingArguments(**defaults | options),
        train_dataset=samples or Samples(),
        callbacks=[ours, *callbacks],
        optimizers=(sgd(model), None),
    )
    try:
        trainer.train(resume_from_checkpoint=resume)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    return trainer


CALLBACKS = pytest.mark.parametrize(
    "callback", [for_lightning.LeRaCCallback, for_transformers.LeRaCCallback], ids=["lightning", "transformers"]
)


def run(ours, folder, **options):
    if isinstance(ours, for_lightning.LeRaCCallback):
        return fit(ours, **options)
    return train(ours, folder, **options).model


@pytest.fixture
def trial(monkeypatch, tmp_path):
    """The environment of a run of a study; gives what the training has written."""

    def be(regime):
        for name, value in (("REGIME", regime), ("SEED", "0"), ("FOLDER", str(tmp_path))):
            monkeypatch.setenv(f"LERAC_{name}", value)

        def written():
            record.finish()
            return json.loads((tmp_path / "attach.json").read_text())

        return written

    yield be
    record.finish()


@CALLBACKS
@pytest.mark.parametrize("regime", REGIMES)
def test_a_callback_is_the_line_in_a_plain_loop_and_is_recorded(callback, regime, trial, tmp_path):
    plain = by_hand(regime)
    assert same(run(callback(regime=regime), tmp_path), plain)  # outside of a study
    written = trial(regime)
    assert same(run(callback(), tmp_path), plain)  # in one
    content = written()
    [entry] = content["attached"]
    assert content["regime"] == str(lerac.regimes.parse_regime(regime).complete())
    assert (entry["epoch_steps"], entry["epochs"], entry["steps"], entry["ended"]) == (BATCHES, EPOCHS, 15, True)
    assert entry["weights"]
    assert entry["batch"]
    assert entry["lr"] == [[0, 0.3]]
    k = None if "layer-decay" in regime else 0 if "k=" not in regime else 8
    assert (entry["k"], entry["finished"]) == (k, "cbs" not in regime)
    assert len(entry["layers"]) == (0 if entry["k"] == 0 else 1 if "warmup" in regime else 3)
    assert len(entry["sigma"]) == (8 if "cbs" in regime else 0)


@CALLBACKS
def test_pairing_is_seen_through_a_callback(callback, trial, tmp_path):
    seen = []
    for regime, seed in (("conventional", 0), ("cbs+lerac(k=1)", 0), ("lerac(k=1)", 1)):
        written = trial(regime)
        run(callback(), tmp_path, seed=seed)
        [entry] = written()["attached"]
        seen.append((entry["weights"], entry["batch"]))
        (tmp_path / "attach.json").unlink()
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[2][0]
    assert seen[0][1] == seen[2][1]


@CALLBACKS
def test_accumulated_batches_are_one_step(callback, tmp_path):
    lightnings = callback is for_lightning.LeRaCCallback
    options = {"accumulate_grad_batches": 2} if lightnings else {"gradient_accumulation_steps": 2}
    ours = callback(regime="cbs+lerac(every=0.34,k=1.5)")
    run(ours, tmp_path, **options)
    attached = ours.attached[0] if lightnings else ours.attached
    assert (attached.steps, attached.curriculum.k, attached.smoothing.state_dict()["every"]) == (9, 4, 1)


@CALLBACKS
@pytest.mark.parametrize("regime", [REGIMES[1], *REGIMES[4:6], *REGIMES[7:10]])
def test_continuing_is_as_if_never_stopped(callback, regime, trial, tmp_path):
    """In Lightning from the end of an epoch: within one it begins with the first batch again, whatever the callback."""
    plain = by_hand(regime)
    written = trial(regime)
    if callback is for_lightning.LeRaCCallback:
        stop = 5
        run(callback(), tmp_path, callbacks=[ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=5, save_top_k=-1)])
        saved = tmp_path / "step=5.ckpt"
    else:
        stop = 7
        run(callback(), tmp_path, save_strategy="steps", save_steps=stop)
        saved = str(tmp_path / "checkpoint-7")
    [first] = written()["attached"]
    assert same(run(callback(), tmp_path, resume=saved, seed=1), plain)
    [entry] = written()["attached"]
    assert (entry["steps"], entry["resumed"]) == (15, stop)
    assert (entry["weights"], entry["batch"]) == (first["weights"], first["batch"])


def test_within_an_epoch_of_lightning_rates_and_sigma_go_on(tmp_path):
    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=3, save_top_k=-1)
    loggers = [Recorder(), Recorder()]
    for logger, options in zip(loggers, [{"callbacks": [saves]}, {"resume": tmp_path / "step=3.ckpt"}], strict=True):
        ours = for_lightning.LeRaCCallback(regime="cbs+lerac(every=0.5,k=1.5,sigma=2)")
        fit(ours, logger=logger, log_every_n_steps=1, **options)
        assert ours.attached[0].steps == 15
    whole, rest = ([entry for entry in logger.seen if "sigma" in entry] for logger in loggers)
    assert rest == whole[3:]
    assert len(rest) == 12


def test_another_regime_than_that_of_the_checkpoint_is_refused(tmp_path):
    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=5, save_top_k=-1)
    ours = for_lightning.LeRaCCallback
    fit(ours(regime="lerac(k=1)"), callbacks=[saves])
    checkpoint = tmp_path / "step=5.ckpt"
    with pytest.raises(
        ValueError, match=r"is of the regime 'lerac\(curve=exponential,k=1,ratio=1e-6\)', and this is '"
    ):
        fit(ours(regime="cbs"), checkpoint)
    with pytest.raises(ValueError, match=r"is of the regime 'lerac.*, and this is a curriculum by k or epochs"):
        fit(ours(epochs=1), checkpoint)
    saves = ModelCheckpoint(tmp_path / "k", "{step}", every_n_train_steps=5, save_top_k=-1)
    fit(ours(k=7), callbacks=[saves])
    with pytest.raises(ValueError, match=r"given by k or epochs \(it lasts 7 optimizer steps\), and this is a regime"):
        fit(ours(regime="lerac"), tmp_path / "k" / "step=5.ckpt")


class Recorder(DummyLogger):
    def __init__(self):
        super().__init__()
        self.seen = []

    def log_metrics(self, metrics, step=None):
        self.seen.append(metrics)


def test_rates_and_sigma_are_logged(tmp_path):
    sigmas = []
    by_hand("cbs+lerac(every=0.5,k=1)", watched=sigmas)
    logger = Recorder()
    fit(for_lightning.LeRaCCallback(regime="cbs+lerac(every=0.5,k=1)"), logger=logger, log_every_n_steps=1)
    ours = [entry for entry in logger.seen if "sigma" in entry]
    assert [entry["sigma"] for entry in ours] == sigmas
    assert ["lr/net.head" in entry for entry in ours] == [True] * 5 + [False] * 10
    trainer = train(
        for_transformers.LeRaCCallback(regime="cbs+lerac(every=0.5,k=1)"),
        tmp_path,
        logging_strategy="steps",
        logging_steps=1,
    )
    assert [entry["sigma"] for entry in trainer.state.log_history if "loss" in entry] == sigmas


@CALLBACKS
def test_outside_of_a_study_nothing_is_changed(callback, tmp_path):
    ours = callback()
    assert same(run(ours, tmp_path), by_hand("conventional"))
    stream = {"loader": DataLoader(Stream(), batch_size=1)}
    if callback is for_transformers.LeRaCCallback:
        stream = {"samples": Stream(), "max_steps": 4}
        with pytest.raises(ValueError, match=r"regime 'lerac.*is in epochs, and the training data has no length"):
            train(callback(regime="lerac"), tmp_path, **stream)
        ours = callback(regime="layer-decay(factor=0.5)")
        train(ours, tmp_path, **stream)
        assert sorted(set(ours.attached.lrs().values())) == [0.3 * 0.25, 0.3 * 0.5, 0.3]
        return
    fit(callback(), **stream)
    fit(callback(), callbacks=[GradientAccumulationScheduler({0: 1, 1: 2})])
    for options in (stream, {"callbacks": [GradientAccumulationScheduler({0: 1, 1: 2})]}):
        ours = callback(regime="layer-decay(factor=0.5)")  # nothing of it is in epochs
        fit(ours, **options)
        assert sorted(set(ours.attached[0].lrs().values())) == [0.3 * 0.25, 0.3 * 0.5, 0.3]
    with pytest.raises(ValueError, match=r"regime 'lerac.*is in epochs, and the training data has no length"):
        fit(callback(regime="lerac"), **stream)


def test_epochs_of_different_lengths_are_refused(trial):
    with pytest.raises(ValueError, match=r"different numbers of optimizer steps, 5, 3, …\. Make all epochs equally lo"):
        fit(for_lightning.LeRaCCallback(regime="cbs"), callbacks=[GradientAccumulationScheduler({0: 1, 1: 2})])
    trial("conventional")
    with pytest.raises(ValueError, match="different numbers of optimizer steps"):
        fit(for_lightning.LeRaCCallback(), callbacks=[GradientAccumulationScheduler({0: 1, 1: 2})])


@CALLBACKS
def test_a_curriculum_that_outlasts_training_is_refused(callback, tmp_path):
    with pytest.raises(ValueError, match=r"k = 4 epochs, 20 optimizer steps\) outlasts training \(3 epochs, 15 steps"):
        run(callback(regime="warmup(k=4)"), tmp_path)
    with pytest.raises(ValueError, match=r"k = 1 epochs, 5 optimizer steps\) outlasts training \(0\.8 epochs, 4 steps"):
        run(callback(regime="warmup(k=1)"), tmp_path, max_steps=4)


class ByItself(Module):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()


def test_manual_optimisation_is_for_the_line_itself():
    with pytest.raises(ValueError, match=r"ByItself optimises manually: only it knows .* lerac\.attach\(optimizer"):
        fit(for_lightning.LeRaCCallback(regime="lerac"), module=ByItself())
    fit(for_lightning.LeRaCCallback(), module=ByItself())


class Skips(Module):
    def on_train_batch_start(self, batch, batch_idx):
        return -1 if self.trainer.current_epoch == 1 and batch_idx == 2 else None


def test_an_epoch_of_another_length_is_refused_as_soon_as_that_shows():
    with pytest.raises(RuntimeError, match=r"regime 'cbs.*cannot be kept: epoch 1 .* has . optimizer steps, and was"):
        fit(for_lightning.LeRaCCallback(regime="cbs"), module=Skips())


@CALLBACKS
def test_training_twice(callback, tmp_path):
    ours = callback(regime="cbs+lerac(k=1)")
    assert same(run(ours, tmp_path), run(ours, tmp_path))


@CALLBACKS
def test_a_callback_can_be_copied_before_training(callback, tmp_path):
    assert same(run(copy.deepcopy(callback(regime="lerac(k=1)")), tmp_path), by_hand("lerac(k=1)"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"k": 5}, TypeError, "says all of the curriculum, so k cannot be given too"),
        ({"epochs": 5, "ratio": 1e-3}, TypeError, "so epochs, ratio cannot be given too"),
        ({"curve": "linear"}, TypeError, "so curve cannot be given too"),
        ({"regime": 3}, TypeError, "regime must be text"),
        ({"regime": "lerak"}, ValueError, "unknown regime"),
        ({"regime": None, "ratio": 1e-3}, TypeError, "either as k, in optimizer steps, or in epochs; got neither"),
        ({"regime": None, "k": 1, "epochs": 2}, TypeError, "got k=1 and epochs=2"),
    ],
)
@CALLBACKS
def test_a_regime_stands_alone(callback, arguments, error, message):
    with pytest.raises(error, match=message):
        callback(**{"regime": "lerac(k=3)"} | arguments)
