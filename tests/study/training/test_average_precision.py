"""Mean average precision against cases counted by hand."""

import numpy as np
import pytest
import torch

from lerac.study.data.boxes.detection import Objects
from lerac.study.training.average_precision import OVERLAPS, mean_average_precision

pytest.importorskip("torchvision")
HALF = OVERLAPS.tolist().index(0.5)
BOXES = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]]


def image(*objects):
    """Objects, each (box, class) or (box, class, difficult)."""
    rows = [(box, label, *(difficult or [False])) for box, label, *difficult in objects]
    return Objects(
        torch.tensor([box for box, _, _ in rows], dtype=torch.float32).view(-1, 4),
        torch.tensor([label for _, label, _ in rows], dtype=torch.int64),
        torch.tensor([difficult for _, _, difficult in rows], dtype=torch.bool),
        (100, 100),
    )


def found(*detections):
    """Detections, each (box, score) or (box, score, class)."""
    rows = [[*box, score, *(kind or [0])] for box, score, *kind in detections]
    return torch.tensor(rows, dtype=torch.float32).view(-1, 6)


def shifted(box, by):
    return [box[0] + by, box[1], box[2] + by, box[3]]


def at_half(detections, objects):
    return mean_average_precision(detections, objects)[HALF]


def test_detections_without_fault_have_one_at_every_overlap():
    objects = [image((BOXES[0], 0), (BOXES[1], 3)), image((BOXES[2], 3))]
    perfect = [found((BOXES[0], 0.9), (BOXES[1], 0.8, 3)), found((BOXES[2], 0.1, 3))]
    assert mean_average_precision(perfect, objects).tolist() == [1.0] * 10
    assert mean_average_precision([found(), found()], objects).tolist() == [0.0] * 10


def test_the_precision_at_101_recalls_by_hand():
    """Four objects; by falling score right, wrong, right, right, wrong: precision 1, 1/2, 2/3, 3/4, 3/5.

    Recall 1/4 has precision 1; recalls 1/2 and 3/4 are reached with 3/4; all four are never found. So recalls 0 to 0.25
    (26 of 101) have 1, 0.26 to 0.75 (50) have 3/4, the others (25) 0.
    """
    objects = [image((BOXES[0], 0), (BOXES[1], 0)), image((BOXES[2], 0), (BOXES[3], 0))]
    detections = [
        found((BOXES[1], 0.7), (BOXES[0], 0.9), ([80, 80, 90, 90], 0.1)),
        found(([80, 80, 90, 90], 0.8), (BOXES[2], 0.6)),
    ]
    assert at_half(detections, objects) == pytest.approx((26 + 50 * 3 / 4) / 101)


def test_each_overlap_is_judged_by_itself():
    """Boxes of width 10 shifted by 2 share 8 of 12: right up to 0.65 and wrong from 0.7."""
    precisions = mean_average_precision([found((shifted(BOXES[0], 2), 0.9))], [image((BOXES[0], 0))])
    assert precisions.tolist() == [1.0] * 4 + [0.0] * 6
    exactly_half = found(([0, 0, 10, 5], 0.9))
    assert mean_average_precision([exactly_half], [image((BOXES[0], 0))]).tolist() == [1.0] + [0.0] * 9


def test_an_object_is_found_once_and_by_the_best():
    """The second one of the same object is wrong, so the other object comes at precision 2/3."""
    objects = [image((BOXES[0], 0), (BOXES[1], 0))]
    detections = [found((BOXES[0], 0.9), (shifted(BOXES[0], 1), 0.8), (BOXES[1], 0.7))]
    assert at_half(detections, objects) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_detection_looks_at_the_object_it_overlaps_most_only():
    """Though it also overlaps the other one by more than half, which nobody has found."""
    objects = [image((BOXES[0], 0), (shifted(BOXES[0], 2), 0))]
    detections = [found((BOXES[0], 0.9), (shifted(BOXES[0], 0.5), 0.8))]
    assert at_half(detections, objects) == pytest.approx(51 / 101)


def test_difficult_objects_are_neither_asked_for_nor_wrong():
    objects = [image((BOXES[0], 0), (BOXES[1], 0, True))]
    right = (BOXES[0], 0.5)
    assert at_half([found(right)], objects) == 1
    assert at_half([found(right, (BOXES[1], 0.9), (BOXES[1], 0.8))], objects) == 1  # ignored, however often
    # Found too loosely, it is nothing but a wrong one.
    assert at_half([found(right, (shifted(BOXES[1], 9), 0.9))], objects) == pytest.approx(1 / 2)
    # What is ignored at 0.5 is wrong at 0.7.
    both = mean_average_precision([found(right, (shifted(BOXES[1], 2), 0.9))], objects)
    assert both.tolist() == [1.0] * 4 + [0.5] * 6
    # A class that has difficult objects only is not in the mean.
    objects = [image((BOXES[0], 0), (BOXES[1], 7, True))]
    assert at_half([found(right, (BOXES[2], 0.9, 7))], objects) == 1


def test_classes_are_judged_apart_and_have_the_same_weight():
    objects = [image((BOXES[0], 0), (BOXES[1], 0), (BOXES[2], 1))]
    assert at_half([found((BOXES[0], 0.9, 0), (BOXES[1], 0.8, 0), (BOXES[2], 0.7, 0))], objects) == pytest.approx(1 / 2)
    assert at_half([found((BOXES[0], 0.9, 4))], objects) == 0  # a class that nothing has


def test_images_are_judged_apart_and_may_be_empty():
    objects = [image((BOXES[0], 0)), image()]
    assert at_half([found((BOXES[0], 0.5)), found()], objects) == 1
    assert at_half([found((BOXES[0], 0.5)), found((BOXES[0], 0.9))], objects) == pytest.approx(1 / 2)
    assert at_half([found(), found((BOXES[0], 0.9))], objects) == 0


def test_close_to_ultralytics_which_integrates_the_same_curve_by_trapezoids():
    metrics = pytest.importorskip("ultralytics.utils.metrics")
    generator = np.random.default_rng(0)
    objects, detections = [], []
    for _ in range(40):
        kinds = generator.integers(0, 3, size=4)
        objects.append(image(*((box, int(kind)) for box, kind in zip(BOXES, kinds, strict=True))))
        seen = [(shifted(box, float(generator.normal(0, 0.8))), float(generator.random()), int(kind))
                for box, kind in zip(BOXES, kinds, strict=True) if generator.random() < 0.8]  # fmt: skip
        wrong = [([0, 50, 10, 60], float(generator.random()), int(generator.integers(0, 3))) for _ in range(2)]
        detections.append(found(*seen, *wrong))
    right, scores, kinds = [], [], []
    for each, there in zip(detections, objects, strict=True):
        for row in each.double().tolist():  # no two objects overlap, so the one next to a detection is its only one
            away = min(
                (abs(row[0] - left) for left, upper in there.boxes[:, :2].tolist() if upper == row[1]), default=10
            )
            share = max(0, 10 - away) / (10 + away)
            right.append(share >= OVERLAPS)
            scores.append(row[4])
            kinds.append(row[5])
    theirs = metrics.ap_per_class(
        np.array(right), np.array(scores), np.array(kinds), torch.cat([there.labels for there in objects]).numpy()
    )[5]
    ours = mean_average_precision(detections, objects)
    assert 0.02 < ours[-1] < ours[0] < 0.9
    np.testing.assert_allclose(ours, theirs.mean(axis=0), atol=0.01)


def test_what_cannot_be_judged_is_an_error():
    with pytest.raises(ValueError, match="as many images with detections as with objects expected, got 2 and 1"):
        mean_average_precision([found(), found()], [image()])
    with pytest.raises(ValueError, match="an object that is not difficult expected, none is on the 1 images"):
        mean_average_precision([found()], [image((BOXES[0], 0, True))])
