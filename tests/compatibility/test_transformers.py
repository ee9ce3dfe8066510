"""The Trainer of Transformers, with an optimizer that is passed in and with the callback."""

import importlib
import sys

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import IterableDataset, SequentialSampler

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
from tests.conftest import make_net, same

transformers = pytest.importorskip("transformers")
from accelerate.state import AcceleratorState, GradientState  # noqa: E402

from lerac.integrations.transformers import LeRaCCallback  # noqa: E402

EPOCHS, K = 3, 17
STEPS = EPOCHS * BATCHES
REST = BATCHES % ACCUMULATE  # this Trainer takes the mean of what there is


@pytest.fixture(autouse=True)
def _accelerate_starts_anew():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


class Classifier(nn.Module):
    """`Net` in the form that the Trainer calls."""

    def __init__(self, seed=0):
        super().__init__()
        self.net = make_net(seed)

    def forward(self, x, labels):
        return {"loss": nn.functional.cross_entropy(self.net(x), labels)}


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return BATCH * BATCHES

    def __getitem__(self, i):
        x, y = data()
        return {"x": x[i], "labels": y[i]}


class Stream(IterableDataset):
    def __iter__(self):
        return (Samples()[i] for i in range(len(Samples())))


class InOrder(transformers.Trainer):
    """Without shuffling, so that a loop by hand sees the same batches."""

    def _get_train_sampler(self, *args):
        return SequentialSampler(self.train_dataset)


def trainer(tmp_path, callbacks=(), optimizers=(None, None), model=None, seed=0, samples=None, kind=InOrder, **options):
    defaults = {
        "output_dir": tmp_path,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "per_device_train_batch_size": BATCH,
        "num_train_epochs": EPOCHS,
        "save_strategy": "no",
        "logging_strategy": "no",
        "learning_rate": LR,
        "optim": "sgd",
        "optim_args": "momentum=0.9",
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "dataloader_pin_memory": False,
    }
    arguments = transformers.TrainingArguments(**defaults | options)
    return kind(
        model=model or Classifier(seed),
        args=arguments,
        train_dataset=samples or Samples(),
        callbacks=list(callbacks),
        optimizers=optimizers,
    )


WAYS = pytest.mark.parametrize("way", ["the line", "the callback"])


def build(way, tmp_path, k=K, schedule=None, callbacks=(), **options):
    """A trainer of the kind that goes with this way to add a curriculum, and with one unless k = 0."""
    if way == "the callback":
        if schedule:
            options |= {"lr_scheduler_type": "cosine"}
        own = [LeRaCCallback(k=k, ratio=RATIO)] if k else []
        return trainer(tmp_path, [*own, *callbacks], **options)
    model = Classifier(options.pop("seed", 0))
    optimizer = sgd(model.parameters())
    if k:
        lerac.LeRaC(optimizer, model, k=k, ratio=RATIO)
    scheduler = LambdaLR(optimizer, lambda step: schedule(step) / LR) if schedule else None
    return trainer(tmp_path, callbacks, optimizers=(optimizer, scheduler), model=model, **options)


def whole_cosine(step):
    return cosine(step, STEPS)


@WAYS
@pytest.mark.compatible("Transformers Trainer: optimizer passed in, or made by the Trainer")
def test_the_trainer(way, tmp_path):
    """The loop by hand with a cosine schedule, bit for bit."""
    running = build(way, tmp_path, schedule=whole_cosine)
    running.train()
    assert same(running.model.net, train_by_hand(k=K, epochs=EPOCHS, schedule=whole_cosine))
    assert not same(running.model.net, train_by_hand(k=0, epochs=EPOCHS, schedule=whole_cosine))


@WAYS
def test_conventional_training_is_what_the_loop_by_hand_does(way, tmp_path):
    running = build(way, tmp_path, k=0)
    running.train()
    assert same(running.model.net, train_by_hand(k=0, epochs=EPOCHS))


@WAYS
@pytest.mark.compatible("Transformers Trainer: gradient accumulation")
def test_accumulated_batches_are_one_step(way, tmp_path):
    """The loop by hand, bit for bit, with a last step of fewer batches in each epoch."""
    running = build(way, tmp_path, k=7, gradient_accumulation_steps=ACCUMULATE)
    running.train()
    assert same(running.model.net, train_by_hand(k=7, epochs=EPOCHS, accumulate=ACCUMULATE, rest=REST))


@WAYS
@pytest.mark.compatible("Transformers Trainer: gradient clipping")
def test_gradient_clipping(way, tmp_path):
    """The loop by hand, bit for bit."""
    running = build(way, tmp_path, max_grad_norm=0.05)
    running.train()
    assert same(running.model.net, train_by_hand(k=K, epochs=EPOCHS, clip=0.05))


@WAYS
@pytest.mark.compatible("Transformers Trainer: bf16")
def test_mixed_precision(way, tmp_path):
    """The loop by hand under autocast, bit for bit."""

    def loss(net, x, y):
        with torch.autocast("cpu", torch.bfloat16):
            return nn.functional.cross_entropy(net(x), y)

    running = build(way, tmp_path, bf16=True)
    running.train()
    assert same(running.model.net, train_by_hand(k=K, epochs=EPOCHS, forward=loss))


# Checkpoints: the optimizer's own state carries the step


@WAYS
@pytest.mark.parametrize("stop", [7, 10])  # in the middle of an epoch and between two
@pytest.mark.compatible("Transformers Trainer: continued from a checkpoint")
def test_continuing_is_as_if_never_stopped(way, stop, tmp_path):
    """The uninterrupted run and the loop by hand, bit for bit, also from the middle of an epoch."""
    whole = build(way, tmp_path / "a", schedule=whole_cosine, save_strategy="steps", save_steps=stop)
    whole.train()
    fresh = build(way, tmp_path / "b", schedule=whole_cosine, seed=1)
    fresh.train(resume_from_checkpoint=str(tmp_path / "a" / f"checkpoint-{stop}"))
    assert same(fresh.model.net, whole.model.net)
    assert same(whole.model.net, train_by_hand(k=K, epochs=EPOCHS, schedule=whole_cosine))
    saved = torch.load(tmp_path / "a" / f"checkpoint-{stop}" / "optimizer.pt", weights_only=True)
    assert saved["param_groups"][0]["lerac_step"] == stop


class Unfreezes(transformers.TrainerCallback):
    """Trains the head alone for five steps."""

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        for part in (model.net.stem, model.net.body):
            part.requires_grad_(state.global_step >= 5)


@WAYS
@pytest.mark.compatible("Transformers Trainer: continued after unfreezing")
@pytest.mark.filterwarnings("ignore:LeRaC can tell a single layer apart")
def test_continuing_after_layers_were_unfrozen(way, tmp_path):
    """The uninterrupted run, bit for bit: the layers are those that were found at the start."""

    def run(folder, seed, **options):
        model = Classifier(seed)
        optimizer = sgd(model.parameters())
        if way == "the line":
            lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
        own = [LeRaCCallback(k=K, ratio=RATIO)] if way == "the callback" else []
        running = trainer(tmp_path / folder, [Unfreezes(), *own], (optimizer, None), model, **options)
        return running, optimizer

    whole, _ = run("whole", 0, save_strategy="steps", save_steps=7)
    whole.train()
    second, optimizer = run("second", 1)
    second.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-7"))
    assert same(second.model.net, whole.model.net)
    assert optimizer.param_groups[0]["lerac_step"] == K


@WAYS
@pytest.mark.compatible("Transformers Trainer: a conventional checkpoint goes on with LeRaC")
def test_a_conventional_checkpoint_goes_on_with_a_curriculum(way, tmp_path):
    """The curriculum starts at the checkpoint and ends k steps later."""
    conventional = build(way, tmp_path / "a", k=0, save_strategy="steps", save_steps=10)
    conventional.train()
    fresh = build(way, tmp_path / "b")
    fresh.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-10"))
    assert fresh.optimizer.param_groups[0]["lerac_step"] == K  # of the 20 steps that were left
    assert not same(fresh.model.net, conventional.model.net)


@WAYS
@pytest.mark.compatible("Transformers Trainer: a LeRaC checkpoint goes on without LeRaC")
def test_a_checkpoint_with_a_curriculum_goes_on_without(way, tmp_path):
    """The run that had the curriculum to its end, bit for bit."""
    first = build(way, tmp_path / "a", k=BATCHES, save_strategy="steps", save_steps=BATCHES)  # over when it is saved
    first.train()
    fresh = build(way, tmp_path / "b", k=0, seed=1)
    fresh.train(resume_from_checkpoint=str(tmp_path / "a" / f"checkpoint-{BATCHES}"))
    assert same(fresh.model.net, first.model.net)


def test_training_on_with_the_same_trainer_keeps_the_curriculum(tmp_path):
    callback = LeRaCCallback(k=K, ratio=RATIO)
    running = trainer(tmp_path, [callback])
    running.train()
    curriculum = callback.curriculum
    running.train()
    assert callback.curriculum is curriculum
    assert curriculum.finished


# The callback


class After(transformers.TrainerCallback):
    """Stands for a reporter: keeps the logs that reach it."""

    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append((state.global_step, dict(logs)))


@pytest.mark.parametrize("accumulate", [1, ACCUMULATE])
@pytest.mark.compatible("Transformers Trainer: rates of the layers in the logs")
def test_the_rate_of_every_layer_is_logged_while_the_curriculum_lasts(accumulate, tmp_path):
    """The `learning_rate` of the same entry, times the factor of the formula, at every step."""
    k, after = 7, After()
    running = build(
        "the callback",
        tmp_path,
        k=k,
        schedule=whole_cosine,
        callbacks=[after],
        logging_strategy="steps",
        logging_steps=1,
        gradient_accumulation_steps=accumulate,
    )
    running.train()
    history = {entry["step"]: entry for entry in running.state.log_history if "loss" in entry}
    # In the first step the layers are only found.
    assert [step for step, entry in history.items() if "lr/net.stem" in entry] == list(range(2, k + 1))
    for step in range(2, k + 1):
        for depth, name in enumerate(["stem", "body.0", "body.2", "head"]):
            factor = (RATIO ** (depth / 3)) ** (1 - (step - 1) / k)
            assert history[step][f"lr/net.{name}"] == pytest.approx(history[step]["learning_rate"] * factor)
    seen = {step: logs for step, logs in after.logs if "loss" in logs}
    assert all(logs.items() <= history[step].items() for step, logs in seen.items())
    assert [step for step, logs in seen.items() if "lr/net.head" in logs] == list(range(2, k + 1))


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"logging_strategy": "steps", "logging_steps": 4, "logging_first_step": True}, [4, 8, 12, 16]),
        ({"logging_strategy": "epoch"}, [10]),
    ],
)
def test_rates_are_logged_as_often_as_everything_else(options, steps, tmp_path):
    running = build("the callback", tmp_path, **options)
    running.train()
    assert [entry["step"] for entry in running.state.log_history if "lr/net.stem" in entry] == steps


@pytest.mark.parametrize(
    ("epochs", "accumulate", "steps"), [(1, 1, 10), (0.5, 1, 5), (2, ACCUMULATE, 8), (1.5, ACCUMULATE, 6), (3, 1, 30)]
)
@pytest.mark.compatible("Transformers Trainer: LeRaCCallback(epochs=…)")
def test_epochs_are_optimizer_steps(epochs, accumulate, steps, tmp_path):
    """The loop by hand with that many steps, bit for bit, gradients accumulated or not."""
    callback = LeRaCCallback(epochs=epochs, ratio=RATIO)
    running = trainer(tmp_path, [callback], gradient_accumulation_steps=accumulate)
    running.train()
    assert callback.curriculum.k == steps
    assert callback.curriculum.finished
    assert same(running.model.net, train_by_hand(k=steps, epochs=EPOCHS, accumulate=accumulate, rest=REST))


@pytest.mark.parametrize(
    ("length", "options", "message"),
    [
        ({"k": 31}, {}, "lasts 31 optimizer steps, and training has only 30 ahead"),
        ({"epochs": 4}, {}, "lasts 40 optimizer steps, and training has only 30 ahead"),
        ({"k": 13}, {"gradient_accumulation_steps": 3}, "lasts 13 optimizer steps, and training has only 12 ahead"),
        ({"k": 6}, {"max_steps": 5}, "lasts 6 optimizer steps, and training has only 5 ahead"),
    ],
)
def test_a_curriculum_that_outlasts_training_is_refused(length, options, message, tmp_path):
    running = trainer(tmp_path, [LeRaCCallback(**length)], **options)
    with pytest.raises(ValueError, match=message):
        running.train()
    assert not running.optimizer.optimizer._optimizer_step_pre_hooks


def test_what_counts_is_the_training_that_is_left(tmp_path):
    saved = tmp_path / "a" / "checkpoint-10"
    build("the callback", tmp_path / "a", save_strategy="steps", save_steps=10).train()
    with pytest.raises(ValueError, match="lasts 31 optimizer steps with 10 of them taken, and training has only 20"):
        build("the callback", tmp_path / "b", k=31).train(resume_from_checkpoint=str(saved))


def test_data_without_a_length_takes_k(tmp_path):
    with pytest.raises(ValueError, match=r"epochs=2 cannot be converted: the training data has no length"):
        trainer(tmp_path, [LeRaCCallback(epochs=2)], samples=Stream(), max_steps=STEPS).train()
    running = trainer(tmp_path, [LeRaCCallback(k=K, ratio=RATIO)], samples=Stream(), max_steps=STEPS)
    running.train()
    assert same(running.model.net, train_by_hand(k=K, epochs=EPOCHS))


# Trainers of other packages


class Preference(InOrder):
    """TRL's `DPOTrainer`: the loss calls the model twice, and a frozen model of reference."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        x, y = inputs["x"], inputs["labels"]
        with torch.no_grad():
            reference = self.reference(x=x, labels=y)["loss"]
        chosen, rejected = model(x=x, labels=y)["loss"], model(x=-x, labels=y)["loss"]
        return -nn.functional.logsigmoid(rejected - chosen + reference)


@pytest.mark.compatible("TRL 1.16.0, by a stand-in")
def test_a_trainer_whose_loss_calls_the_model_twice(tmp_path):
    """The loop by hand, bit for bit; SFTTrainer and DPOTrainer with the callback of Transformers."""
    running = build("the callback", tmp_path, kind=Preference)
    running.reference = Classifier()
    running.train()

    def loss(net, x, y):
        reference, chosen, rejected = (
            nn.functional.cross_entropy(n(v), y) for n, v in ((start, x), (net, x), (net, -x))
        )
        return -nn.functional.logsigmoid(rejected - chosen + reference.detach())

    start = make_net()
    assert same(running.model.net, train_by_hand(k=K, epochs=EPOCHS, forward=loss))


class Encoder(nn.Module):
    """A model of sentence-transformers: takes a dict of features, and gives it with what it adds."""

    def __init__(self, seed=0):
        super().__init__()
        self.net = make_net(seed)

    def forward(self, features):
        return features | {"sentence_embedding": self.net(features["x"])}


class Similarity(nn.Module):
    """A loss of sentence-transformers: it holds the model and calls it; it may have parameters of its own."""

    def __init__(self, model, own):
        super().__init__()
        self.model = model
        self.scale = nn.Parameter(torch.ones(3)) if own else 1.0

    def forward(self, features, labels):
        return nn.functional.cross_entropy(self.model(features)["sentence_embedding"] * self.scale, labels)


class SentenceTrainer(InOrder):
    """The trainer of sentence-transformers: a loss apart from the model, whose parameters are trained too."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return self.loss({"x": inputs["x"]}, inputs["labels"])

    def create_optimizer(self, model=None):
        self.optimizer = sgd(list({id(p): p for p in (*self.model.parameters(), *self.loss.parameters())}.values()))
        return self.optimizer


def sentences(tmp_path, own):
    running = build("the callback", tmp_path, kind=SentenceTrainer, model=Encoder(), remove_unused_columns=False)
    running.loss = Similarity(running.model, own)
    return running


@pytest.mark.compatible("sentence-transformers 6.2.0, by a stand-in")
def test_a_trainer_with_a_loss_that_calls_the_model(tmp_path):
    """The loop by hand, bit for bit, with the callback of Transformers and a loss without parameters; one with
    parameters is refused."""
    running = sentences(tmp_path, own=False)
    running.train()
    assert same(running.model.net, train_by_hand(k=K, epochs=EPOCHS))
    with pytest.raises(ValueError, match=r"1 of the optimizer's 9 parameters are not the model's.*such as a loss"):
        sentences(tmp_path, own=True).train()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ratio": 1e-3}, TypeError, "either as k, in optimizer steps, or in epochs; got neither"),
        ({"k": 0}, ValueError, "k must be at least 1 optimizer step, got 0"),
        ({"k": 5, "epochs": 1}, TypeError, "got k=5 and epochs=1"),
        ({"epochs": True}, TypeError, "epochs must be a number, such as 5 or 0.5, got True"),
        ({"epochs": -1.0}, ValueError, "epochs must be above 0 and finite, got -1.0"),
    ],
)
def test_the_length_is_given_once(arguments, error, message):
    with pytest.raises(error, match=message):
        LeRaCCallback(**arguments)


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "lerac.integrations.transformers")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"needs transformers: pip install 'lerac\[transformers\]'"):
        importlib.import_module("lerac.integrations.transformers")
