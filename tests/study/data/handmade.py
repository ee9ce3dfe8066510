"""Files of the official layouts, written by hand from their descriptions, not by `lerac data sample`."""

import gzip
import io
import json
import pickle
import struct
from pathlib import Path

import numpy as np
from PIL import Image


def mark(folder: Path, name: str, **counts: int) -> None:
    """What lets a data set of another size load."""
    (folder / "lerac-sample.json").write_text(json.dumps({"sample_of": name, "made_by": "a test", "counts": counts}))


def picture(path: Path, colour=(200, 100, 50), size=(64, 64), mode="RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, colour).convert(mode)
    image.save(path, "JPEG", quality=95)
    return path


def encoded(colour, size=(64, 64), form="PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, form)
    return file.getvalue()


def truncate(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return path


def cifar10(root: Path, each: int = 4, test: int = 10) -> tuple[np.ndarray, list[int]]:
    """Five batches of `each` and a test batch; gives the training pixels and labels in file order."""
    folder, random = root / "cifar-10-batches-py", np.random.default_rng(5)
    folder.mkdir(parents=True)
    pixels, labels = [], []
    for i in range(1, 6):
        data = random.integers(0, 256, (each, 3072), dtype=np.uint8)
        batch = [(i * each + j) % 10 for j in range(each)]
        content = {b"batch_label": b"x", b"labels": batch, b"data": data, b"filenames": [b"f"] * each}
        (folder / f"data_batch_{i}").write_bytes(pickle.dumps(content, protocol=2))
        pixels.append(data)
        labels += batch
    data = random.integers(0, 256, (test, 3072), dtype=np.uint8)
    content = {b"labels": [j % 10 for j in range(test)], b"data": data}
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    meta = {"label_names": [f"name{i}" for i in range(10)], "num_cases_per_batch": each}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    mark(folder, "cifar10", train=5 * each, test=test)
    return np.concatenate(pixels), labels


def idx(values: np.ndarray) -> bytes:
    """What an IDX file of bytes has in it: two zeros, type 8, dimensions, sizes, values."""
    return b"\0\0\x08" + bytes([values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.tobytes()


def fashion_mnist(folder: Path, *, packed: bool = True, train: int = 20, test: int = 10) -> dict[str, np.ndarray]:
    """The four files; gives what is in them by name."""
    random, written = np.random.default_rng(5), {}
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, count in (("train", train), ("t10k", test)):
        written[f"{prefix}-images-idx3-ubyte"] = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        written[f"{prefix}-labels-idx1-ubyte"] = (np.arange(count) % 10).astype(np.uint8)
    for name, values in written.items():
        path, content = folder / name, idx(values)
        (path.with_name(f"{name}.gz") if packed else path).write_bytes(gzip.compress(content) if packed else content)
    mark(folder, "fashion-mnist", train=train, test=test)
    return written


def python2_batch(data: np.ndarray, labels: list[int]) -> bytes:
    """A batch file as Python 2 and an old NumPy pickled it, opcode by opcode."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    def items(*values: bytes, end: bytes) -> bytes:
        return b"(" + b"".join(values) + end

    none, false = b"N", b"\x89"
    kind = b"cnumpy\ndtype\n" + items(text(b"u1"), number(0), number(1), end=b"t") + b"R"
    kind += items(number(3), text(b"|"), none, none, none, number(-1), number(-1), number(0), end=b"t") + b"b"
    array = b"cnumpy.core.multiarray\n_reconstruct\n"
    array += items(b"cnumpy\nndarray\n", items(number(0), end=b"t"), text(b"b"), end=b"t") + b"R"
    shape = items(*map(number, data.shape), end=b"t")
    array += items(number(1), shape, kind, false, text(data.tobytes()), end=b"t") + b"b"
    pairs = items(text(b"data"), array, text(b"labels"), b"]" + items(*map(number, labels), end=b"e"), end=b"u")
    return b"\x80\x02}" + pairs + b"."


def tiny_imagenet(root: Path) -> tuple[Path, list[str]]:
    """Two training images and one validation image per class, one class grey; wnids.txt is not sorted."""
    folder = root / "tiny-imagenet-200"
    wnids = [f"n{11 * i:08}" for i in range(200)]
    for label, wnid in enumerate(wnids):
        for i in range(2):
            picture(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", (label, 255 - label, 0),
                    mode="L" if label == 3 else "RGB")  # fmt: skip
        picture(folder / "val" / "images" / f"val_{199 - label}.JPEG", (label, 255 - label, 255))
    lines = [f"val_{199 - label}.JPEG\t{wnid}\t0\t32\t44\t62\n" for label, wnid in enumerate(wnids)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(reversed(wnids)))
    (folder / "words.txt").write_text("".join(f"{wnid}\tthing\n" for wnid in wnids))
    mark(folder, "tiny-imagenet", train=400, val=200)
    return folder, wnids


def imagenet(root: Path) -> tuple[Path, list[str]]:
    """A thousand classes of which 200 have images; one validation image of each 200 and three of others."""
    folder = root / "ILSVRC"
    wnids = [f"n{11 * i:08}" for i in range(1000)]
    data, notes = folder / "Data" / "CLS-LOC", folder / "Annotations" / "CLS-LOC" / "val"
    notes.mkdir(parents=True)
    for label, wnid in enumerate(wnids):
        (data / "train" / wnid).mkdir(parents=True)
        if label < 200:
            picture(data / "train" / wnid / f"{wnid}_1.JPEG", (label, 0, 0), (50, 40), "CMYK" if label == 9 else "RGB")
    for i, label in enumerate([999, 500, 200, *range(200)], start=1):
        stem = f"ILSVRC2012_val_{i:08}"
        picture(data / "val" / f"{stem}.JPEG", (label % 200, 99, 0), (60, 30), "L" if i == 5 else "RGB")
        thing = f"<object><name>{wnids[label]}</name></object>"
        (notes / f"{stem}.xml").write_text(f"<annotation><filename>{stem}</filename>{thing}{thing}</annotation>")
    mark(folder, "imagenet200", train=200, val=200)
    return folder, wnids


def food(root: Path) -> tuple[Path, list[str]]:
    """Two training images and one test image per class, not square; classes.txt is not sorted."""
    folder, names = root / "food-101", [f"{'abc'[i % 3]}_dish_{i}" for i in range(101)]
    lists = {"train": {}, "test": {}}
    for i, name in enumerate(names):
        for number in range(3):
            part = "test" if number == 1 else "train"
            lists[part].setdefault(name, []).append(f"{name}/{1000 * i + number}")
            picture(folder / "images" / name / f"{1000 * i + number}.jpg", (2 * i, 100, number), (90, 70))
    (folder / "meta").mkdir()
    for part, by_name in lists.items():
        (folder / "meta" / f"{part}.json").write_text(json.dumps(by_name))
        (folder / "meta" / f"{part}.txt").write_text("\n".join(x for xs in by_name.values() for x in xs) + "\n")
    (folder / "meta" / "classes.txt").write_text("\n".join(names) + "\n")
    (folder / "meta" / "labels.txt").write_text("\n".join(names) + "\n")
    mark(folder, "food101", train=202, test=101)
    return folder, sorted(names)


FACES = {
    "0_1_2_20170109150557335.jpg.chip.jpg": (0, 1, 2),
    "116_0_4_20170112213500000.jpg.chip.jpg": (116, 0, 4),
    "39_1_20170116174525125.jpg.chip.jpg": (39, None, None),
    "61_3_20170109150557335.jpg.chip.jpg": (61, None, None),
    "53__0_20170116184028385.jpg": (53, None, 0),
    "24_0_1_20170116220224657 .jpg.chip.jpg": (24, 0, 1),
}


def faces(root: Path) -> Path:
    folder = root / "UTKFace"
    for name, (age, _, _) in FACES.items():
        picture(folder / name, (age, age, age), (200, 200))
    mark(folder, "utkface", all=len(FACES))
    return folder


def voc_note(size, *objects, extra="") -> str:
    things = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox><xmax>{box[2]}</xmax><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><ymax>{box[3]}</ymax></bndbox>{extra}</object>"
        for name, difficult, box in objects
    )
    sides = f"<width>{size[0]}</width><height>{size[1]}</height><depth>3</depth>"
    return f"<annotation><size>{sides}</size>{things}</annotation>"


PART = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"


def voc(root: Path) -> Path:
    """Two trainval images of 2007, two of 2012, and one test image; with difficult objects and parts of persons."""
    folder = root / "VOCdevkit"
    lists = {"VOC2007": {"trainval": ["000005", "000007"], "test": ["000001"]},
             "VOC2012": {"trainval": ["2008_000002", "2008_000003"]}}  # fmt: skip
    for year, parts in lists.items():
        for kind in ("Annotations", "ImageSets/Main"):
            (folder / year / kind).mkdir(parents=True)
        for part, names in parts.items():
            (folder / year / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{n}\n" for n in names))
            for name in names:
                picture(folder / year / "JPEGImages" / f"{name}.jpg", (9, 9, 9), (50, 40))
                things = (
                    ("chair", 0, (1, 1, 50, 40)),
                    ("person", 1, (11, 21, 11, 21)),
                    ("aeroplane", 0, (2.5, 3, 4, 5)),
                )
                note = voc_note((50, 40), *things, extra=PART)
                (folder / year / "Annotations" / f"{name}.xml").write_text(note)
    mark(folder, "voc", **{"2007 trainval": 2, "2012 trainval": 2, "2007 test": 1})
    return folder
