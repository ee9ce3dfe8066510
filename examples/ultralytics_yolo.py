"""LeRaC in the trainer of Ultralytics: YOLOv8n finds bright squares in generated images.

Ultralytics is under AGPL-3.0; lerac itself contains none of it. Needs `pip install 'lerac[yolo]'`.

Run it: python examples/ultralytics_yolo.py
"""

import os
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp(prefix="lerac-yolo-"))
os.environ.setdefault("YOLO_CONFIG_DIR", str(folder))  # before the import: this example leaves your settings alone
os.environ.setdefault("YOLO_OFFLINE", "true")

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from ultralytics import YOLO  # noqa: E402

from lerac.integrations.ultralytics import attach  # noqa: E402

rng = np.random.default_rng(0)
for split, count in {"train": 48, "val": 8}.items():
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)
    for i in range(count):
        pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        x, y = rng.integers(0, 32, 2)
        pixels[y : y + 32, x : x + 32] = 255
        Image.fromarray(pixels).save(folder / "images" / split / f"{i}.png")
        (folder / "labels" / split / f"{i}.txt").write_text(f"0 {(x + 16) / 64} {(y + 16) / 64} 0.5 0.5\n")
(folder / "data.yaml").write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames: {{0: square}}\n")

model = YOLO("yolov8n.yaml")  # from scratch; of a pre-trained yolov8n.pt the curriculum is the same
attached = attach(model, epochs=2)  # <- the only line that is about LeRaC
model.add_callback("on_train_epoch_end", lambda trainer: print(attached.curriculum) if trainer.epoch == 0 else None)
model.train(
    data=folder / "data.yaml",
    epochs=3,
    imgsz=64,
    batch=8,
    nbs=8,
    device="cpu",
    deterministic=False,
    plots=False,
    project=str(folder),
    verbose=False,
)
print(f"after the curriculum: {attached.curriculum!r}")
