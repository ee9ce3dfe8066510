"""Boxes stay on what they are around, whatever is done to an image; the same every time it is done again."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from lerac.study.data.boxes.detection import BoxAugmentations, DetectionSplit, Fit, Objects
from lerac.study.data.loading import load_batches
from lerac.study.data.pictures.images import FilePictures, drawing
from lerac.study.errors import StudyError

tv_tensors = pytest.importorskip("torchvision.tv_tensors")
LEFT, UPPER, RIGHT, LOWER = EDGES = (10, 20, 50, 44)


def make_split(folder, count=3, augment=None, size=64, width=100, height=60, seed=0, **options):
    """Dark images with one white object that fills its box, and one that is difficult."""
    boxes = torch.tensor([EDGES, (60, 10, 70, 20)], dtype=torch.float32)
    for i in range(count):
        pixels = np.zeros((height, width, 3), dtype=np.uint8)
        pixels[UPPER:LOWER, LEFT:RIGHT] = 255
        Image.fromarray(pixels).save(folder / f"{i}.png")
    objects = Objects(boxes, torch.tensor([4, 0]), torch.tensor([False, True]), (width, height))
    pictures = FilePictures(folder, [f"{i}.png" for i in range(count)])
    return DetectionSplit(pictures, [objects] * count, torch.arange(count), size, 5, augment, seed, **options)


def edges_of(rows, size):
    centre, extent = rows[:, 1:3], rows[:, 3:]
    return torch.cat([centre - extent / 2, centre + extent / 2], dim=1) * size


def white(image):
    """Edges of what is white in (3, size, size)."""
    rows, columns = (image.mean(dim=0) > 0.72).nonzero(as_tuple=True)  # between grey and white
    return [columns.min().item(), rows.min().item(), columns.max().item() + 1, rows.max().item() + 1]


def test_an_image_is_fitted_with_grey_around_it(tmp_path):
    split = make_split(tmp_path)
    images, labels = split.__getitems__([0, 2])
    assert (images.shape, images.dtype) == ((2, 3, 64, 64), torch.float32)
    assert (labels.shape, labels.dtype) == ((2, 1, 5), torch.float32)  # without the difficult one
    # 100×60 becomes 64×38, with 13 rows of grey above and below
    assert torch.allclose(images[0, :, [0, 12, 51, 63]], torch.tensor(114 / 255))
    assert (images[0, :, 13] == 0).all()
    assert (images[0, :, 50] == 0).all()
    assert labels[0, 0, 0] == 4
    x, y = 64 / 100, 38 / 60
    expected = [[LEFT * x, 13 + UPPER * y, RIGHT * x, 13 + LOWER * y]]
    torch.testing.assert_close(edges_of(labels[0], 64), torch.tensor(expected))
    assert white(images[0]) == pytest.approx(expected[0], abs=1)


@pytest.mark.parametrize(("image", "fit"), [((100, 60), (64, 38, 0, 13)), ((30, 60), (32, 64, 16, 0)),
                                            ((64, 64), (64, 64, 0, 0)), ((1000, 1), (64, 1, 0, 31))])  # fmt: skip
def test_boxes_come_back_to_the_image(image, fit):
    found = Fit.of(image, 64)
    assert (found.width, found.height, found.left, found.upper) == fit
    width, height = image
    boxes = torch.tensor([[0, 0, width, height], [width / 4, height / 4, width / 2, height]])
    scale = torch.tensor([found.width / width, found.height / height] * 2)
    there = boxes * scale + torch.tensor([found.left, found.upper] * 2)
    torch.testing.assert_close(found.back(there), boxes)
    assert found.back(torch.tensor([[-9.0, -9.0, 99.0, 99.0]])).tolist() == [[0, 0, width, height]]  # cut off
    assert found.back(torch.zeros(0, 4)).shape == (0, 4)


@pytest.mark.parametrize("augment", [{"flip": 1, "scale": 0}, {"flip": 0, "scale": 0.5}, {"flip": 0.5, "scale": 0.7}])
def test_boxes_follow_augmentation(tmp_path, augment):
    split = make_split(tmp_path, count=30, augment=BoxAugmentations.of(augment))
    images, labels = split.__getitems__(list(range(30)))
    widths = []
    for image, rows in zip(images, labels, strict=True):
        if rows[0, 0] < 0:
            assert augment["scale"] > 0  # cut off
            continue
        [box] = edges_of(rows, 64).tolist()
        assert min(box) >= 0
        assert max(box) <= 64
        assert white(image) == pytest.approx(box, abs=1.01)
        widths.append(box[2] - box[0])
    whole = 40 * 64 / 100
    assert len(widths) > 20
    if not augment["scale"]:
        x = 64 / 100
        torch.testing.assert_close(edges_of(labels[0], 64)[0, [0, 2]], torch.tensor([64 - RIGHT * x, 64 - LEFT * x]))
    else:
        assert min(widths) < 0.7 * whole
        assert max(widths) > 1.3 * whole


def test_a_sliver_of_an_object_is_not_learned(tmp_path):
    augment = BoxAugmentations(flip=0, scale=0.9)
    split = make_split(tmp_path, count=60, augment=augment)
    at_the_edge = torch.tensor([[0.0, 0, 12, 60]])
    split.labels = [Objects(at_the_edge, torch.tensor([4]), torch.tensor([False]), (100, 60))] * 60
    shares = []
    for i in range(60):
        with drawing(0, 0, i):
            whole = tv_tensors.BoundingBoxes(at_the_edge, format="XYXY", canvas_size=(60, 100))
            _, box, left = augment(tv_tensors.Image(torch.zeros(3, 60, 100, dtype=torch.uint8)), whole, 64)
        _, rows = split[i]
        assert (rows[:, 0] >= 0).sum() == (left >= 0.1).sum()
        assert 0 <= left <= 1.0001
        assert (left == 0) == (box[0, 2] == box[0, 0])
        shares.append(float(left))
    assert min(shares) == 0
    assert any(0 < share < 0.1 for share in shares)
    assert any(0.1 < share < 0.9 for share in shares)


def test_augmentation_depends_on_seed_epoch_and_example_alone(tmp_path):
    split = make_split(tmp_path, count=6, augment=BoxAugmentations())
    torch.manual_seed(1)
    state = torch.get_rng_state()
    images, labels = split.__getitems__([0, 1, 2, 3, 4, 5])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    other = pickle.loads(pickle.dumps(split))  # in a worker, or after a restart
    for i in (5, 0, 3):
        image, rows = other[i]
        assert torch.equal(image, images[i])
        assert torch.equal(rows, labels[i])
    assert len({tuple(map(tuple, rows.tolist())) for rows in labels}) > 3
    split.begin_epoch(1)
    assert not torch.equal(split.__getitems__([0, 1])[0], images[:2])
    split.begin_epoch(0)
    assert torch.equal(split.__getitems__([0, 1])[0], images[:2])
    assert not torch.equal(make_split(tmp_path, 6, BoxAugmentations(), seed=1).__getitems__([0, 1])[0], images[:2])


def test_workers_give_the_same_batches(tmp_path):
    split = make_split(tmp_path, count=4, augment=BoxAugmentations())
    here, there = (list(load_batches(split, [[3, 1], [0, 2]], workers)) for workers in (0, 1))
    for (images, labels), (same, alike) in zip(here, there, strict=True):
        assert torch.equal(images, same)
        assert torch.equal(labels, alike)


def test_images_with_more_and_with_no_objects_in_a_batch(tmp_path):
    split = make_split(tmp_path, count=3, augment=BoxAugmentations())
    one, _ = split.labels[0], None
    none = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool), one.size)
    two = Objects(one.boxes, one.labels, torch.tensor([False, False]), one.size)
    split = make_split(tmp_path, count=3)
    split.labels = [none, two, one]
    _, labels = split.__getitems__([0, 1, 2])
    assert labels[..., 0].tolist() == [[-1, -1], [4, 0], [4, -1]]
    assert split.__getitems__([0])[1].shape == (1, 0, 5)
    split.augment = BoxAugmentations()
    assert split.__getitems__([0])[1].shape == (1, 0, 5)


def test_what_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"data.size must be a multiple of 32, like 96, got 100"):
        make_split(tmp_path, size=100)
    with pytest.raises(StudyError, match=r"data.size must be a multiple of 32, like 32, got 20"):
        make_split(tmp_path, size=20)
    for label in (5, -1):
        wrong = Objects(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([label]), torch.tensor([False]), (100, 60))
        with pytest.raises(ValueError, match=rf"0.png: classes from 0 to 4 expected, got \[{label}\]"):
            DetectionSplit(FilePictures(tmp_path, ["0.png"]), [wrong], torch.tensor([0]), 64, 5)


@pytest.mark.parametrize(
    ("augment", "says"),
    [
        ({"flip": 1.5}, r"augment.flip must be in \[0, 1\], got 1.5"),
        ({"scale": 1}, r"augment.scale must be in \[0, 1\), got 1"),
        ({"scale": float("nan")}, "augment.scale must be finite, got nan"),
        ({"flip": True}, "augment.flip must be like 0.5, got True"),
        ({"mosaic": 1.0}, "augment.mosaic is unknown; there are flip, scale"),
    ],
)
def test_augmentations_are_checked(augment, says):
    with pytest.raises(StudyError, match=says):
        BoxAugmentations.of(augment)
