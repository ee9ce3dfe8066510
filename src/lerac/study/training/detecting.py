"""How detectors are trained and judged: Ultralytics' loss, and mean average precision."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lerac.study.data.boxes.detection import DetectionSplit, Objects
from lerac.study.data.splits import Split
from lerac.study.models.yolo import Detector
from lerac.study.training.average_precision import mean_average_precision
from lerac.study.training.measured import Measured

__all__ = ["Detection"]


class Detection:
    """Ultralytics' loss, non-maximum suppression and mean average precision; labels are those of `DetectionSplit`."""

    together = 1  # images are large, and so is what comes before suppression

    def loss(self, network: nn.Module, outputs: Any, labels: Tensor) -> Tensor:
        """Give Ultralytics' loss over the number of images: the number that Ultralytics shows, not what it trains."""
        image, row = (labels[..., 0] >= 0).nonzero(as_tuple=True)
        objects = labels[image, row]
        targets = {"batch_idx": image.float(), "cls": objects[:, :1], "bboxes": objects[:, 1:]}
        return cast(Detector, network).loss(outputs, targets) / len(labels)

    def total_score(self, outputs: Any, labels: Tensor) -> None:
        """Give None: average precision is no sum over images."""

    def measure(self, network: nn.Module, batches: Iterable[tuple[Any, Tensor]], split: Split) -> Measured:
        """Measure on a whole split; keeps detections and true objects, in pixels of the image itself.

        What is kept is flat, images in the order of the split: `boxes` (d, 4) edges from the left upper corner,
        `scores` (d,) and `classes` (d,) of all detections, and `counts` (n,), how many of them each image has; and
        likewise `true_boxes`, `true_classes`, `true_difficult` and `true_counts`.
        """
        pictures, total = cast(DetectionSplit, split), 0.0
        found: list[Tensor] = []
        for outputs, labels in batches:
            total += self.loss(network, outputs, labels).item() * len(labels)
            for detections in cast(Detector, network).detections(outputs):
                there = detections.float().cpu()
                found.append(torch.cat([pictures.back(len(found), there[:, :4]), there[:, 4:]], dim=1))
        precisions = mean_average_precision(found, pictures.labels)
        others = {"map50-95": float(precisions.mean())}
        return Measured(total / len(split), float(precisions[0]), _kept(found, pictures.labels), others)


def _kept(found: Sequence[Tensor], truth: Sequence[Objects]) -> dict[str, Tensor]:
    every = torch.cat(list(found))
    return {
        "boxes": every[:, :4],
        "scores": every[:, 4],
        "classes": every[:, 5].long(),
        "counts": torch.tensor([len(detections) for detections in found]),
        "true_boxes": torch.cat([objects.boxes for objects in truth]),
        "true_classes": torch.cat([objects.labels for objects in truth]),
        "true_difficult": torch.cat([objects.difficult for objects in truth]),
        "true_counts": torch.tensor([len(objects.labels) for objects in truth]),
    }
