"""Mean average precision of detections.

A detection is right, wrong or ignored as the development kit of PASCAL VOC has it (Everingham et al., IJCV 2010,
section 4.2): by falling score, each detection looks at the object of its class on its image that it overlaps most,
measured by intersection over union. Below the threshold it is wrong; else ignored if that object is difficult, right if
it is the first that finds it, wrong if a better one has found it already. Difficult objects need not be found.

The average precision of a class is COCO's: the mean, over the recalls 0, 0.01, …, 1, of the highest precision at that
recall or a higher one, 0 where it is not reached. (Ultralytics integrates the same curve by trapezoids and drops to 0
at recall 1, so that it gives 0.995 to detections without fault.) The mean is over the classes that have an object that
is not difficult, as both do.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lerac.study.data.boxes.detection import Objects

__all__ = ["OVERLAPS", "mean_average_precision"]

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)

Array = NDArray[Any]


def mean_average_precision(found: Sequence[Tensor], truth: Sequence[Objects]) -> Array:
    """Give the mean average precision at each least overlap of `OVERLAPS`: 0.5, 0.55, …, 0.95.

    Args:
        found: per image its detections (k, 6): four edges in pixels, score, class.
        truth: per image what is on it.

    Returns:
        (10,) float64, in [0, 1]. The first is mAP@0.5, their mean is mAP@0.5:0.95.

    Raises:
        ValueError: if there are not as many images in both, or no object that is not difficult.
    """
    if len(found) != len(truth):
        raise ValueError(f"as many images with detections as with objects expected, got {len(found)} and {len(truth)}")
    labels, difficult = (np.concatenate([getattr(o, name) for o in truth]) for name in ("labels", "difficult"))
    classes, positives = np.unique(labels[~difficult], return_counts=True)
    if not len(classes):
        raise ValueError(f"an object that is not difficult expected, none is on the {len(truth)} images")
    scores, kinds, overlap, nearest = _matches(found, truth)
    each = []
    for kind, count in zip(classes, positives, strict=True):
        order = np.flatnonzero(kinds == kind)
        order = order[np.argsort(-scores[order], kind="stable")]
        each.append([_average(overlap[order] >= least, nearest[order], difficult, count) for least in OVERLAPS])
    means: Array = np.array(each).mean(axis=0)
    return means


def _matches(found: Sequence[Tensor], truth: Sequence[Objects]) -> tuple[Array, Array, Array, Array]:
    """Give score and class of every detection, and the largest overlap with an object of its class and its number."""
    from torchvision.ops import box_iou  # takes long to load

    rows, first = [], 0
    for detections, objects in zip(found, truth, strict=True):
        at = detections.double()
        overlap, nearest = at.new_zeros(len(at)), at.new_zeros(len(at))
        if len(at) and len(objects.labels):
            shared = box_iou(at[:, :4], objects.boxes.double())
            overlap, nearest = shared.where(at[:, 5:] == objects.labels, 0.0).max(dim=1)
        rows.append(np.stack([at[:, 4], at[:, 5], overlap, nearest + first], axis=1))
        first += len(objects.labels)
    scores, kinds, overlaps, numbers = np.concatenate(rows).T
    return scores, kinds, overlaps, numbers.astype(np.int64)


def _average(reached: Array, nearest: Array, difficult: Array, positives: int) -> float:
    """Give the average precision of a class at one threshold.

    Args:
        reached: (k,) bool, by falling score: whether a detection overlaps its object enough.
        nearest: (k,) int64, the number of its object.
        difficult: of all objects.
        positives: objects of the class that are not difficult.
    """
    ignored = np.zeros(len(reached), dtype=bool)
    ignored[reached] = difficult[nearest[reached]]
    hits = np.flatnonzero(reached & ~ignored)
    right = np.zeros(len(reached), dtype=bool)
    right[hits[np.unique(nearest[hits], return_index=True)[1]]] = True
    found = np.cumsum(right[~ignored])
    precision = found / np.arange(1, len(found) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(found / positives, RECALLS)].mean())
