"""YOLOv5 for object detection, of Ultralytics, which is under AGPL-3.0 and so in an extra of its own, `lerac[yolo]`.

Ultralytics builds the variant "YOLOv5u": the backbone and neck of YOLOv5 with a head without anchors and without an
objectness score (Jocher et al., ultralytics/ultralytics). lerac imports it only when this network is built.
"""

import contextlib
import math
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lerac.study.models.network import library
from lerac.study.models.options import YOLOOptions

__all__ = ["Detector", "yolov5"]


def yolov5(channels: int, classes: int, options: YOLOOptions) -> nn.Module:
    """Build YOLOv5u: 9,129,932 weights at scale s for 3 channels and 20 classes.

    Args:
        channels: of the images (batch, channels, height, width), each side a multiple of 32, values in [0, 1].
        classes: that objects may have.
        options: of the network.

    Raises:
        StudyError: if Ultralytics is not installed.
    """
    tasks = _library("ultralytics.nn.tasks")
    configuration = tasks.yaml_model_load(f"yolov5{options.scale}.yaml") | {"nc": classes}
    with torch.device("cpu"):  # it computes strides while it is built, which the meta device cannot
        model = tasks.DetectionModel(configuration, ch=channels, verbose=False)
    model.args = _library("ultralytics.cfg").get_cfg()  # weights of the parts of the loss
    return Detector(model)


class Detector(nn.Module):
    """A detection model of Ultralytics with its loss; layers and parameters keep its names in lerac."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Any:
        """Map images (batch, channels, height, width) to what Ultralytics' loss and its detections are made of.

        In training mode a dict of raw outputs, for `loss`. In evaluation mode a tuple whose first entry has the
        detections, (batch, 4 + classes, positions): boxes as centre and size in pixels, and scores in [0, 1].
        """
        return self.module(images)

    def loss(self, outputs: Any, targets: Mapping[str, Tensor]) -> Tensor:
        """Give the loss that Ultralytics trains: boxes, classes and edges, summed, times the number of images.

        Args:
            outputs: of `forward`, in either mode.
            targets: `batch_idx` (n,), the image of each object; `cls` (n, 1), its class from 0; `bboxes` (n, 4),
                centre and size in shares of the image, in [0, 1].
        """
        module: Any = self.module
        if getattr(module, "criterion", None) is None:
            with torch.inference_mode(False):  # what it holds is used in training, too, whoever asks first
                module.criterion = module.init_criterion()
        loss: Tensor = module.loss(dict(targets), outputs)[0].sum()
        return loss

    def detections(self, outputs: Any) -> list[Tensor]:
        """Give what is left after non-maximum suppression, with the settings that Ultralytics measures with.

        These are: scores above 0.001, every class of a position by itself, of two boxes of a class that overlap by
        more than 0.7 the better one, and the best 300 of an image. Only its limit of time is lifted, which would drop
        images.

        Args:
            outputs: of `forward` in evaluation mode.

        Returns:
            For each image (k, 6): left, upper, right and lower edge in pixels, score, and class from 0; best first.
        """
        _library("torchvision.ops")  # Ultralytics uses its suppression if it is loaded already
        suppress = _library("ultralytics.utils.nms").non_max_suppression
        found: list[Tensor] = suppress(
            outputs, conf_thres=0.001, iou_thres=0.7, multi_label=True, max_det=300, max_time_img=math.inf
        )
        return found


def _library(module: str) -> Any:
    with contextlib.redirect_stdout(sys.stderr):  # what it says when it is imported is no output of a command
        return library(module, "yolov5", "lerac[yolo]")
