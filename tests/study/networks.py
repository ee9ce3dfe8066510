"""Networks of the study at sizes that train in a fraction of a second."""

import os
import tempfile

import pytest
import torch
from torch import Tensor, nn

from lerac.study.models import MODELS

# Ultralytics writes its settings into the user's home, and installs what it misses, unless told otherwise.
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="ultralytics-"))
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

CVT = {"widths": [8, 16, 24], "depths": [1, 2, 3], "heads": [1, 2, 3]}
BERT = {"layers": 2, "width": 16, "heads": 2, "mlp_width": 32, "positions": 24}
SMALL = {
    "bert-large": {**BERT, "pretrained": False},
    "cnn1d": {"width": 8},
    "cvt13": CVT,
    "cvt13-pretrained": {**CVT, "pretrained": False},
    "densenet121": {"blocks": [1, 1, 1, 1], "growth": 4},
    "gru": {"width": 8},
    "lenet": {},
    "linear": {},
    "lstm": {"embedding": 6, "width": 8, "hidden": 8},
    "mlp": {"width": 8},
    "resnet18": {"widths": [4, 8], "blocks": 1},
    "septr": {"bins": 16, "frames": 24, "width": 12, "depth": 2, "heads": 2, "head_width": 4, "mlp_width": 16},
    "small-cnn": {"widths": [4, 4]},
    "small-vit": {"width": 8, "depth": 2, "heads": 2},
    "wide-resnet50": {"blocks": [1, 1, 1, 1], "base_width": 2},
    "wrn52-2": {"depth": 10, "widening": 1},
}
SIGNAL = (1, 40)
SHAPES = {"cnn1d": SIGNAL, "densenet121": (1, 32, 40), "linear": SIGNAL, "mlp": SIGNAL, "septr": (1, 16, 24)}


def needed(name: str) -> None:
    """Skip a test of a network whose library is not installed."""
    if name == "yolov5":
        pytest.importorskip("ultralytics")


def make_small(name: str, classes: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return MODELS[name](small_channels(name), classes, **SMALL[name])


def small_channels(name: str) -> int:
    return 50 if MODELS[name].inputs == "text" else MODELS[name].example[0]


def small_batch(name: str, size: int = 4, length: int = 12) -> Tensor | dict[str, Tensor]:
    """Random inputs; texts without padding."""
    generator = torch.Generator().manual_seed(1)
    if MODELS[name].inputs == "text":
        ids = torch.randint(1, 50, (size, length), generator=generator)
        kinds = (torch.arange(length) >= length // 2).long().expand(size, -1)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": kinds}
    default = (*MODELS[name].example[:1], *(min(side, 32) for side in MODELS[name].example[1:]))
    return torch.rand(size, *SHAPES.get(name, default), generator=generator)
