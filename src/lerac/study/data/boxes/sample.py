"""A sample of VOC: generated images with rectangles and ellipses, in exactly the official layout."""

from pathlib import Path

import numpy as np
from PIL import Image

from lerac.regimes.drawing import derive
from lerac.study.data.boxes.voc import CLASSES, FOLDER, NAME
from lerac.study.data.pictures.shapes import draw_shape, jpeg
from lerac.study.data.places import mark_sample, new_folder

__all__ = ["sample_voc"]

WIDTH, HEIGHT = 160, 120
Box = tuple[int, int, int, int]


def sample_voc(root: Path) -> None:
    """Write 40 images of trainval of each year, half of them train and half val, and 40 of test 2007.

    Raises:
        StudyError: if the folder exists.
    """
    folder, generator = new_folder(root, FOLDER), np.random.default_rng(derive(0, "sample", NAME))
    old = [f"{number:06}" for number in range(1, 81)]
    new = [f"2008_{number:06}" for number in range(1, 41)]
    lists = {
        "VOC2007": {"train": old[:40:2], "val": old[1:40:2], "trainval": old[:40], "test": old[40:]},
        "VOC2012": {"train": new[::2], "val": new[1::2], "trainval": new},
    }
    for year, ids in (("VOC2007", old), ("VOC2012", new)):
        for kind in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (folder / year / kind).mkdir(parents=True)
        classes = [_write_example(folder / year, i, number, generator) for number, i in enumerate(ids)]
        present = dict(zip(ids, classes, strict=True))
        for part, members in lists[year].items():
            main = folder / year / "ImageSets" / "Main"
            (main / f"{part}.txt").write_text("".join(f"{i}\n" for i in members), encoding="utf-8")
            for label, name in enumerate(CLASSES):
                lines = (f"{i} {1 if label in present[i] else -1:2}\n" for i in members)
                (main / f"{name}_{part}.txt").write_text("".join(lines), encoding="utf-8")
    mark_sample(folder, NAME, {"2007 trainval": 40, "2012 trainval": 40, "2007 test": 40})


def _write_example(folder: Path, name: str, number: int, generator: np.random.Generator) -> set[int]:
    noise = generator.integers(96, 160, size=(HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    objects = []
    for at in range(2):  # one in each half, so that none hides another
        width, height = (int(generator.integers(24, 64)) for _ in range(2))
        left = at * WIDTH // 2 + int(generator.integers(0, WIDTH // 2 - width + 1))
        upper = int(generator.integers(0, HEIGHT - height + 1))
        label, difficult = (number + 7 * at) % len(CLASSES), at == 1 and number % 8 == 3
        draw_shape(image, label, (left, upper, left + width, upper + height))
        objects.append((label, difficult, (left + 1, upper + 1, left + width, upper + height)))
    (folder / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg(image))
    (folder / "Annotations" / f"{name}.xml").write_text(_xml(folder.name, name, objects), encoding="utf-8")
    return {label for label, _, _ in objects}


def _xml(year: str, name: str, objects: list[tuple[int, bool, Box]]) -> str:
    found = "".join(
        f"<object><name>{CLASSES[label]}</name><pose>Unspecified</pose><truncated>0</truncated>"
        f"<difficult>{int(difficult)}</difficult><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
        f"<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for label, difficult, box in objects
    )
    return (
        f"<annotation><folder>{year}</folder><filename>{name}.jpg</filename><size><width>{WIDTH}</width>"
        f"<height>{HEIGHT}</height><depth>3</depth></size><segmented>0</segmented>{found}</annotation>\n"
    )
