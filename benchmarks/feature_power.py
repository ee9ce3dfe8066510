"""How much more power the features of a trained LeNet have than those of the untrained one: figures of docs/snr.md.

python benchmarks/feature_power.py
"""

import math

import torch
from torch import Tensor, nn

from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import load_recipe
from lerac.study.training.training import Training, build

SEEDS, IMAGES = [0, 1, 2], 100


def main() -> None:
    """Print a row per seed: of each layer, power after training over power before, in dB."""
    for run in Study(recipes=[load_recipe("lenet/digits")], regimes=["conventional"], seeds=SEEDS).recipe_runs():
        training = Training(run)
        while not training.over:
            training.run_epoch()
        data, untrained = build(run)
        images = data.test.example(IMAGES)
        before, after = power(untrained, images), power(training.network, images)
        print(run.seed, {name: round(10 * math.log10(after[name] / before[name]), 1) for name in before})


def power(network: nn.Module, images: object) -> dict[str, float]:
    """Give the mean square of what each layer with weights puts out, in evaluation mode."""
    found: dict[str, float] = {}

    def note(name: str) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            found[name] = output.square().mean().item()

        network.get_submodule(name).register_forward_hook(hook)

    for name, module in network.named_modules():
        if not list(module.children()) and list(module.parameters()):
            note(name)
    with torch.no_grad():
        network.eval()(images)
    return found


if __name__ == "__main__":
    main()
