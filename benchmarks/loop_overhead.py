"""What our training loop costs: samples per second of the study's loop, of a plain one, and of the network alone.

    python benchmarks/loop_overhead.py [--device cuda] [--repetitions 20] [--only resnet18/cifar10]

Three ways to train take turns in every round, each with a network of its own with the same weights, and an optimizer
with the same settings:

- ours: the loop of `lerac.study.training.Training` in conventional training, which keeps loss and score of every step;
- plain: images as PIL's, transforms example by example, torch's DataLoader in the training process, and loss and
  accuracy asked for at every step, as the authors' code has it;
- bare: `zero_grad`, forward, loss, backward and `step` on one batch that is already on the device: the limit.

What is timed is epochs, the start of their iterators included. A ratio is the median over the rounds, with a 95 %
interval; above 1 means that ours is faster. Images of CIFAR's form are random, and held as the study holds CIFAR's.
`--only small-cnn/digits --batches 2 --repetitions 2` only shows that it runs.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import accelerate  # type: ignore[import-untyped]
import PIL
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from interleaved import machine, ratio, rounds
from lerac.study.data import DataSet
from lerac.study.data.pictures.images import HALF, Normalise
from lerac.study.data.settings import DataSettings
from lerac.study.data.splits import HeldSplit, Splits
from lerac.study.plan.study import Run, Study
from lerac.study.recipes.recipe import load_recipe
from lerac.study.training.training import Training, build

BATCH = 64


@dataclass(frozen=True)
class Case:
    """A network, its data, and how much of them is timed at once.

    Args:
        recipe: to start from.
        changes: to the recipe.
        transform: of the plain loop, from a PIL image to what the network takes.
        batches: of an epoch on the CPU, and on an accelerator.
        epochs: timed together.
    """

    recipe: str
    changes: tuple[str, ...]
    transform: Callable[[Image.Image], Tensor]
    batches: tuple[int, int]
    epochs: int


AS_THE_AUTHORS = transforms.Compose([transforms.Resize(32), transforms.ToTensor(), transforms.Normalize(*HALF)])
CASES = {
    "small-cnn/digits": Case("small-cnn/digits", ("data.label_noise=0",), transforms.ToTensor(), (20, 20), 5),
    "lenet/cifar10": Case("resnet18/cifar10", ("model=lenet",), AS_THE_AUTHORS, (50, 200), 1),
    "resnet18/cifar10": Case("resnet18/cifar10", (), AS_THE_AUTHORS, (3, 100), 1),
}


class PILImages(Dataset[tuple[Tensor, int]]):
    """Images in memory that are made PIL's and transformed one by one when they are asked for, as torchvision does.

    Args:
        split: whose images.
        transform: from a PIL image to (channels, height, width).
    """

    def __init__(self, split: HeldSplit, transform: Callable[[Image.Image], Tensor]) -> None:
        assert isinstance(split.inputs, Tensor)
        self.images = split.inputs.permute(0, 2, 3, 1).squeeze(-1).contiguous().numpy()
        self.labels = split.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[i])), self.labels[i]


def generated(dataset: DataSet, data: DataSettings, seed: int) -> Splits:
    """Give random images of CIFAR-10's form, held as bytes like those of CIFAR-10."""
    generator = torch.Generator().manual_seed(seed)

    def split(count: int) -> HeldSplit:
        images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, 10, (count,), generator=generator)
        return HeldSplit(images, labels, torch.arange(count), Normalise(*HALF, size=32))

    return Splits(split(data.train or 0), split(data.cut_off), split(data.test), classes=10, channels=3)


def run_of(case: Case, batches: int, device: torch.device) -> Run:
    """Give a run of whole batches, with so low a rate that the weights stay about where they are."""
    sizes = [f"data.train={batches * BATCH}", "data.validation=10", "data.test=10", f"training.batch_size={BATCH}"]
    recipe = load_recipe(case.recipe, [*case.changes, *sizes, "optimizer.lr=1e-4"])
    threads = torch.get_num_threads()
    study = Study(recipes=[recipe], regimes=["conventional"], seeds=[0], device=str(device), threads=threads)
    [run] = study.recipe_runs()
    return run


def train(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Take one training step; give outputs and loss."""
    optimizer.zero_grad()
    outputs: Tensor = network(images)
    loss = functional.cross_entropy(outputs, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return outputs, loss


def plain_epoch(
    network: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader[Any], device: torch.device
) -> tuple[float, float]:
    """Train an epoch as people write it; give mean loss and accuracy."""
    network.train()
    loss_sum, right, seen = 0.0, 0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        outputs, loss = train(network, optimizer, images, labels)
        loss_sum += loss.item() * len(labels)
        right += (outputs.argmax(1) == labels).sum().item()
        seen += len(labels)
    return loss_sum / seen, right / seen


def bare_epoch(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, batches: int
) -> None:
    """Train on one batch again and again."""
    network.train()
    for _ in range(batches):
        train(network, optimizer, images, labels)


def ways(case: Case, run: Run, device: torch.device) -> dict[str, Callable[[], object]]:
    """Give what trains an epoch, in each of the three ways.

    Raises:
        RuntimeError: if the plain loop would train on other values than ours.
    """
    with patch.object(DataSet, "load", generated) if run.settings["dataset"] == "cifar10" else nullcontext():
        ours, (data, plain), (_, bare) = Training(run), build(run), build(run)
    assert isinstance(data.train, HeldSplit)
    pictures = PILImages(data.train, case.transform)
    images, labels = data.train.__getitems__(list(range(BATCH)))
    assert isinstance(images, Tensor)
    if not torch.equal(images, torch.stack([pictures[i][0] for i in range(BATCH)])):
        raise RuntimeError(f"{run.recipe}: the plain loop makes other values of the images than ours")
    loader = DataLoader(pictures, batch_size=BATCH, shuffle=True)
    optimizers = [_optimizer(network.to(device), run) for network in (plain, bare)]
    return {
        "ours": partial(ours._train, 0),
        "plain": partial(plain_epoch, plain, optimizers[0], loader, device),
        "bare": partial(bare_epoch, bare, optimizers[1], images.to(device), labels.to(device), len(loader)),
    }


def row(name: str, run: Run, seconds: dict[str, list[float]]) -> str:
    """Give a row of the table from the seconds per epoch of each way."""
    samples = run.settings["data"]["train"]
    rates = {way: samples / statistics.median(times) for way, times in seconds.items()}
    cells = [f"{samples // BATCH}", *(f"{rates[way]:,.0f}" for way in ("ours", "plain", "bare"))]
    cells += [ratio(seconds[other], seconds["ours"]) for other in ("bare", "plain")]  # rates: the inverse of times
    return f"| {name} | {' | '.join(cells)} |"


def _optimizer(network: nn.Module, run: Run) -> torch.optim.Optimizer:
    settings = run.settings["optimizer"]
    if settings["name"] != "sgd":
        raise RuntimeError(f"{run.recipe} trains by {settings['name']}; this compares networks trained by sgd")
    return torch.optim.SGD(network.parameters(), **{key: settings[key] for key in ("lr", "momentum", "weight_decay")})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repetitions", type=int, default=20, help="rounds per row, at least 10")
    parser.add_argument("--batches", type=int, help="of an epoch, instead of as many as suit network and device")
    parser.add_argument("--only", choices=list(CASES), help="a single network")
    options = parser.parse_args()
    device = torch.device(options.device)
    warnings.simplefilter("error")

    versions = f"Accelerate {accelerate.__version__}, Pillow {PIL.__version__}"
    print(f"Measured on {machine(device)}; {versions}; batch {BATCH}.")
    print(f"Medians of {options.repetitions} interleaved rounds [95 % interval].\n")
    print("| network/data | batches per epoch | ours, samples/s | plain | bare | ours ÷ bare | ours ÷ plain |")
    print("|---|---|---|---|---|---|---|")
    for name in [options.only] if options.only else CASES:
        case = CASES[name]
        run = run_of(case, options.batches or case.batches[device.type != "cpu"], device)
        made = ways(case, run, device)
        print(
            row(name, run, rounds(made, repetitions=options.repetitions, calls=case.epochs, device=device)), flush=True
        )


if __name__ == "__main__":
    main()
