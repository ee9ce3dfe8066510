"""Accelerate, whose loop is your own: the one line, before or after `prepare`."""

import json

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

import lerac
from lerac.regimes import record
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
from tests.conftest import make_net, same

accelerate = pytest.importorskip("accelerate")
from accelerate.state import AcceleratorState, GradientState  # noqa: E402
from accelerate.utils import GradientAccumulationPlugin  # noqa: E402

EPOCHS, K = 3, 17
STEPS = EPOCHS * BATCHES


@pytest.fixture(autouse=True)
def _accelerate_starts_anew():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


class Script:
    """A training script with Accelerate.

    Args:
        line: where LeRaC's line stands, "before" or "after" `prepare`, or None.
        schedule: from the step to your own rate.
        attach: what the line is, if not LeRaC's.
    """

    def __init__(self, line, k=K, schedule=None, seed=0, clip=None, attach=None, **options):
        self.accelerator = accelerate.Accelerator(cpu=True, **options)
        self.model = make_net(seed)
        self.optimizer = sgd(self.model.parameters())
        self.scheduler = LambdaLR(self.optimizer, lambda step: schedule(step) / LR) if schedule else None
        self.clip = clip
        attach = attach or (lambda optimizer, model: lerac.LeRaC(optimizer, model, k=k, ratio=RATIO))
        if line == "before":
            self.curriculum = attach(self.optimizer, self.model)
        loader = DataLoader(TensorDataset(*data()), batch_size=BATCH)
        self.model, self.optimizer, self.loader = self.accelerator.prepare(self.model, self.optimizer, loader)
        if schedule:
            self.scheduler = self.accelerator.prepare(self.scheduler)
        if line == "after":
            self.curriculum = attach(self.optimizer, self.model)

    def batches(self, first):
        """From this batch of the whole training on."""
        for at in range(first // BATCHES, EPOCHS):
            skip = first - at * BATCHES
            yield from self.accelerator.skip_first_batches(self.loader, skip) if skip > 0 else self.loader

    def train(self, first=0, last=STEPS):
        for _, (x, y) in zip(range(first, last), self.batches(first), strict=False):
            with self.accelerator.accumulate(self.model):
                self.accelerator.backward(nn.functional.cross_entropy(self.model(x), y))
                if self.clip and self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
                self.optimizer.step()
                if self.scheduler:
                    self.scheduler.step()
                self.optimizer.zero_grad()
        return self

    @property
    def net(self):
        return self.accelerator.unwrap_model(self.model)


LINES = pytest.mark.parametrize("line", ["before", "after"])


@LINES
@pytest.mark.compatible("Accelerate: `prepare` before or after LeRaC")
def test_prepare(line):
    """The loop by hand with a cosine schedule, bit for bit."""
    ours = Script(line, schedule=lambda step: cosine(step, STEPS)).train()
    assert same(ours.net, train_by_hand(k=K, epochs=EPOCHS, schedule=lambda step: cosine(step, STEPS)))
    assert ours.curriculum.finished


def test_conventional_training_is_what_the_loop_by_hand_does():
    assert same(Script(None).train().net, train_by_hand(k=0, epochs=EPOCHS))


@LINES
@pytest.mark.compatible("Accelerate: gradient accumulation")
def test_accumulated_batches_are_one_step(line):
    """The loop by hand, bit for bit, with a last step of fewer batches in each epoch."""
    ours = Script(line, k=7, gradient_accumulation_steps=ACCUMULATE).train()
    assert same(ours.net, train_by_hand(k=7, epochs=EPOCHS, accumulate=ACCUMULATE))
    assert ours.curriculum.finished


@LINES
@pytest.mark.compatible("Accelerate: gradient accumulation")
def test_accumulation_across_the_end_of_an_epoch(line):
    """The loop by hand, bit for bit, with a last step of fewer batches in each epoch."""
    plugin = GradientAccumulationPlugin(num_steps=ACCUMULATE, sync_with_dataloader=False)
    ours = Script(line, k=10, gradient_accumulation_plugin=plugin).train()
    assert ours.curriculum.finished  # 30 batches are just ten steps
    assert not same(ours.net, train_by_hand(k=10, epochs=EPOCHS, accumulate=ACCUMULATE))


@LINES
@pytest.mark.parametrize(
    ("regime", "by_hand"),
    [
        ("conventional", {"k": 0}),
        ("warmup(k=1.75)", {"k": 0, "schedule": lambda step: LR * min(1, step / 7)}),
        (f"lerac(k=1.75,ratio={RATIO})", {"k": 7}),
    ],
)
@pytest.mark.compatible("Accelerate: `lerac.attach`, gradient accumulation")
def test_attach_counts_optimizer_steps(line, regime, by_hand, monkeypatch, tmp_path):
    """The loop by hand, bit for bit, and a study is told the optimizer steps, not the batches."""
    for name, value in (("REGIME", regime), ("SEED", "0"), ("FOLDER", str(tmp_path))):
        monkeypatch.setenv(f"LERAC_{name}", value)
    per_epoch = -(-BATCHES // ACCUMULATE)

    def attach(optimizer, model):
        return lerac.attach(optimizer, model, epoch_steps=per_epoch, epochs=EPOCHS)

    ours = Script(line, attach=attach, gradient_accumulation_steps=ACCUMULATE).train()
    record.finish()
    assert same(ours.net, train_by_hand(epochs=EPOCHS, accumulate=ACCUMULATE, **by_hand))
    assert ours.curriculum.steps == EPOCHS * per_epoch < STEPS
    [entry] = json.loads((tmp_path / "attach.json").read_text())["attached"]
    assert (entry["steps"], entry["epoch_steps"], entry["finished"]) == (EPOCHS * per_epoch, per_epoch, True)
    assert entry["weights"]
    assert entry["batch"]


@LINES
@pytest.mark.compatible("Accelerate: gradient clipping")
def test_gradient_clipping(line):
    """The loop by hand, bit for bit."""
    assert same(Script(line, clip=0.05).train().net, train_by_hand(k=K, epochs=EPOCHS, clip=0.05))


@LINES
@pytest.mark.compatible("Accelerate: bf16")
def test_mixed_precision(line):
    """The loop by hand under autocast, bit for bit."""

    def loss(net, x, y):
        with torch.autocast("cpu", torch.bfloat16):
            scores = net(x)
        return nn.functional.cross_entropy(scores.float(), y)

    assert same(Script(line, mixed_precision="bf16").train().net, train_by_hand(k=K, epochs=EPOCHS, forward=loss))


# Checkpoints


@LINES
@pytest.mark.parametrize("when", ["the curriculum too", "model and optimizer only"])
@pytest.mark.parametrize("stop", [7, 10])
@pytest.mark.compatible("Accelerate: save_state and load_state")
def test_continuing_is_as_if_never_stopped(line, when, stop, tmp_path):
    """The uninterrupted run and the loop by hand, bit for bit, also from the middle of an epoch."""

    def script(seed=0):
        made = Script(line, schedule=lambda step: cosine(step, STEPS), seed=seed)
        if when == "the curriculum too":
            made.accelerator.register_for_checkpointing(made.curriculum)
        return made

    whole = script().train(0, stop)
    whole.accelerator.save_state(tmp_path)
    whole.train(stop)
    fresh = script(seed=1)
    fresh.accelerator.load_state(tmp_path)
    assert fresh.curriculum.steps == stop
    assert same(fresh.train(stop).net, whole.net)
    assert same(whole.net, train_by_hand(k=K, epochs=EPOCHS, schedule=lambda step: cosine(step, STEPS)))


@LINES
@pytest.mark.compatible("Accelerate: a conventional checkpoint goes on with LeRaC")
def test_a_conventional_checkpoint_goes_on_with_a_curriculum(line, tmp_path):
    """The curriculum starts at the checkpoint and ends k steps later."""
    conventional = Script(None).train(0, 10)
    conventional.accelerator.save_state(tmp_path)
    fresh = Script(line, seed=1)
    fresh.accelerator.load_state(tmp_path)
    assert same(fresh.net, conventional.net)
    fresh.train(10, 10 + K - 1)
    assert not fresh.curriculum.finished
    fresh.train(10 + K - 1, 10 + K)
    assert fresh.curriculum.finished


@LINES
@pytest.mark.compatible("Accelerate: a LeRaC checkpoint goes on without LeRaC")
def test_a_checkpoint_with_a_curriculum_goes_on_without(line, tmp_path):
    """The run that had the curriculum to its end, bit for bit."""
    whole = Script(line, k=10).train(0, 10)
    whole.accelerator.save_state(tmp_path)
    whole.train(10)
    fresh = Script(None, seed=1)
    fresh.accelerator.load_state(tmp_path)
    assert same(fresh.train(10).net, whole.net)
