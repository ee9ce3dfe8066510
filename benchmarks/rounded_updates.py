"""How many weights an optimizer step leaves exactly as they were, layer by layer, during the curriculum.

    python benchmarks/rounded_updates.py [--csv FILE] [--picture docs/images/rounded-updates.svg]

An update that is small against its weight is lost when the sum is rounded. For every network, optimizer, type of
the parameters and ratio this trains through the curriculum on scikit-learn's digits and compares all weights before
and after each step, bit for bit. Ratio 1 is conventional training. float32, bfloat16 and float16 mean that the whole
network has that type, parameters, gradients and optimizer state: no autocast, no float32 copy, no loss scaling.

Weights and batches are seeded; on one kind of machine and one version of torch the figures come out the same.
"""

import argparse
import csv
import statistics
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

import lerac
from interleaved import machine
from lerac.study.data import DATASETS
from lerac.study.data.settings import DataSettings
from lerac.study.models import MODELS

K = 70  # steps: 7 epochs (the most of the paper) of 600 images in batches of 64
BATCH = 64
RATIOS = (1.0, 1e-2, 1e-4, 1e-6, 1e-8)
SEEDS = (0, 1, 2)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Optimizers = Callable[..., torch.optim.Optimizer]
OPTIMIZERS: dict[str, Optimizers] = {
    "SGD": partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=1e-4),  # the recipe of the demo
    "AdamW": partial(torch.optim.AdamW, lr=1e-3),
}


class SmallTransformer(nn.Module):
    """Four encoder blocks of width 64 over the rows of an image, (batch, 1, 8, 8) to (batch, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 64)
        self.positions = nn.Parameter(0.02 * torch.randn(8, 64))
        block = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, 4, norm=nn.LayerNorm(64), enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits."""
        logits: Tensor = self.head(self.blocks(self.embed(images.squeeze(1)) + self.positions).mean(1))
        return logits


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "small-cnn": partial(MODELS["small-cnn"], 1, 10),
    "transformer": SmallTransformer,
}


class Case(NamedTuple):
    """What is trained; a row of the table, with the shares of all seeds."""

    network: str
    optimizer: str
    dtype: str
    ratio: float


class Measured(NamedTuple):
    """One training.

    Args:
        layers: names, nearest to the input first.
        sizes: weights of each layer.
        shares: (k, layers) of weights in [0, 1] that the step left as they were; NaN from the step on at which a
            weight was not finite.
        lost_at: that step, None if there was none.
    """

    layers: tuple[str, ...]
    sizes: Tensor
    shares: Tensor
    lost_at: int | None


def measure(case: Case, seed: int, k: int = K) -> Measured:
    """Train through the curriculum, and compare the weights before and after every step."""
    torch.manual_seed(seed)
    model = NETWORKS[case.network]()
    layers = lerac.find_layers(model, torch.zeros(1, 1, 8, 8))
    model.to(DTYPES[case.dtype])
    optimizer = OPTIMIZERS[case.optimizer](model.parameters())
    if case.ratio < 1:
        lerac.LeRaC(optimizer, model, k=k, ratio=case.ratio, layers=layers)
    named = dict(model.named_parameters())
    shares = torch.full((k, len(layers)), torch.nan)
    lost_at = None
    for step, (images, labels) in zip(range(k), batches(seed), strict=False):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(images.to(DTYPES[case.dtype])).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        before = {name: p.detach().clone() for name, p in named.items()}
        optimizer.step()
        if not all(bool(p.isfinite().all()) for p in named.values()):
            lost_at = step
            break
        for at, layer in enumerate(layers):
            same = sum(int((named[name] == before[name]).sum()) for name in layer.parameters)
            shares[step, at] = same / sum(named[name].numel() for name in layer.parameters)
    sizes = torch.tensor([sum(named[name].numel() for name in layer.parameters) for layer in layers])
    return Measured(tuple(layer.name for layer in layers), sizes, shares, lost_at)


def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give batches of the digits without end: in a new order in every epoch, the last one of an epoch smaller."""
    data = DataSettings(train=600, validation=300, test=897, label_noise=0.3)
    split = DATASETS["digits"].load(data, seed).train
    generator = torch.Generator().manual_seed(seed)
    while True:
        for rows in torch.split(torch.randperm(len(split), generator=generator), BATCH):
            inputs, labels = split.__getitems__(rows.tolist())
            assert isinstance(inputs, Tensor)
            yield inputs, labels


def row(case: Case, runs: Sequence[Measured]) -> str:
    """Give one row of the table: shares in percent as means over the seeds, and their range where it matters."""
    start = f"| {case.network} | {case.optimizer} | {case.dtype} | {case.ratio:g} |"
    if any(run.lost_at is not None for run in runs):
        return f"{start} not finite from step {min(r.lost_at for r in runs if r.lost_at is not None)} on | | | | |"
    all_weights = [float((run.shares.mean(0) * run.sizes).sum() / run.sizes.sum()) for run in runs]
    first, last = ([float(run.shares[:, at].mean()) for run in runs] for at in (0, -1))
    at_start = [float(run.shares[0, -1]) for run in runs]
    cells = [
        percent(all_weights),
        percent(first),
        percent(last),
        percent(at_start),
        wakes(case, [r.shares for r in runs]),
    ]
    return f"{start} {' | '.join(cells)} |"


def percent(values: Sequence[float]) -> str:
    """Give mean and range."""
    mean, low, high = (100 * f for f in (statistics.mean(values), min(values), max(values)))
    return f"{mean:.1f}" if high - low < 0.1 else f"{mean:.1f} ({low:.1f} to {high:.1f})"


def wakes(case: Case, shares: Sequence[Tensor]) -> str:
    """Give the first step at which most weights of the last layer change, as a part of k, and its factor then."""
    steps = [next((i for i, share in enumerate(run[:, -1].tolist()) if share < 0.5), None) for run in shares]
    found = [step / K for step in steps if step is not None]
    if len(found) < len(steps):
        return f"not in {len(steps) - len(found)} of {len(steps)} seeds"
    progress = statistics.mean(found)
    return f"{progress:.2f}, factor {case.ratio ** (1 - progress):.2g}"


def draw(results: dict[Case, list[Measured]], file: Path) -> None:
    """Draw the first seed's shares: layers from the input (bottom) to the output, over the steps."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams |= {"svg.hashsalt": "lerac", "font.size": 8}  # the same file every time
    rows = list(
        dict.fromkeys((c.network, c.optimizer, c.dtype) for c, runs in results.items() if runs[0].lost_at is None)
    )
    figure = Figure(figsize=(9, 1.15 * len(rows) + 0.6), layout="constrained")
    grid = figure.subplots(len(rows), len(RATIOS), squeeze=False, sharex=True)
    for (at, what), (column, ratio) in product(enumerate(rows), enumerate(RATIOS)):
        axes, measured = grid[at, column], results[Case(*what, ratio)][0]
        picture = axes.imshow(
            measured.shares.T, vmin=0, vmax=1, aspect="auto", origin="lower", cmap="cividis", interpolation="nearest"
        )
        axes.set_yticks([0, len(measured.layers) - 1], ["input", "output"] if column == 0 else ["", ""])
        axes.set_xticks([0, K - 1], ["0", "k"])
        if at == 0:
            axes.set_title("conventional" if ratio == 1 else f"ratio {ratio:g}")
        if column == 0:
            axes.set_ylabel("\n".join(what))
    figure.supxlabel("optimizer step")
    figure.colorbar(picture, ax=grid, label="share of weights that the step leaves bitwise unchanged", aspect=40)
    figure.savefig(file, metadata={"Date": None})


def write(results: dict[Case, list[Measured]], file: Path) -> None:
    """Write every layer's share at every step."""
    with file.open("w", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow([*Case._fields, "seed", "layer", "step", "unchanged"])
        for case, runs in results.items():
            for seed, run in zip(SEEDS, runs, strict=True):
                for (at, layer), step in product(enumerate(run.layers), range(K)):
                    rows.writerow([*case, seed, layer, step, f"{run.shares[step, at]:.4f}"])


def by_layer(results: dict[Case, list[Measured]], case: Case) -> None:
    """Print a table of single layers, in steps 0, k/2 and k − 1, as means over the seeds."""
    one = results[case]
    print(f"\n{case.network}, {case.optimizer}, {case.dtype}, ratio {case.ratio:g}:\n")
    print("| layer | weights | step 0 | step k/2 | step k − 1 | whole curriculum |")
    print("|---|---|---|---|---|---|")
    for at, layer in enumerate(one[0].layers):
        means = [
            100 * statistics.mean(float(run.shares[step, at].mean()) for run in one)
            for step in (slice(0, 1), slice(K // 2, K // 2 + 1), slice(K - 1, K), slice(0, K))
        ]
        print(f"| `{layer}` | {int(one[0].sizes[at])} | {' | '.join(f'{mean:.1f}' for mean in means)} |")


def main() -> None:
    """Print the tables, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="where to write every layer's share at every step")
    parser.add_argument("--picture", type=Path, help="where to draw the first seed")
    parser.add_argument("--only", help="a single network")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*docs/effects.md")  # what it warns of is what is measured
    torch.set_num_threads(1)

    print(f"Measured on {machine(torch.device('cpu'))}; {len(SEEDS)} seeds, k = {K} steps.")
    print("Percent of weights that a step leaves bitwise unchanged: means over steps and seeds (range of the seeds).\n")
    print(
        "| network | optimizer | parameters | ratio | all layers | first layer | last layer | last layer, step 0 "
        "| most of the last layer moves from … · k on |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    results: dict[Case, list[Measured]] = {}
    for what in product(NETWORKS, OPTIMIZERS, DTYPES, RATIOS):
        case = Case(*what)
        if options.only in (None, case.network):
            results[case] = [measure(case, seed) for seed in SEEDS]
            print(row(case, results[case]), flush=True)
    for case in results:
        if case.optimizer == "SGD" and case.ratio == 1e-6 and case.dtype != "float16":
            by_layer(results, case)
    if options.csv:
        write(results, options.csv)
    if options.picture:
        draw(results, options.picture)


if __name__ == "__main__":
    main()
