"""Mixed precision, and steps that loss scaling skips."""

import copy
import io

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from studies import equal, make_run, make_study, trained, untimed, weights
from torch.nn import functional

from lerac.regimes.drawing import derive
from lerac.study.errors import StudyError
from lerac.study.plan.request import request_study
from lerac.study.training.training import Training, build

CONSTANT = ("schedule.name=constant",)


def test_bf16_is_a_plain_loop_under_autocast():
    run = make_run(epochs=2, overrides=CONSTANT, precision="bf16")
    data, network = build(run)
    options = run.settings["optimizer"]
    optimizer = torch.optim.SGD(
        network.parameters(), lr=options["lr"], momentum=options["momentum"], weight_decay=options["weight_decay"]
    )
    for epoch in range(2):
        generator = torch.Generator().manual_seed(derive(run.seed, "order", epoch))
        for batch in torch.randperm(90, generator=generator).split(32):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                outputs = network(data.train.inputs[batch])
            assert outputs.dtype == torch.bfloat16
            functional.cross_entropy(outputs.float(), data.train.labels[batch]).backward()
            optimizer.step()
    training = trained(run)
    assert equal(weights(training), network.state_dict())
    assert all(tensor.dtype == torch.float32 for tensor in weights(training).values() if tensor.is_floating_point())
    network.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        outputs = network(data.validation.inputs).double()
    expected = functional.cross_entropy(outputs, data.validation.labels).item()
    assert training.measure(training._data.validation).loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("regime", ["conventional", "cbs+lerac(every=0.4,k=1.5)"])
def test_a_precision_is_deterministic_and_another_training(regime):
    low, again, exact = (trained(make_run(regime, precision=name)) for name in ("bf16", "bf16", "float32"))
    assert equal(weights(low), weights(again))
    assert untimed(low.history) == untimed(again.history)
    assert not equal(weights(low), weights(exact))
    for name, tensor in weights(exact).items():
        torch.testing.assert_close(weights(low)[name], tensor, rtol=0.1, atol=0.05)


def test_precision_is_part_of_a_configuration():
    assert make_run(precision="bf16").folder != make_run().folder


class Overflowing:
    """Loss scaling on the CPU, with gradients that overflow in chosen batches, counted over the whole training."""

    def __init__(self, monkeypatch, batches):
        from lerac.study.training.accelerator import build_accelerator

        def scaled(run, logs=None):
            accelerator = build_accelerator(run, logs)
            accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
            return accelerator

        monkeypatch.setattr("lerac.study.training.training.build_accelerator", scaled)
        self.batches = batches

    def start(self, run, state=None, done=0):
        training, count = Training(run), [done]

        def overflow(gradient):
            count[0] += 1
            return gradient * float("inf") if count[0] - 1 in self.batches else None

        next(iter(training.network.parameters())).register_hook(overflow)
        if state is not None:
            training.load_state_dict(state)
        return training

    def train(self, run):
        training = self.start(run)
        while not training.over:
            training.run_epoch()
        return training


def test_a_step_that_loss_scaling_skips_is_not_counted(monkeypatch):
    overrides = ("schedule.name=cosine", "warmup.k=2")
    run = make_run("warmup(k=2)", epochs=2, overrides=overrides)
    data, network = build(run)
    options = run.settings["optimizer"]
    optimizer = torch.optim.SGD(
        network.parameters(), lr=options["lr"], momentum=options["momentum"], weight_decay=options["weight_decay"]
    )
    batch_number = step = 0
    for epoch in range(2):
        generator = torch.Generator().manual_seed(derive(run.seed, "order", epoch))
        for batch in torch.randperm(90, generator=generator).split(32):
            cosine = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / 6, dtype=torch.float64)).item())
            optimizer.param_groups[0]["lr"] = options["lr"] * (cosine * min(1.0, step / 6))
            optimizer.zero_grad()
            functional.cross_entropy(network(data.train.inputs[batch]), data.train.labels[batch]).backward()
            if batch_number not in (0, 4):
                optimizer.step()
                step += 1
            batch_number += 1
    training = Overflowing(monkeypatch, (0, 4)).train(run)
    assert training.steps == step == 4
    assert [entry["steps"] for entry in training.history] == [2, 4]
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(weights(training)[name], tensor, rtol=1e-5, atol=1e-7)
    assert (
        training._accelerator.scaler.get_scale() == 1024 / 2 * 2 / 2
    )  # an overflow, growth after three steps, an overflow


def test_curricula_do_not_count_it_either(monkeypatch):
    run = make_run("cbs+lerac(k=2,sigma=1,every=0.4,decay=0.5)", epochs=2)
    training = Overflowing(monkeypatch, (1, 5)).train(run)
    assert (training.steps, training._curriculum.steps, training._smoothing.steps) == (4, 4, 4)
    assert [entry["sigma"] for entry in training.history] == [0.5, 0.0625]  # of steps 1 and 4
    assert not training._curriculum.finished  # k is 6


@pytest.mark.parametrize("overrides", [(), ("training.accumulate=2", "training.batch_size=15")])
def test_loss_scaling_is_continued_where_it_was(monkeypatch, overrides):
    run = make_run("lerac", epochs=3, overrides=overrides)
    overflowing = Overflowing(monkeypatch, (1, 7))
    whole = overflowing.train(run)
    first = overflowing.start(run)
    first.run_epoch()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    scale = first._accelerator.scaler.get_scale()
    assert scale != 1024
    batches = len(first._order)
    continued = overflowing.start(run, copy.deepcopy(torch.load(file, weights_only=True)), done=batches)
    assert continued._accelerator.scaler.get_scale() == scale
    while not continued.over:
        continued.run_epoch()
    assert equal(weights(continued), weights(whole))
    assert untimed(continued.history) == untimed(whole.history)
    assert continued.steps == whole.steps


def test_only_loss_scaling_wraps_the_optimizer(monkeypatch):
    assert type(Training(make_run())._optimizer) is torch.optim.SGD
    assert isinstance(Overflowing(monkeypatch, ()).start(make_run())._optimizer, AcceleratedOptimizer)


def test_clipping_sees_unscaled_gradients(monkeypatch):
    run = make_run(overrides=("training.clip_norm=0.5",))
    scaled = Overflowing(monkeypatch, ()).start(run)
    scaled._accelerator.native_amp = True  # from here on Accelerate takes it for fp16, and unscales
    scaled._accelerator.state._mixed_precision = "fp16"
    while not scaled.over:
        scaled.run_epoch()
    monkeypatch.undo()
    plain = trained(run)
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(scaled)[name], tensor, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("precision", "message"), [
    ("fp16", "--precision fp16 needs a GPU (--device cuda); on the CPU use bf16 or float32"),
    ("float64", "--precision must be one of float32, bf16, fp16, got 'float64'"),
])  # fmt: skip
def test_a_precision_that_would_not_be_used_is_refused(precision, message):
    with pytest.raises(StudyError) as refused:
        request_study(["digits"], "conventional", [0], [], None, "cpu", precision)
    assert str(refused.value) == message


def test_a_study_of_another_precision_is_another_study():
    with pytest.raises(StudyError, match="it has precision float32, now asked for bf16"):
        make_study().extend(make_study(precision="bf16"))
