"""Epochs of the Trainer of Transformers, of any length: counted as the Trainer counts them, or refused."""

import gc

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from tests.conftest import same
from torch import nn
from torch.utils.data import Dataset, IterableDataset

transformers = pytest.importorskip("transformers")
from accelerate.state import AcceleratorState, GradientState  # noqa: E402

from lerac.integrations.transformers import LeRaCCallback  # noqa: E402

# The option has another name in older versions.
NEW = hasattr(transformers.TrainingArguments, "train_sampling_strategy")
GROUPED = {"train_sampling_strategy": "group_by_length"} if NEW else {"group_by_length": True}


@pytest.fixture(scope="module", autouse=True)
def _quick_collections():
    """Every training collects garbage: what was imported before need not be searched for it again and again."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Regression(nn.Module):
    def __init__(self, depth=3):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(*[nn.Linear(2, 2) for _ in range(depth)])

    def forward(self, x, input_ids=None):
        return {"loss": self.layers(x).square().mean()}


class Samples(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if i >= self.count:
            raise IndexError(i)
        return {"x": torch.tensor([1.0, i / 10])}


class Sized(IterableDataset):
    """Says that it has a length, and has another from the second epoch on."""

    def __init__(self, said, given):
        self.said, self.given, self.epoch = said, given, 0

    def __len__(self):
        return self.said

    def __iter__(self):
        self.epoch += 1
        return (Samples(9)[i] for i in range(self.said if self.epoch == 1 else self.given))


class Watch(transformers.TrainerCallback):
    """The optimizer steps that training had taken at the end of every epoch; may end the second one early."""

    def __init__(self, cut=None):
        self.ends, self.cut = [], cut

    def on_epoch_end(self, args, state, control, **kwargs):
        self.ends.append(state.global_step)

    def on_step_end(self, args, state, control, **kwargs):
        control.should_epoch_stop = state.global_step == self.cut


def train(folder, samples, callbacks=(), resume=None, cut=None, model=None, optimizer=None, **options):
    """Train in batches of 1; give the steps that had been taken at the end of every epoch, and the Trainer."""
    watch = Watch(cut)
    defaults = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "per_device_train_batch_size": 1,
        "save_strategy": "no",
        "logging_strategy": "no",
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
    }
    trainer = transformers.Trainer(
        model=model or Regression(),
        args=transformers.TrainingArguments(**defaults | options),
        train_dataset=samples,
        callbacks=[*callbacks, watch],
        optimizers=(optimizer, None),
    )
    try:
        trainer.train(resume_from_checkpoint=resume)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    return watch.ends, trainer


@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 4), st.sampled_from([2, 3, 2.3]), st.booleans(), st.data())
def test_any_epochs_are_counted(tmp_path_factory, count, accumulate, whole, limited, data):
    """Whole epochs are what a conventional run takes in them, also after a resumption."""
    options = {"gradient_accumulation_steps": accumulate, "num_train_epochs": whole}
    if limited:
        options["max_steps"] = data.draw(st.integers(-(-count // accumulate), 30))
    folder = tmp_path_factory.mktemp("train")
    ends, _ = train(folder, Samples(count), **options)
    epochs = data.draw(st.integers(1, max(1, len(ends) - 1)))
    ours, again = LeRaCCallback(epochs=epochs), LeRaCCallback(epochs=epochs)
    ends_with, whole_run = train(folder, Samples(count), [ours], **options, save_strategy="epoch")
    assert (ends_with, ours.curriculum.k, ours.curriculum.finished) == (ends, ends[epochs - 1], True)
    if len(ends) > 1:
        stop = ends[data.draw(st.integers(0, len(ends) - 2))]
        rest, continued = train(folder, Samples(count), [again], str(folder / f"checkpoint-{stop}"), **options)
        assert (rest, again.curriculum.k) == (ends[ends.index(stop) + 1 :], ends[epochs - 1])
        assert same(continued.model, whole_run.model)


class Words(Samples):
    def __getitem__(self, i):
        return super().__getitem__(i) | {"input_ids": torch.zeros(3)}


@pytest.mark.parametrize("options", [GROUPED, {"dataloader_drop_last": True}], ids=["grouped", "the last is dropped"])
def test_what_only_orders_or_drops_samples_is_counted(tmp_path, options):
    ours = LeRaCCallback(epochs=2)
    options |= {"per_device_train_batch_size": 2, "num_train_epochs": 3, "gradient_accumulation_steps": 2}
    ends, _ = train(tmp_path, Words(11), [ours], **options)
    assert ours.curriculum.k == ends[1]


@pytest.mark.parametrize(
    "change", [{"samples": lambda: Sized(6, 3)}, {"cut": 7}, {"cut": 2}], ids=["shrinks", "cut", "cut in the first"]
)
@pytest.mark.filterwarnings("ignore:Length of IterableDataset")
def test_an_epoch_that_is_shorter_than_promised_is_refused_as_soon_as_that_shows(tmp_path, change):
    samples, cut = change.get("samples", lambda: Samples(6)), change.get("cut")
    with pytest.raises(RuntimeError, match=r"epochs=2 cannot be kept: epoch [01] .* has . optimizer steps, and was to"):
        train(tmp_path, samples(), [LeRaCCallback(epochs=2)], cut=cut, num_train_epochs=3)
    ours = LeRaCCallback(k=4)
    train(tmp_path, samples(), [ours], cut=cut, num_train_epochs=3)
    assert ours.curriculum.finished


def test_epochs_hold_where_the_trainer_repeats_the_batches_of_an_epoch(tmp_path):
    """`ignore_data_skip` runs the epoch of the checkpoint again from its first batch, and stops at `max_steps`."""
    options = {"num_train_epochs": 4, "save_strategy": "steps", "save_steps": 2}
    train(tmp_path, Samples(5), [LeRaCCallback(epochs=3)], **options)
    again = LeRaCCallback(epochs=3)
    ends, _ = train(tmp_path, Samples(5), [again], str(tmp_path / "checkpoint-2"), ignore_data_skip=True, **options)
    assert (again.curriculum.k, again.curriculum.finished, ends) == (15, True, [7, 12, 17, 20])


class Unfreezes(transformers.TrainerCallback):
    """Trains the second half of the layers at first, and all of them from step 4 on."""

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step == 4:
            model.requires_grad_(True)


def half_frozen(depth):
    model = Regression(depth)
    model.layers[: depth // 2].requires_grad_(False)
    return model


def test_continuing_after_layers_unfroze_has_the_layers_of_the_first_step(tmp_path):
    """8 layers are trained when the curriculum starts, and 15 when it continues: their rates stay those of the 8."""

    def run(folder, model, resume=None):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        ours = LeRaCCallback(k=9, ratio=1e-3)
        options = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 5}
        _, trainer = train(folder, Samples(6), [ours, Unfreezes()], resume, None, model, optimizer, **options)
        return trainer.model, ours.curriculum

    whole, first = run(tmp_path / "a", half_frozen(15))
    continued, second = run(tmp_path / "b", Regression(15), str(tmp_path / "a" / "checkpoint-5"))
    assert [layer.depth for layer in second.layers] == [layer.depth for layer in first.layers] == list(range(8))
    assert same(continued, whole)
