"""Lightning's epochs of any length: counted as the trainer counts them, or refused."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import example, given, settings
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

lightning = pytest.importorskip("lightning.pytorch")
from lightning.pytorch.callbacks import (  # noqa: E402
    BackboneFinetuning,
    Callback,
    GradientAccumulationScheduler,
    ModelCheckpoint,
)
from lightning.pytorch.utilities.combined_loader import CombinedLoader  # noqa: E402

from lerac.integrations.lightning import LeRaCCallback  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create the checkpoint"),
]


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Linear(2, 3)
        self.head = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))

    def training_step(self, batch, batch_idx):
        while not isinstance(batch, torch.Tensor):
            batch = next(iter(batch.values() if isinstance(batch, dict) else batch))
        return self.head(self.backbone(batch)).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.01)


class Ends(Callback):
    """The optimizer steps that training had taken at the beginning, and at the end of every epoch."""

    def on_train_start(self, trainer, pl_module):
        self.steps = [trainer.global_step]

    def on_train_epoch_end(self, trainer, pl_module):
        self.steps.append(trainer.global_step)


def batches(count):
    return DataLoader(TensorDataset(torch.ones(count, 2)), batch_size=1)


def fit(loader, callbacks=(), ckpt_path=None, module=None, **options):
    """Train, and give the steps that had been taken at the end of every epoch."""
    ends = Ends()
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, ends],
        **options,
    )
    trainer.fit(module or Module(), loader, ckpt_path=ckpt_path)
    return ends.steps


def accumulating(schedule):
    return [GradientAccumulationScheduler(dict(schedule))] if schedule else []


SCHEDULES = st.dictionaries(st.integers(0, 4), st.integers(1, 4), max_size=4)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(1, 7), SCHEDULES, st.integers(2, 4), st.data())
@example(8, {0: 1, 2: 2}, 4, None)
def test_any_schedule_of_accumulation_is_counted(tmp_path_factory, count, schedule, whole, data):
    """Whole epochs are what a conventional run takes in them, also after a resumption; all of them fit, one more does
    not."""
    epochs = data.draw(st.integers(1, whole)) if data else 3
    folder = tmp_path_factory.mktemp("fit")
    ends = fit(batches(count), accumulating(schedule), max_epochs=whole)
    ours = LeRaCCallback(epochs=epochs)
    saves = ModelCheckpoint(folder, "{epoch}", every_n_epochs=1, save_top_k=-1)
    assert fit(batches(count), [ours, *accumulating(schedule), saves], max_epochs=whole) == ends
    assert [(c.k, c.finished) for c in ours.curricula] == [(ends[epochs], True)]

    stop = data.draw(st.integers(0, whole - 2)) if data else 0
    checkpoint = folder / f"epoch={stop}.ckpt"
    again = LeRaCCallback(epochs=epochs)
    assert fit(batches(count), [again, *accumulating(schedule)], checkpoint, max_epochs=whole) == ends[stop + 1 :]
    assert again.curricula[0].k == ends[epochs]

    with pytest.raises(ValueError, match=f"lasts {ends[-1] + 1} optimizer steps, and training has only {ends[-1]} "):
        fit(batches(count), [LeRaCCallback(k=ends[-1] + 1), *accumulating(schedule)], max_epochs=whole)


def test_a_conventional_checkpoint_is_followed_by_epochs_of_their_own_length(tmp_path):
    schedule = {0: 1, 2: 2, 3: 4}
    saves = ModelCheckpoint(tmp_path, "{epoch}", every_n_epochs=1, save_top_k=-1)
    assert fit(batches(8), [*accumulating(schedule), saves], max_epochs=4) == [0, 8, 16, 20, 22]
    ours = LeRaCCallback(epochs=2)
    fit(batches(8), [ours, *accumulating(schedule)], tmp_path / "epoch=0.ckpt", max_epochs=4)
    assert ours.curricula[0].k == 12  # of epochs 1 and 2
    with pytest.raises(ValueError, match="lasts 7 optimizer steps, and training has only 6 ahead"):
        fit(batches(8), [LeRaCCallback(k=7), *accumulating(schedule)], tmp_path / "epoch=1.ckpt", max_epochs=4)


def test_a_share_of_an_epoch_is_a_share_of_its_own_steps(tmp_path):
    ours = LeRaCCallback(epochs=1.5)
    fit(batches(8), [ours, *accumulating({0: 4, 1: 1})], max_epochs=3)
    assert ours.curricula[0].k == 2 + 4


class Sized(IterableDataset):
    """Says that it has a length, and may have another."""

    def __init__(self, said, given):
        self.said, self.given = said, given

    def __len__(self):
        return self.said

    def __iter__(self):
        return iter(torch.ones(self.given, 2))


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.ones(2)


LIMITS = {
    "limit_train_batches=3": (lambda: batches(7), {"limit_train_batches": 3}),
    "limit_train_batches=0.5": (lambda: batches(7), {"limit_train_batches": 0.5}),
    "a limit on data without a length": (lambda: DataLoader(Endless(), batch_size=1), {"limit_train_batches": 4}),
    "overfit_batches=2": (lambda: batches(7), {"overfit_batches": 2}),
    "accumulate_grad_batches=3": (lambda: batches(7), {"accumulate_grad_batches": 3}),
    "max_steps=19": (lambda: batches(7), {"max_steps": 19}),
    "min_epochs=2": (lambda: batches(7), {"min_epochs": 2}),
    "max_time": (lambda: batches(7), {"max_time": {"hours": 1}}),
    "reloaded, always as long": (lambda: batches(7), {"reload_dataloaders_every_n_epochs": 1}),
    "min_size": (lambda: CombinedLoader([batches(7), batches(4)], "min_size"), {}),
    "max_size": (lambda: CombinedLoader([batches(7), batches(4)], "max_size"), {}),
    "max_size_cycle": (lambda: CombinedLoader([batches(7), batches(4)], "max_size_cycle"), {}),
}


@pytest.mark.parametrize(("loader", "options"), LIMITS.values(), ids=LIMITS)
def test_whatever_limits_an_epoch_is_counted(loader, options):
    ends = fit(loader(), max_epochs=3, **options)
    ours = LeRaCCallback(epochs=2)
    assert fit(loader(), [ours], max_epochs=3, **options) == ends
    assert [(c.k, c.finished) for c in ours.curricula] == [(ends[2], True)]
    with pytest.raises(ValueError, match=f"lasts {ends[-1] + 1} optimizer steps, and training has only {ends[-1]} "):
        fit(loader(), [LeRaCCallback(k=ends[-1] + 1)], max_epochs=3, **options)


class Growing(lightning.LightningDataModule):
    """One batch more in every epoch."""

    def train_dataloader(self):
        return batches(3 + self.trainer.current_epoch)


class Skips(Module):
    def on_train_batch_start(self, batch, batch_idx):
        return -1 if self.trainer.current_epoch == 1 and batch_idx == 2 else None


class Accumulates(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        trainer.accumulate_grad_batches = trainer.current_epoch + 1


CHANGES = {
    "reloaded, longer": (Growing, {"reload_dataloaders_every_n_epochs": 1}),
    "the rest of an epoch is skipped": (lambda: batches(3), {"module": Skips}),
    "a callback of one's own accumulates": (lambda: batches(3), {"callbacks": [Accumulates()]}),
    "a length that is not true": (lambda: DataLoader(Sized(4, 3), batch_size=1), {}),
}


@pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined")
@pytest.mark.filterwarnings("ignore:Length of IterableDataset")
@pytest.mark.parametrize(("loader", "options"), CHANGES.values(), ids=CHANGES)
def test_epochs_that_change_without_notice_are_refused_as_soon_as_that_shows(loader, options):
    options = {"callbacks": [], "module": Module} | options

    def run(ours):
        callbacks = [ours, *options["callbacks"]]
        rest = {name: value for name, value in options.items() if name not in ("callbacks", "module")}
        return fit(loader(), callbacks, module=options["module"](), max_epochs=3, **rest)

    with pytest.raises(RuntimeError, match=r"epochs=2 cannot be kept: epoch [01] \(the first is 0\) has . optimizer s"):
        run(LeRaCCallback(epochs=2))
    ours = LeRaCCallback(k=4)
    run(ours)  # a k needs no epochs
    assert ours.curricula[0].finished


def test_in_the_middle_of_an_epoch_its_rest_counts(tmp_path):
    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=3, save_top_k=-1)
    ours = LeRaCCallback(epochs=1.5)
    assert fit(batches(7), [ours, saves], max_epochs=3, accumulate_grad_batches=2) == [0, 4, 8, 12]
    again = LeRaCCallback(epochs=1.5)
    fit(batches(7), [again], tmp_path / "step=3.ckpt", max_epochs=3, accumulate_grad_batches=2)
    assert ours.curricula[0].k == again.curricula[0].k == 6
    conventional = LeRaCCallback(epochs=2)
    saves = ModelCheckpoint(tmp_path / "conventional", "{step}", every_n_train_steps=3, save_top_k=-1)
    fit(batches(7), [saves], max_epochs=3, accumulate_grad_batches=2)
    rest = tmp_path / "conventional" / "step=3.ckpt"
    fit(batches(7), [conventional], rest, max_epochs=3, accumulate_grad_batches=2)
    assert conventional.curricula[0].k == 8
    with pytest.raises(ValueError, match="lasts 10 optimizer steps, and training has only 9 ahead"):
        fit(batches(7), [LeRaCCallback(k=10)], rest, max_epochs=3, accumulate_grad_batches=2)


def test_a_schedule_that_the_trainer_forgets_when_it_continues_is_refused(tmp_path):
    """In the middle of an epoch Lightning does not ask the schedule again, and accumulates one batch."""
    schedule = {0: 2, 1: 3}
    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    fit(batches(8), [LeRaCCallback(epochs=2), *accumulating(schedule), saves], max_epochs=3)
    with pytest.raises(RuntimeError, match=r"epoch 1 .* has 8 optimizer steps, and was to have 3"):
        fit(batches(8), [LeRaCCallback(epochs=2), *accumulating(schedule)], tmp_path / "step=5.ckpt", max_epochs=3)


def test_a_checkpoint_of_other_epochs_is_refused(tmp_path):
    saves = ModelCheckpoint(tmp_path, "{epoch}", every_n_epochs=1, save_top_k=-1)
    fit(batches(8), [LeRaCCallback(epochs=2), saves], max_epochs=3)
    message = r"checkpoint's curriculum lasts 16 optimizer steps, and epochs=2 are 8 in this training.* Pass k=16"
    options = {"max_epochs": 6, "accumulate_grad_batches": 2}
    with pytest.raises(ValueError, match=message):
        fit(batches(8), [LeRaCCallback(epochs=2)], tmp_path / "epoch=0.ckpt", **options)
    planned = LeRaCCallback(k=16)
    fit(batches(8), [planned], tmp_path / "epoch=0.ckpt", **options)
    assert planned.curricula[0].finished
    late = LeRaCCallback(epochs=2)  # after a conventional beginning of other epochs it starts with its own
    conventional = ModelCheckpoint(tmp_path / "conventional", "{epoch}", every_n_epochs=1, save_top_k=-1)
    fit(batches(8), [conventional], max_epochs=3)
    ends = fit(batches(8), [late], tmp_path / "conventional" / "epoch=2.ckpt", **options)
    assert (late.curricula[0].k, ends) == (8, [24, 28, 32, 36])


class ByHand(Module):
    """A group for each layer of the head, whose rates are set before every step and put back after it."""

    k, taken = 10, 0

    def configure_optimizers(self):
        return torch.optim.SGD([{"params": self.head[i].parameters()} for i in (0, 2)], lr=0.01)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        last, own = optimizer.param_groups[1], optimizer.param_groups[1]["lr"]
        last["lr"] = own * 1e-2 ** (1 - min(self.taken / self.k, 1))
        optimizer.step(optimizer_closure)
        last["lr"] = own
        self.taken += 1


def same(a, b):
    return all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))


def test_layers_that_unfreeze(tmp_path):
    """What `BackboneFinetuning` adds later has the factor of the nearest layer that was trained before: 1."""

    def run(module, callbacks=(), ckpt_path=None):
        unfreezing = BackboneFinetuning(1, lambda_func=lambda _: 1, backbone_initial_lr=0.005)
        fit(batches(4), [unfreezing, *callbacks], ckpt_path, module, max_epochs=4)
        return module

    saves = ModelCheckpoint(tmp_path, "{epoch}", every_n_epochs=1, save_top_k=-1)
    ours = LeRaCCallback(k=10, ratio=1e-2)
    whole = run(Module(), [ours, saves])
    assert same(whole, run(ByHand()))
    assert not same(whole, run(Module()))
    assert not torch.equal(whole.backbone.weight, Module().backbone.weight)
    assert ours.curricula[0].finished
    # Lightning's own continuation from later epochs leaves the backbone frozen, with a curriculum or without.
    assert same(run(Module(), [LeRaCCallback(k=10, ratio=1e-2)], tmp_path / "epoch=0.ckpt"), whole)
