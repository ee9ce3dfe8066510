"""Samples of the image data sets: few generated images in exactly the official layout, for tests and first steps."""

import gzip
import io
import json
import pickle
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lerac.regimes.drawing import derive
from lerac.study.data.pictures import fashion_mnist, food101, imagenet200, tiny_imagenet, utkface
from lerac.study.data.pictures.cifar import CIFAR10, CIFAR100, Cifar
from lerac.study.data.pictures.shapes import jpeg, shape_image
from lerac.study.data.places import mark_sample, new_folder

__all__ = [
    "sample_cifar10",
    "sample_cifar100",
    "sample_fashion_mnist",
    "sample_food101",
    "sample_imagenet200",
    "sample_tiny_imagenet",
    "sample_utkface",
]


def sample_cifar10(root: Path) -> None:
    """Write 200 training and 50 test images."""
    _sample_cifar(CIFAR10, root, train=200, test=50)


def sample_cifar100(root: Path) -> None:
    """Write 300 training and 100 test images."""
    _sample_cifar(CIFAR100, root, train=300, test=100)


def _sample_cifar(kind: Cifar, root: Path, *, train: int, test: int) -> None:
    folder, generator = new_folder(root, kind.folder), _generator(kind.name)
    each = train // len(kind.train)
    for i, file in enumerate(kind.train):
        note = f"training batch {i + 1} of {len(kind.train)}"
        _write_batch(folder / file, kind, range(i * each, (i + 1) * each), note, generator)
    _write_batch(folder / kind.test, kind, range(test), "testing batch 1 of 1", generator)
    names: dict[str, Any] = {kind.names: [f"class{label}" for label in range(kind.classes)]}
    if kind.classes == 10:
        names |= {"num_cases_per_batch": each, "num_vis": 3072}
        (folder / "readme.html").write_text("<p>A sample made by lerac data sample.</p>\n", encoding="utf-8")
    else:
        names["coarse_label_names"] = [f"superclass{label}" for label in range(20)]
    _write_pickle(folder / kind.meta, names)
    mark_sample(folder, kind.name, {"train": train, "test": test})


def sample_fashion_mnist(root: Path) -> None:
    """Write 200 training and 100 test images."""
    name, classes, size = fashion_mnist.NAME, fashion_mnist.CLASSES, fashion_mnist.SIZE
    folder, generator = new_folder(root, fashion_mnist.FOLDERS[0]), _generator(name)
    counts = {"train": 200, "test": 100}
    for part, count in counts.items():
        labels = [i % classes for i in range(count)]
        images = [shape_image(label, size, generator, grey=True).tobytes() for label in labels]
        prefix = folder / fashion_mnist.PREFIXES[part]
        _write_idx(f"{prefix}-images-idx3-ubyte.gz", (count, size, size), b"".join(images))
        _write_idx(f"{prefix}-labels-idx1-ubyte.gz", (count,), bytes(labels))
    mark_sample(folder, name, counts)


def sample_tiny_imagenet(root: Path) -> None:
    """Write 3 training images, 1 validation image and 1 unlabelled test image per class."""
    name, classes = tiny_imagenet.NAME, tiny_imagenet.CLASSES
    folder, generator = new_folder(root, tiny_imagenet.FOLDER), _generator(name)
    wnids = [f"n{90_000_000 + 37 * label}" for label in range(classes)]
    for label, wnid in enumerate(wnids):
        files = [f"{wnid}_{i}.JPEG" for i in range(3)]
        for file in files:
            _write_image(folder / "train" / wnid / "images" / file, label, 64, generator, grey=label % 20 == 7)
        _write_lines(folder / "train" / wnid / f"{wnid}_boxes.txt", (f"{file}\t0\t0\t63\t63" for file in files))
    order = generator.permutation(classes).tolist()
    for i, label in enumerate(order):
        _write_image(folder / "val" / "images" / f"val_{i}.JPEG", label, 64, generator)
        _write_image(folder / "test" / "images" / f"test_{i}.JPEG", label, 64, generator)
    lines = (f"val_{i}.JPEG\t{wnids[label]}\t0\t0\t63\t63" for i, label in enumerate(order))
    _write_lines(folder / "val" / "val_annotations.txt", lines)
    _write_lines(folder / "wnids.txt", (wnids[label] for label in order))
    _write_lines(folder / "words.txt", (f"{wnid}\tgenerated class {label}" for label, wnid in enumerate(wnids)))
    mark_sample(folder, name, {"train": 3 * classes, "val": classes})


def sample_imagenet200(root: Path) -> None:
    """Write 3 training images and 1 validation image of each of 200 classes."""
    name, classes = imagenet200.NAME, imagenet200.CLASSES
    folder, generator = new_folder(root, imagenet200.FOLDER), _generator(name)
    wnids = [f"n{90_000_000 + 37 * label}" for label in range(classes)]
    for label, wnid in enumerate(wnids):
        for i in range(3):
            _write_image(folder / "Data/CLS-LOC/train" / wnid / f"{wnid}_{i}.JPEG", label, 48, generator)
    for i, label in enumerate(generator.permutation(classes).tolist(), start=1):
        stem = f"ILSVRC2012_val_{i:08}"
        _write_image(folder / "Data/CLS-LOC/val" / f"{stem}.JPEG", label, 48, generator, grey=i % 20 == 7)
        annotation = (
            f"<annotation><folder>val</folder><filename>{stem}</filename><size><width>48</width><height>48</height>"
            f"<depth>3</depth></size><object><name>{wnids[label]}</name><bndbox><xmin>0</xmin><ymin>0</ymin>"
            f"<xmax>47</xmax><ymax>47</ymax></bndbox></object></annotation>"
        )
        _write_lines(folder / "Annotations/CLS-LOC/val" / f"{stem}.xml", [annotation])
    mark_sample(folder, name, {"train": 3 * classes, "val": classes})


def sample_food101(root: Path) -> None:
    """Write 3 training images and 1 test image per class."""
    name, classes = food101.NAME, food101.CLASSES
    folder, generator = new_folder(root, food101.FOLDER), _generator(name)
    names = [f"dish_{label:03}" for label in range(classes)]
    lists: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for label, dish in enumerate(names):
        stems = [f"{dish}/{int(number)}" for number in generator.choice(10**6, size=4, replace=False)]
        lists["train"][dish], lists["test"][dish] = stems[:3], stems[3:]
        for stem in stems:
            _write_image(folder / "images" / f"{stem}.jpg", label, 72, generator)
    for part, by_dish in lists.items():
        _write_lines(folder / "meta" / f"{part}.txt", (stem for stems in by_dish.values() for stem in stems))
        _write_lines(folder / "meta" / f"{part}.json", [json.dumps(by_dish)])
    _write_lines(folder / "meta" / "classes.txt", names)
    _write_lines(folder / "meta" / "labels.txt", (dish.replace("_", " ").capitalize() for dish in names))
    for file in ("README.txt", "license_agreement.txt"):
        _write_lines(folder / file, ["A sample made by lerac data sample."])
    mark_sample(folder, name, {"train": 3 * classes, "test": classes})


def sample_utkface(root: Path) -> None:
    """Write 240 images whose colour tells the age; two names lack a field, as a few of the real ones do."""
    folder, generator, count = new_folder(root, utkface.FOLDER), _generator(utkface.NAME), 240
    for i in range(count):
        age, gender, race = (int(generator.integers(low, high)) for low, high in ((0, 117), (0, 2), (0, 5)))
        fields = f"{age}_{gender}" if i < 2 else f"{age}_{gender}_{race}"
        image = shape_image(gender, 64, generator).point(lambda value, age=age: value * (age + 30) // 150)
        (folder / f"{fields}_20170101{i:09}.jpg.chip.jpg").write_bytes(jpeg(image))
    mark_sample(folder, utkface.NAME, {"all": count})


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(derive(0, "sample", name))


def _write_batch(path: Path, kind: Cifar, numbers: range, note: str, generator: np.random.Generator) -> None:
    labels = [number % kind.classes for number in numbers]
    images = [np.asarray(shape_image(label, 32, generator)).transpose(2, 0, 1).reshape(-1) for label in labels]
    batch = {
        "batch_label": note,
        kind.labels: labels,
        "data": np.stack(images),
        "filenames": [f"generated_{number:06}.png" for number in numbers],
    }
    if kind.classes == 100:
        batch["coarse_labels"] = [label // 5 for label in labels]
    _write_pickle(path, batch)


class _Python2(pickle._Pickler):
    """Writes text and bytes as Python 2 wrote its strings; other readers of CIFAR rely on it."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012 - as in the class above

    def save_string(self, value: "str | bytes") -> None:
        """Write a byte string, and remember that it was written."""
        content = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)  # type: ignore[attr-defined]
        self.memoize(value)  # type: ignore[attr-defined]

    dispatch[str] = dispatch[bytes] = save_string  # type: ignore[assignment]


def _write_pickle(path: Path, content: dict[str, Any]) -> None:
    file = io.BytesIO()
    _Python2(file, protocol=2).dump(content)
    path.write_bytes(file.getvalue())


def _write_idx(path: str, shape: tuple[int, ...], values: bytes) -> None:
    header = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)
    Path(path).write_bytes(gzip.compress(header + values, mtime=0))


def _write_image(path: Path, label: int, size: int, generator: np.random.Generator, *, grey: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(shape_image(label, size, generator, grey=grey)))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
