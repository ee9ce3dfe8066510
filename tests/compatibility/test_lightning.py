"""Lightning, with the one line in `configure_optimizers` and with the callback."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lerac
from tests.compatibility.by_hand import (
    ACCUMULATE,
    BATCH,
    BATCHES,
    LR,
    RATIO,
    cosine,
    data,
    sgd,
    train_by_hand,
)
from tests.conftest import layers_of, make_net, same

lightning = pytest.importorskip("lightning.pytorch")
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint  # noqa: E402
from lightning.pytorch.loggers.logger import Logger  # noqa: E402

from lerac.integrations.lightning import LeRaCCallback  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]

EPOCHS, K = 3, 17
STEPS = EPOCHS * BATCHES


class Module(lightning.LightningModule):
    """Lightning's usual form; `k` is for the one line."""

    def __init__(self, k=None, schedule=False, seed=0):
        super().__init__()
        self.net = make_net(seed)
        self.k = k
        self.schedule = schedule

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        optimizer = sgd(self.parameters())
        if self.k:
            lerac.LeRaC(optimizer, self, k=self.k, ratio=RATIO)
        if not self.schedule:
            return optimizer
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine(step, STEPS) / LR)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


class NoForward(Module):
    """Everything happens in `training_step`; the module itself is never called."""

    def forward(self, x):
        raise NotImplementedError

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)


class Manual(Module):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.log("loss", loss)


class Recorder(Logger):
    """Keeps what it is told to log."""

    def __init__(self):
        super().__init__()
        self.rows = []

    name = "recorder"
    version = 0

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *args, **kwargs):
        pass

    def of(self, prefix):
        rows = [(step, {n: v for n, v in m.items() if n.startswith(prefix)}) for step, m in self.rows]
        return [(step, metrics) for step, metrics in rows if metrics]


def loader():
    return DataLoader(TensorDataset(*data()), batch_size=BATCH)


def trainer(tmp_path, callbacks=(), **options):
    defaults = {
        "accelerator": "cpu",
        "max_epochs": EPOCHS,
        "logger": False,
        "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": tmp_path,
        "log_every_n_steps": 1,
    }
    return lightning.Trainer(callbacks=list(callbacks), **defaults | options)


def fit(module, tmp_path, callbacks=(), ckpt_path=None, **options):
    running = trainer(tmp_path, callbacks, **options)
    running.fit(module, loader(), ckpt_path=ckpt_path)
    return running


WAYS = pytest.mark.parametrize("way", ["the line", "the callback"])


def build(way, k=K, kind=Module, **options):
    """A module with a curriculum, and the callbacks that this takes."""
    if way == "the line":
        return kind(k=k, **options), []
    return kind(**options), [LeRaCCallback(k=k, ratio=RATIO)]


@WAYS
@pytest.mark.compatible("Lightning: automatic optimisation")
def test_automatic_optimisation(way, tmp_path):
    module, callbacks = build(way, schedule=True)
    fit(module, tmp_path, callbacks)
    assert same(module.net, train_by_hand(k=K, epochs=EPOCHS, schedule=lambda step: cosine(step, STEPS)))
    assert not same(module.net, train_by_hand(k=0, epochs=EPOCHS, schedule=lambda step: cosine(step, STEPS)))


@WAYS
@pytest.mark.compatible("Lightning: manual optimisation")
def test_manual_optimisation(way, tmp_path):
    module, callbacks = build(way, kind=Manual)
    fit(module, tmp_path, callbacks)
    assert same(module.net, train_by_hand(k=K, epochs=EPOCHS))


@WAYS
@pytest.mark.compatible("Lightning: accumulate_grad_batches")
def test_accumulated_batches_are_one_step(way, tmp_path):
    module, callbacks = build(way, k=7)
    fit(module, tmp_path, callbacks, accumulate_grad_batches=ACCUMULATE)
    assert same(module.net, train_by_hand(k=7, epochs=EPOCHS, accumulate=ACCUMULATE))


@WAYS
@pytest.mark.compatible("Lightning: gradient clipping")
def test_gradient_clipping(way, tmp_path):
    module, callbacks = build(way)
    fit(module, tmp_path, callbacks, gradient_clip_val=0.05)
    assert same(module.net, train_by_hand(k=K, epochs=EPOCHS, clip=0.05))
    assert not same(module.net, train_by_hand(k=K, epochs=EPOCHS))


@WAYS
@pytest.mark.compatible("Lightning: LearningRateMonitor")
def test_the_learning_rate_monitor_sees_your_own_rate(way, tmp_path):
    module, callbacks = build(way, schedule=True)
    with_curriculum, without = Recorder(), Recorder()
    fit(module, tmp_path, [*callbacks, LearningRateMonitor()], logger=with_curriculum)
    fit(Module(schedule=True), tmp_path, [LearningRateMonitor()], logger=without)
    assert len(without.of("lr-SGD")) == STEPS
    assert with_curriculum.of("lr-SGD") == without.of("lr-SGD")


@WAYS
@pytest.mark.parametrize("kind", [Module, Manual])
@pytest.mark.compatible("Lightning: continued from a checkpoint")
def test_continuing_is_as_if_never_stopped(way, kind, tmp_path):
    whole, callbacks = build(way, kind=kind, schedule=True)
    fit(whole, tmp_path, callbacks)
    first, callbacks = build(way, kind=kind, schedule=True)
    fit(first, tmp_path, [*callbacks, ModelCheckpoint(tmp_path, "middle")], max_epochs=1)
    second, callbacks = build(way, kind=kind, schedule=True, seed=1)
    fit(second, tmp_path, callbacks, ckpt_path=tmp_path / "middle.ckpt")
    assert same(second.net, whole.net)
    assert not same(second.net, first.net)
