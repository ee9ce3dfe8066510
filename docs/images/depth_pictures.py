"""Draws the pictures of docs/depth.md: three small nets, their layers where the measured depths put them.

Every box is a layer; its column and its colour are the depth that `measure_depths` found, so a picture cannot
disagree with the code. Run it again after a change of either:

    python docs/images/depth_pictures.py
"""
# ruff: noqa: D102  (the docstring of a net says what its forward does)

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from lerac.depth import measure_depths

COLUMN, ROW, WIDTH, HEIGHT, LEFT, TOP = 96, 46, 76, 26, 62, 48  # pixels

Placed = list[tuple[str, int]]  # module and row; its column is measured
Arrows = list[tuple[str, str]]


class Residual(nn.Module):
    """A stem, two residual blocks and a head; `shortcut` projects the input of the second block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.conv1, self.conv2 = nn.Linear(4, 4), nn.Linear(4, 4)
        self.conv3, self.conv4, self.shortcut = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.conv2(self.conv1(x))
        x = self.shortcut(x) + self.conv4(self.conv3(x))
        out: Tensor = self.head(x)
        return out


class Towers(nn.Module):
    """An image tower and a shorter text tower, joined at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.image1, self.image2, self.image3, self.image4 = (nn.Linear(4, 4) for _ in range(4))
        self.text1, self.text2, self.text3 = (nn.Linear(4, 4) for _ in range(3))
        self.joint = nn.Linear(8, 2)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        image = self.image4(self.image3(self.image2(self.image1(image))))
        text = self.text3(self.text2(self.text1(text)))
        out: Tensor = self.joint(torch.cat([image, text], -1))
        return out


class UNet(nn.Module):
    """Three steps down, three up, each step up fed by the step down of its resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.down3 = (nn.Linear(4, 4) for _ in range(3))
        self.up1, self.up2, self.up3 = nn.Linear(8, 4), nn.Linear(8, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(one)
        up = self.up3(self.down3(two))
        up = self.up2(torch.cat([up, two], -1))
        up = self.up1(torch.cat([up, one], -1))
        out: Tensor = self.head(up)
        return out


def draw(
    model: nn.Module, inputs: list[Tensor], placed: Placed, arrows: Arrows, entries: list[str], skips: Arrows
) -> str:
    """An SVG with a column per depth."""
    layers = measure_depths(model, *inputs)
    depth = {name.partition(".")[0]: layer.depth for layer in layers for name in layer.parameters}
    at = {name: (LEFT + depth[name] * COLUMN, TOP + row * ROW) for name, row in placed}
    width = LEFT + len(layers) * COLUMN - (COLUMN - WIDTH) + 8
    height = TOP + (1 + max(row for _, row in placed)) * ROW - (ROW - HEIGHT) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" text-anchor="middle">',
        '<defs><marker id="tip" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" '
        'orient="auto"><path d="M0 0L6 3L0 6z" fill="#777"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for column in range(len(layers)):
        x = LEFT + column * COLUMN + WIDTH // 2
        parts.append(f'<text x="{x}" y="18" fill="#777">depth {column}</text>')
    for name in entries:
        x, y = at[name]
        parts.append(f'<text x="{LEFT - 36}" y="{y + HEIGHT // 2 + 4}" fill="#555">input</text>')
        parts.append(line(LEFT - 18, y + HEIGHT // 2, x, y + HEIGHT // 2))
    for source, target in arrows:
        (x1, y1), (x2, y2) = at[source], at[target]
        parts.append(line(x1 + WIDTH, y1 + HEIGHT // 2, x2, y2 + HEIGHT // 2))
    for source, target in skips:
        (x1, y1), (x2, _) = at[source], at[target]
        parts.append(arc(x1 + WIDTH - 8, x2 + 8, y1))
    for name, (x, y) in at.items():
        share = depth[name] / max(len(layers) - 1, 1)
        fill = f"hsl(210 {70 - 10 * share:.0f}% {92 - 34 * share:.0f}%)"
        parts.append(f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4" fill="{fill}" stroke="#345"/>')
        parts.append(f'<text x="{x + WIDTH // 2}" y="{y + HEIGHT // 2 + 4}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def arc(x1: int, x2: int, y: int) -> str:
    """An arrow over the heads of the boxes between."""
    path = f"M{x1} {y}C{x1 + 20} {y - 24} {x2 - 20} {y - 24} {x2} {y}"
    return f'<path d="{path}" stroke="#777" fill="none" marker-end="url(#tip)"/>'


def line(x1: int, y1: int, x2: int, y2: int) -> str:
    """An arrow."""
    return f'<path d="M{x1} {y1}L{x2} {y2}" stroke="#777" fill="none" marker-end="url(#tip)"/>'


def pictures() -> dict[str, str]:
    """The SVG of every picture, by file name."""
    x = torch.zeros(1, 4)
    residual = draw(
        Residual(),
        [x],
        [("stem", 0), ("conv1", 0), ("conv2", 0), ("conv3", 0), ("conv4", 0), ("shortcut", 1), ("head", 0)],
        [
            *pairwise(["stem", "conv1", "conv2", "conv3", "conv4", "head"]),
            ("conv2", "shortcut"),
            ("shortcut", "head"),
        ],
        ["stem"],
        [("stem", "conv3")],
    )
    towers = draw(
        Towers(),
        [x, x],
        [(f"image{i}", 0) for i in range(1, 5)] + [(f"text{i}", 1) for i in range(1, 4)] + [("joint", 0)],
        [
            *pairwise(["image1", "image2", "image3", "image4", "joint"]),
            *pairwise(["text1", "text2", "text3", "joint"]),
        ],
        ["image1", "text1"],
        [],
    )
    steps = ["down1", "down2", "down3", "up3", "up2", "up1", "head"]
    unet = draw(
        UNet(),
        [x],
        list(zip(steps, (0, 1, 2, 2, 1, 0, 0), strict=True)),
        [*pairwise(steps), ("down2", "up2"), ("down1", "up1")],
        ["down1"],
        [],
    )
    return {"depth-residual.svg": residual, "depth-towers.svg": towers, "depth-unet.svg": unet}


def main() -> None:
    """Write the pictures next to this file."""
    for name, svg in pictures().items():
        (Path(__file__).parent / name).write_text(svg)


if __name__ == "__main__":
    main()
