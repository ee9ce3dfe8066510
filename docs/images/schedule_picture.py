"""Draws the picture of the README: the learning rate of every layer, as `lerac.plot.schedule` shows any plan.

Run it again after a change of the curve or of the layers:

    python docs/images/schedule_picture.py
"""

import math
from pathlib import Path

import matplotlib as mpl
import torch

import lerac
from lerac import plot
from lerac.study.models import MODELS

K, STEPS, LR = 500, 1500, 0.1


def cosine(step: int) -> float:
    """The user's own schedule, which LeRaC multiplies."""
    return LR * 0.5 * (1 + math.cos(math.pi * step / STEPS))


def main() -> None:
    """Write schedule.svg beside this file."""
    mpl.rcParams |= {"svg.hashsalt": "lerac", "font.size": 9}  # the same file every time
    layers = lerac.find_layers(MODELS["small-cnn"](1, 10), torch.zeros(1, 1, 8, 8))
    figure = plot.schedule(layers, k=K, ratio=1e-6, lr=cosine, steps=STEPS)
    [axes] = figure.axes
    axes.axvline(K, color="0.6", linewidth=0.8, linestyle="--")
    axes.text(K + 15, LR * 1.6, "from step k on: training as usual", color="0.3", va="bottom")
    axes.text(20, LR * 1.6, "next to the input", color="0.3", va="bottom")
    axes.text(60, LR * 2e-7, "at the output", color="0.3", va="top")
    axes.set_ylim(LR * 2e-8, LR * 10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).with_name("schedule.svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
