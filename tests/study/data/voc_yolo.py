"""VOC as Ultralytics reads it: images by link, a text file of boxes for each, and `data.yaml`.

A line of a label file is `class x y width height`, centre and size as shares of the image. Difficult objects are left
out, as in the conversion that Ultralytics publishes with its VOC.yaml; so when Ultralytics measures, finding one counts
as wrong, and VOC's own rule (neither right nor wrong) needs the flags of `Objects`.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from lerac.study.data.boxes.detection import DetectionSplit, Objects
from lerac.study.data.boxes.voc import CLASSES
from lerac.study.data.splits import Splits

__all__ = ["write_yolo"]


def write_yolo(data: Splits, cache: Path) -> Path:
    """Write the splits for Ultralytics, unless the very same ones are there already.

    Args:
        data: of VOC.
        cache: folder that gets a folder `voc-<hash>`, named by what is in the splits and where the images are.

    Returns:
        The path of its `data.yaml`, with the parts `train`, `val` and `test`.
    """
    parts = {"train": data.train, "val": data.validation, "test": data.test}
    lines = {
        part: [(split.path(i), yolo_lines(split.labels[i])) for i in range(len(split))]
        for part, split in parts.items()
        if isinstance(split, DetectionSplit)
    }
    digest = hashlib.sha256(repr(lines).encode()).hexdigest()[:10]
    folder = cache.resolve() / f"voc-{digest}"
    if folder.is_dir():  # it got its name when it was complete
        return folder / "data.yaml"
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=cache))
    try:
        for part, examples in lines.items():
            for kind in ("images", "labels"):
                (unfinished / kind / part).mkdir(parents=True)
            for image, text in examples:
                (unfinished / "images" / part / image.name).symlink_to(image.absolute())
                (unfinished / "labels" / part / f"{image.stem}.txt").write_text(text, encoding="utf-8")
        (unfinished / "data.yaml").write_text(_yaml(folder), encoding="utf-8")
        os.chmod(unfinished, 0o755)  # noqa: PTH101 - mkdtemp's is for the owner alone
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # nobody else made it meanwhile
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder / "data.yaml"


def yolo_lines(objects: Objects) -> str:
    """Give the label file of an image: one line per object that is not difficult."""
    width, height = objects.size
    lines = []
    for (left, upper, right, lower), label, difficult in zip(
        objects.boxes.tolist(), objects.labels.tolist(), objects.difficult.tolist(), strict=True
    ):
        if not difficult:
            shares = (
                (left + right) / 2 / width,
                (upper + lower) / 2 / height,
                (right - left) / width,
                (lower - upper) / height,
            )
            lines.append(f"{label} {' '.join(f'{share:.8f}' for share in shares)}\n")
    return "".join(lines)


def _yaml(folder: Path) -> str:
    names = "".join(f"  {label}: {name}\n" for label, name in enumerate(CLASSES))
    return f"path: {folder}\ntrain: images/train\nval: images/val\ntest: images/test\nnames:\n{names}"
