"""Lightning, with the one line in `configure_optimizers` and with the callback."""

import importlib
import math
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lerac
from tests.compatibility.helpers.trainer_by_hand import (
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
lightning_fabric = pytest.importorskip("lightning.fabric")
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint  # noqa: E402
from lightning.pytorch.loggers.logger import Logger  # noqa: E402

from lerac.integrations.lightning import LeRaCCallback  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
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
    """The loop by hand with a cosine schedule, bit for bit."""
    module, callbacks = build(way, schedule=True)
    fit(module, tmp_path, callbacks)
    assert same(module.net, train_by_hand(k=K, epochs=EPOCHS, schedule=lambda step: cosine(step, STEPS)))
    assert not same(module.net, train_by_hand(k=0, epochs=EPOCHS, schedule=lambda step: cosine(step, STEPS)))


@WAYS
@pytest.mark.compatible("Lightning: manual optimisation")
def test_manual_optimisation(way, tmp_path):
    """The loop by hand, bit for bit."""
    module, callbacks = build(way, kind=Manual)
    fit(module, tmp_path, callbacks)
    assert same(module.net, train_by_hand(k=K, epochs=EPOCHS))


@WAYS
@pytest.mark.compatible("Lightning: accumulate_grad_batches")
def test_accumulated_batches_are_one_step(way, tmp_path):
    """The loop by hand, bit for bit, with a last step of fewer batches in each epoch."""
    module, callbacks = build(way, k=7)
    fit(module, tmp_path, callbacks, accumulate_grad_batches=ACCUMULATE)
    assert same(module.net, train_by_hand(k=7, epochs=EPOCHS, accumulate=ACCUMULATE))


@WAYS
@pytest.mark.compatible("Lightning: gradient clipping")
def test_gradient_clipping(way, tmp_path):
    """The loop by hand, bit for bit."""
    module, callbacks = build(way)
    fit(module, tmp_path, callbacks, gradient_clip_val=0.05)
    assert same(module.net, train_by_hand(k=K, epochs=EPOCHS, clip=0.05))
    assert not same(module.net, train_by_hand(k=K, epochs=EPOCHS))


@WAYS
@pytest.mark.compatible("Lightning: LearningRateMonitor")
def test_the_learning_rate_monitor_sees_your_own_rate(way, tmp_path):
    """What it logs without LeRaC, exactly."""
    module, callbacks = build(way, schedule=True)
    with_curriculum, without = Recorder(), Recorder()
    fit(module, tmp_path, [*callbacks, LearningRateMonitor()], logger=with_curriculum)
    fit(Module(schedule=True), tmp_path, [LearningRateMonitor()], logger=without)
    assert len(without.of("lr-SGD")) == STEPS
    assert with_curriculum.of("lr-SGD") == without.of("lr-SGD")


@WAYS
@pytest.mark.compatible("Lightning: bf16-mixed precision")
def test_mixed_precision(way, tmp_path):
    """The loop by hand under autocast, bit for bit."""

    def loss(net, x, y):
        with torch.autocast("cpu", torch.bfloat16):
            return nn.functional.cross_entropy(net(x), y)

    module, callbacks = build(way)
    fit(module, tmp_path, callbacks, precision="bf16-mixed")
    assert same(module.net, train_by_hand(k=K, epochs=EPOCHS, forward=loss))
    assert not same(module.net, train_by_hand(k=K, epochs=EPOCHS))


class LineForNet(Module):
    """The line names the network itself, which every strategy calls as it is."""

    def configure_optimizers(self):
        optimizer = sgd(self.parameters())
        lerac.LeRaC(optimizer, self.net, k=K, ratio=RATIO)
        return optimizer


def fit_ddp(module, tmp_path, callbacks):
    try:
        fit(module, tmp_path, callbacks, strategy="ddp", devices=1, use_distributed_sampler=False)
    finally:
        torch.distributed.destroy_process_group()  # Lightning leaves it to the end of the process


@pytest.mark.parametrize("way", ["the line", "the line for the network", "the callback"])
@pytest.mark.compatible("Lightning: DistributedDataParallel, one process")
def test_the_ddp_strategy(way, tmp_path):
    """The loop by hand, bit for bit."""
    module, callbacks = (LineForNet(), []) if way == "the line for the network" else build(way)
    fit_ddp(module, tmp_path, callbacks)
    assert same(module.net, train_by_hand(k=K, epochs=EPOCHS))


class NeverCallsItself(Module):
    """Lightning's DDP strategy calls `training_step` through `forward`, which is no forward pass of the module."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)


def test_under_ddp_a_training_step_is_not_taken_for_a_forward_pass(tmp_path):
    module, callbacks = build("the line", kind=NeverCallsItself)
    with pytest.raises(RuntimeError, match="LeRaC has seen no forward pass of"):
        fit_ddp(module, tmp_path, callbacks)


# Checkpoints


def saving(tmp_path):
    """The callback that both runs have; it saves after each epoch, when 10, 20 … steps are done."""
    return ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)


@WAYS
@pytest.mark.parametrize("kind", [Module, Manual])
@pytest.mark.compatible("Lightning: continued from a checkpoint")
def test_continuing_is_as_if_never_stopped(way, kind, tmp_path):
    """The uninterrupted run and the loop by hand, bit for bit."""
    whole, callbacks = build(way, kind=kind, schedule=True)
    fit(whole, tmp_path, [*callbacks, saving(tmp_path)])
    second, callbacks = build(way, kind=kind, schedule=True, seed=1)
    fit(second, tmp_path / "second", [*callbacks, saving(tmp_path)], ckpt_path=tmp_path / "epoch=0.ckpt")
    assert same(second.net, whole.net)
    assert same(whole.net, train_by_hand(k=K, epochs=EPOCHS, schedule=rate(kind)))


def rate(kind):
    """Manual optimisation leaves schedulers to its own code, and this one does not step it."""
    return (lambda step: LR) if kind is Manual else (lambda step: cosine(step, STEPS))


class Resumable(DataLoader):
    """Knows where in the epoch it is, as Lightning wants it for an exact continuation from there."""

    at = 0

    def __iter__(self):
        start = self.at % len(self)  # an epoch ends without asking for more
        for self.at, batch in enumerate([*super().__iter__()][start:], start=start + 1):
            yield batch

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


@WAYS
@pytest.mark.compatible("Lightning: continued from a checkpoint")
def test_continuing_from_the_middle_of_an_epoch(way, tmp_path):
    """The uninterrupted run and the loop by hand, bit for bit, also from the middle of an epoch."""

    def go_on(seed, ckpt_path=None):
        module, callbacks = build(way, seed=seed, schedule=True)
        saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4, save_top_k=-1)
        running = trainer(tmp_path, [*callbacks, saves])
        running.fit(module, Resumable(TensorDataset(*data()), batch_size=BATCH), ckpt_path=ckpt_path)
        return module.net

    whole = go_on(0)
    assert same(go_on(1, tmp_path / "step=4.ckpt"), whole)
    assert same(go_on(1, tmp_path / "step=12.ckpt"), whole)
    assert same(whole, train_by_hand(k=K, epochs=EPOCHS, schedule=lambda step: cosine(step, STEPS)))


class Unfreezes(lightning.Callback):
    """Trains the head alone for five steps."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        for part in (pl_module.net.stem, pl_module.net.body):
            part.requires_grad_(trainer.global_step >= 5)


@WAYS
@pytest.mark.compatible("Lightning: continued after unfreezing")
@pytest.mark.filterwarnings("ignore:LeRaC can tell a single layer apart")
def test_continuing_after_layers_were_unfrozen(way, tmp_path):
    """The uninterrupted run, bit for bit: the layers are those that were found at the start."""
    whole, callbacks = build(way)
    fit(whole, tmp_path, [Unfreezes(), *callbacks, saving(tmp_path)])
    second, callbacks = build(way, seed=1)
    again = [Unfreezes(), *callbacks, saving(tmp_path)]
    running = fit(second, tmp_path / "second", again, ckpt_path=tmp_path / "epoch=0.ckpt")
    assert same(second.net, whole.net)
    assert running.optimizers[0].param_groups[0]["lerac_step"] == K


@WAYS
@pytest.mark.compatible("Lightning: a conventional checkpoint goes on with LeRaC")
def test_a_conventional_checkpoint_goes_on_with_a_curriculum(way, tmp_path):
    """The curriculum starts at the checkpoint and ends k steps later."""
    fit(Module(), tmp_path, [saving(tmp_path)])
    module, callbacks = build(way)
    running = fit(module, tmp_path / "second", [*callbacks, saving(tmp_path)], ckpt_path=tmp_path / "epoch=0.ckpt")
    assert running.optimizers[0].param_groups[0]["lerac_step"] == K  # of the 20 steps that were left
    assert not same(module.net, train_by_hand(k=0, epochs=EPOCHS))


@WAYS
@pytest.mark.compatible("Lightning: a LeRaC checkpoint goes on without LeRaC")
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create the checkpoint")
def test_a_checkpoint_with_a_curriculum_goes_on_without(way, tmp_path):
    """The run that had the curriculum to its end, bit for bit."""
    first, callbacks = build(way, k=BATCHES)  # over when the checkpoint is saved
    fit(first, tmp_path, [*callbacks, saving(tmp_path)])
    second = Module(seed=1)
    running = fit(second, tmp_path / "second", [saving(tmp_path)], ckpt_path=tmp_path / "epoch=0.ckpt")
    assert same(second.net, first.net)
    assert not running.optimizers[0]._optimizer_step_pre_hooks


def test_another_curriculums_checkpoint_is_refused(tmp_path):
    fit(Module(), tmp_path, [LeRaCCallback(k=K, ratio=RATIO), saving(tmp_path)])
    other = LeRaCCallback(k=K + 1, ratio=RATIO)
    with pytest.raises(ValueError, match=r"the checkpoint's curriculum has k 17, this one 18"):
        fit(Module(), tmp_path / "second", [other, saving(tmp_path)], ckpt_path=tmp_path / "epoch=0.ckpt")


# How the callback finds the layers


@pytest.mark.compatible("Lightning: LeRaCCallback without a forward")
def test_layers_are_found_in_the_training_step(tmp_path):
    """The loop by hand, bit for bit, where the module itself is never called."""
    module, callback = NoForward(), LeRaCCallback(k=K, ratio=RATIO)
    fit(module, tmp_path, [callback])
    assert same(module.net, train_by_hand(k=K, epochs=EPOCHS))
    [curriculum] = callback.curricula
    assert [layer.name for layer in curriculum.layers] == ["net.stem", "net.body.0", "net.body.2", "net.head"]
    assert curriculum.finished


def test_the_line_says_what_to_pass_when_there_is_no_forward(tmp_path):
    with pytest.raises(RuntimeError, match=r"no forward pass of NoForward.*if another module is what your loop calls"):
        fit(NoForward(k=K), tmp_path)


class AsksTheTrainer(Module):
    """Its training step cannot run without a trainer, hence not in a copy."""

    def training_step(self, batch, batch_idx):
        assert self.trainer.max_epochs == EPOCHS
        return super().training_step(batch, batch_idx)


def test_where_the_training_step_cannot_be_traced_the_modules_own_call_decides(tmp_path):
    module = AsksTheTrainer()
    fit(module, tmp_path, [LeRaCCallback(k=K, ratio=RATIO)])
    assert same(module.net, train_by_hand(k=K, epochs=EPOCHS))


class AsksTheTrainerWithoutForward(NoForward):
    def training_step(self, batch, batch_idx):
        assert self.trainer.max_epochs == EPOCHS
        return super().training_step(batch, batch_idx)


def test_where_nothing_can_be_traced_the_error_says_why_and_what_to_pass(tmp_path):
    message = r"(?s)no forward pass of \w+.*training_step first, but .*not attached to a `Trainer`.*layers=…"
    with pytest.raises(RuntimeError, match=message):
        fit(AsksTheTrainerWithoutForward(), tmp_path, [LeRaCCallback(k=K, ratio=RATIO)])
    module = AsksTheTrainerWithoutForward()
    layers = [
        lerac.Layer(layer.name, layer.depth, [f"net.{name}" for name in layer.parameters])
        for layer in layers_of(module.net)
    ]
    fit(module, tmp_path, [LeRaCCallback(k=K, ratio=RATIO, layers=layers)])
    assert same(module.net, train_by_hand(k=K, epochs=EPOCHS))


class Noticing(Module):
    """Draws random numbers, counts its own steps and has running statistics: would notice a second forward pass."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norm = nn.BatchNorm1d(6)
        self.calls = 0

    def training_step(self, batch, batch_idx):
        self.calls += 1
        x, y = batch
        return nn.functional.cross_entropy(self.net(nn.functional.dropout(self.norm(x))), y)


def test_looking_for_the_layers_leaves_no_trace(tmp_path):
    runs = []
    layers = None
    for _ in range(2):  # it looks for them, and is given them
        module, callback = Noticing(), LeRaCCallback(k=K, layers=layers)
        torch.manual_seed(3)
        fit(module, tmp_path, [callback])
        layers = callback.curricula[0].layers
        assert module.calls == STEPS
        runs.append((module.state_dict(), torch.get_rng_state()))
    (ours, our_rng), (theirs, their_rng) = runs
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert torch.equal(our_rng, their_rng)


class Adversaries(lightning.LightningModule):
    """Two networks, each with an optimizer of its own, that step in turn; one of them through a closure."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.generator = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6))
        self.critic = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
        self.automatic_optimization = False

    def generator_loss(self, x):
        return -self.critic(self.generator(x)).mean()

    def critic_loss(self, x):
        return (self.critic(self.generator(x).detach()) - self.critic(x)).tanh().mean()

    def training_step(self, batch):
        x, _ = batch
        first, second = self.optimizers()
        self.toggle_optimizer(first)
        loss = self.generator_loss(x)
        first.zero_grad()
        self.manual_backward(loss)
        first.step()
        self.untoggle_optimizer(first)

        def closure():
            loss = self.critic_loss(x)
            second.zero_grad()
            self.manual_backward(loss)
            return loss

        with second.toggle_model():
            second.step(closure)
        self.log("generator", loss, prog_bar=True)

    def configure_optimizers(self):
        return sgd(self.generator.parameters()), sgd(self.critic.parameters())


@pytest.mark.compatible("Lightning: several optimizers")
def test_two_optimizers(tmp_path):
    """The loop by hand for both networks, bit for bit; one of them steps through a closure."""
    callback, recorder = LeRaCCallback(k=K, ratio=RATIO), Recorder()
    module = Adversaries()
    fit(module, tmp_path, [callback], logger=recorder)

    hand = Adversaries()
    optimizers = [
        sgd([{"params": network[0].parameters()}, {"params": network[2].parameters()}])
        for network in (hand.generator, hand.critic)
    ]
    for step in range(STEPS):
        x = data()[0].split(BATCH)[step % BATCHES]
        for optimizer, loss in zip(optimizers, (hand.generator_loss, hand.critic_loss), strict=True):
            hand.zero_grad()
            loss(x).backward()
            if step < K:  # both networks take the data itself, so both begin at depth 0
                optimizer.param_groups[1]["lr"] = LR * RATIO ** (1 - step / K)
            else:
                optimizer.param_groups[1]["lr"] = LR
            optimizer.step()
    assert same(module, hand)
    assert [curriculum.steps for curriculum in callback.curricula] == [K, K]
    layers = ["generator.0…critic.0", "generator.2…critic.2"]
    logged = [list(rates) for _, rates in recorder.of("lr/")]
    assert logged == [[f"lr/{index}/{layer}" for layer in layers] for _ in range(K) for index in (0, 1)]


def test_one_callback_serves_one_fit_after_another(tmp_path):
    callback = LeRaCCallback(k=K, ratio=RATIO)
    for kind in (AsksTheTrainer, NoForward):
        module = kind()
        fit(module, tmp_path, [callback])
        assert same(module.net, train_by_hand(k=K, epochs=EPOCHS))


# Logs


@pytest.mark.parametrize("accumulate", [1, ACCUMULATE])
@pytest.mark.compatible("Lightning: rates of the layers in the logs")
def test_the_rate_of_every_layer_is_logged_while_the_curriculum_lasts(accumulate, tmp_path):
    """The rate that LearningRateMonitor logs, times the factor of the formula, at every step."""
    recorder, k = Recorder(), 7
    fit(
        Module(schedule=True),
        tmp_path,
        [LeRaCCallback(k=k, ratio=RATIO), LearningRateMonitor()],
        logger=recorder,
        accumulate_grad_batches=accumulate,
    )
    own = {step: metrics["lr-SGD"] for step, metrics in recorder.of("lr-SGD")}
    logged = recorder.of("lr/")
    assert [step for step, _ in logged] == list(range(k))
    for step, rates in logged:
        expected = {
            f"lr/net.{name}": own[step] * (RATIO ** (depth / 3)) ** (1 - step / k)
            for depth, name in enumerate(["stem", "body.0", "body.2", "head"])
        }
        assert rates == pytest.approx(expected)
    assert len(recorder.of("loss")) == len(own)


def test_rates_are_logged_as_often_as_everything_else(tmp_path):
    recorder = Recorder()
    fit(Module(), tmp_path, [LeRaCCallback(k=K, ratio=RATIO)], logger=recorder, log_every_n_steps=4)
    assert [step for step, _ in recorder.of("lr/")] == [3, 7, 11, 15]
    assert [step for step, _ in recorder.of("loss")] == list(range(3, STEPS, 4))


# Lengths


@pytest.mark.parametrize(
    ("epochs", "accumulate", "steps"), [(1, 1, 10), (0.5, 1, 5), (2, ACCUMULATE, 8), (1.5, ACCUMULATE, 6), (3, 1, 30)]
)
@pytest.mark.compatible("Lightning: LeRaCCallback(epochs=…)")
def test_epochs_are_optimizer_steps(epochs, accumulate, steps, tmp_path):
    """The loop by hand with that many steps, bit for bit, gradients accumulated or not."""
    module, callback = Module(), LeRaCCallback(epochs=epochs, ratio=RATIO)
    fit(module, tmp_path, [callback], accumulate_grad_batches=accumulate)
    assert callback.curricula[0].k == steps
    assert same(module.net, train_by_hand(k=steps, epochs=EPOCHS, accumulate=accumulate))


@pytest.mark.parametrize(
    ("length", "options", "message"),
    [
        ({"k": 31}, {}, "lasts 31 optimizer steps, and training has only 30 ahead"),
        ({"epochs": 4}, {}, "lasts 40 optimizer steps, and training has only 30 ahead"),
        (
            {"k": 13},
            {"accumulate_grad_batches": ACCUMULATE},
            "lasts 13 optimizer steps, and training has only 12 ahead",
        ),
        ({"k": 6}, {"max_steps": 5}, "lasts 6 optimizer steps, and training has only 5 ahead"),
    ],
)
def test_a_curriculum_that_outlasts_training_is_refused(length, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        fit(Module(), tmp_path, [LeRaCCallback(**length)], **options)


def test_what_counts_is_the_training_that_is_left(tmp_path):
    fit(Module(), tmp_path, [saving(tmp_path)])
    with pytest.raises(ValueError, match="lasts 21 optimizer steps, and training has only 20 ahead"):
        fit(Module(), tmp_path, [LeRaCCallback(k=21), saving(tmp_path)], ckpt_path=tmp_path / "epoch=0.ckpt")


def test_epochs_of_manual_optimisation_cannot_be_known(tmp_path):
    with pytest.raises(ValueError, match=r"epochs=2 cannot be converted: Manual optimises manually.*Pass k"):
        fit(Manual(), tmp_path, [LeRaCCallback(epochs=2)])


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(TensorDataset(*data()))


def test_data_without_a_length_takes_k(tmp_path):
    with pytest.raises(ValueError, match=r"epochs=2 cannot be converted: the training data has no length"):
        trainer(tmp_path, [LeRaCCallback(epochs=2)]).fit(Module(), DataLoader(Stream(), batch_size=BATCH))
    module = Module()
    trainer(tmp_path, [LeRaCCallback(k=K, ratio=RATIO)]).fit(module, DataLoader(Stream(), batch_size=BATCH))
    assert same(module.net, train_by_hand(k=K, epochs=EPOCHS))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ratio": 1e-3}, TypeError, "either as k, in optimizer steps, or in epochs; got neither"),
        ({"k": 0}, ValueError, "k must be at least 1 optimizer step, got 0"),
        ({"k": 5, "epochs": 1}, TypeError, "got k=5 and epochs=1"),
        ({"epochs": "5"}, TypeError, "epochs must be a number, such as 5 or 0.5, got '5'"),
        ({"epochs": 0}, ValueError, "epochs must be above 0 and finite, got 0"),
        ({"epochs": math.nan}, ValueError, "epochs must be above 0 and finite, got nan"),
    ],
)
def test_the_length_is_given_once(arguments, error, message):
    with pytest.raises(error, match=message):
        LeRaCCallback(**arguments)


def test_without_lightning_the_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "lerac.integrations.lightning")
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(ImportError, match=r"needs lightning: pip install 'lerac\[lightning\]'"):
        importlib.import_module("lerac.integrations.lightning")


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.compatible("Lightning: Fabric")
def test_fabric(order, precision):
    """The loop by hand, bit for bit; the line before `fabric.setup`, or with the model and optimizer that it gives."""
    fabric = lightning_fabric.Fabric(accelerator="cpu", devices=1, precision=precision)
    net = make_net()
    optimizer = sgd(net.parameters())
    if order == "before":
        lerac.LeRaC(optimizer, net, k=K, ratio=RATIO)
    model, wrapped = fabric.setup(net, optimizer)
    if order == "after":
        lerac.LeRaC(wrapped, model, k=K, ratio=RATIO)
    for _ in range(EPOCHS):
        for x, y in fabric.setup_dataloaders(loader()):
            wrapped.zero_grad()
            fabric.backward(nn.functional.cross_entropy(model(x), y))
            wrapped.step()

    def loss(net, x, y):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            given = net(x)
        return nn.functional.cross_entropy(given.float(), y)

    assert same(net, train_by_hand(k=K, epochs=EPOCHS, forward=loss))


def test_the_module_may_keep_the_curriculum(tmp_path):
    class Keeps(Module):
        def configure_optimizers(self):
            optimizer = sgd(self.parameters())
            self.curriculum = lerac.LeRaC(optimizer, self, k=K, ratio=RATIO)
            return optimizer

    module = Keeps()
    fit(module, tmp_path)
    assert same(module.net, train_by_hand(k=K, epochs=EPOCHS))
