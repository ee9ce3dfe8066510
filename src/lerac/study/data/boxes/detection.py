"""Images with boxes: what is on them, how they are fitted into a square, and the batches that a detector reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lerac.study.data.pictures.images import FilePictures, drawing, to_bytes
from lerac.study.data.settings import BoxAugment
from lerac.study.data.splits import Streamed
from lerac.study.errors import StudyError

__all__ = ["STRIDE", "BoxAugmentations", "DetectionSplit", "Fit", "Objects"]

STRIDE = 32  # of the coarsest features of YOLO: both sides of an image are a multiple of it
GREY = 114  # around an image that does not fill the square, as in Ultralytics
LEAST = 0.1  # of its area must be left of an object for it to be learned, as in Ultralytics


@dataclass(frozen=True, eq=False)
class Objects:
    """What is on an image.

    Args:
        boxes: (m, 4) float32, left, upper, right and lower edge in pixels from the image's left upper corner.
        labels: (m,) int64, classes from 0.
        difficult: (m,) bool, objects that VOC's evaluation neither asks for nor counts as wrong.
        size: width and height of the image, in pixels.
    """

    boxes: Tensor
    labels: Tensor
    difficult: Tensor
    size: tuple[int, int]


class BoxAugmentations(BoxAugment):
    """What the values of `BoxAugment` do to images and boxes."""

    def __call__(self, image: Tensor, boxes: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Augment an image, drawing from torch's default generator.

        Args:
            image: torchvision's `Image`, (3, height, width) uint8.
            boxes: torchvision's `BoundingBoxes`, (m, 4), edges.
            size: of the square, in pixels.

        Returns:
            (3, size, size) uint8; (m, 4) edges in it; (m,) the share of each box's area that is left.
        """
        from torchvision.transforms import v2  # takes long to load

        if self.scale:
            image, boxes = v2.ScaleJitter((size, size), (1 - self.scale, 1 + self.scale))(image, boxes)
            whole = _areas(boxes)
            image, boxes = v2.RandomCrop(size, pad_if_needed=True, fill=GREY)(image, boxes)
            left = _areas(boxes) / whole
        else:
            image, boxes = _fitted(image, boxes, size)
            left = torch.ones(len(boxes))
        image, boxes = v2.RandomHorizontalFlip(self.flip)(image, boxes)
        return image, boxes, left


@dataclass(frozen=True)
class Fit:
    """How an image is fitted into a square: its longer side fills it, grey is on both sides of the shorter one.

    Args:
        width: of the image in the square, in pixels.
        height: of the image in the square, in pixels.
        left: pixels of grey to the left of it.
        upper: pixels of grey above it.
        image: width and height of the image itself, in pixels.
    """

    width: int
    height: int
    left: int
    upper: int
    image: tuple[int, int]

    @classmethod
    def of(cls, image: tuple[int, int], size: int) -> "Fit":
        """Fit an image of some width and height into a square."""
        width, height = (max(1, round(side * size / max(image))) for side in image)
        return cls(width, height, (size - width) // 2, (size - height) // 2, image)

    def back(self, boxes: Tensor) -> Tensor:
        """Give boxes (m, 4) of the square, edges, as pixels of the image, cut off at its borders."""
        width, height = self.image
        scale = boxes.new_tensor([width / self.width, height / self.height]).repeat(2)
        there = (boxes - boxes.new_tensor([self.left, self.upper]).repeat(2)) * scale
        return there.clamp(boxes.new_zeros(4), boxes.new_tensor([width, height]).repeat(2))


@dataclass(eq=False)
class DetectionSplit(Streamed):
    """Images with boxes, read when a batch is asked for.

    Args:
        pictures: all images of the data set.
        labels: one per example: what is on the image itself, difficult objects included.
        index: (n,) int64, positions in `pictures`.
        size: of the square that images are fitted into, in pixels.
        classes: how many there are.
        augment: None: fitted only.
        seed: of the augmentation.

    Raises:
        StudyError: if `size` is no multiple of 32.
        ValueError: if an object has no class of these.
    """

    pictures: FilePictures
    labels: Sequence[Objects]
    index: Tensor
    size: int
    classes: int
    augment: BoxAugmentations | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < STRIDE or self.size % STRIDE:
            near = max(STRIDE, self.size // STRIDE * STRIDE)
            raise StudyError(f"data.size must be a multiple of {STRIDE}, like {near}, got {self.size}")
        for i, objects in enumerate(self.labels):
            if ((objects.labels < 0) | (objects.labels >= self.classes)).any():
                found = objects.labels.tolist()
                raise ValueError(f"{self.path(i)}: classes from 0 to {self.classes - 1} expected, got {found}")

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Give a batch.

        Returns:
            Images (batch, 3, size, size) float32 in [0, 1], and objects (batch, most objects of an image, 5) float32:
            class, centre and size of the box in shares of the square; the class is −1 where an image has no more.
            Difficult objects are left out, as in the files that Ultralytics makes of VOC.
        """
        images, objects = zip(*(self._read(i) for i in indices), strict=True)
        padded = torch.nn.utils.rnn.pad_sequence(list(objects), batch_first=True, padding_value=-1.0)
        return torch.stack(images).float() / 255, padded

    def path(self, i: int) -> Path:
        """Say where an image is."""
        return Path(self.pictures.name(int(self.index[i])))

    def back(self, i: int, boxes: Tensor) -> Tensor:
        """Give boxes (m, 4) of the square that an image was fitted into, edges, as pixels of the image."""
        return Fit.of(self.labels[i].size, self.size).back(boxes)

    def _read(self, i: int) -> tuple[Tensor, Tensor]:
        from torchvision import tv_tensors

        objects, position = self.labels[i], int(self.index[i])
        picture = to_bytes(self.pictures.open(position))
        image = tv_tensors.Image(picture)
        wanted = ~objects.difficult
        edges = objects.boxes[wanted]
        boxes = tv_tensors.BoundingBoxes(edges, format="XYXY", canvas_size=tuple(picture.shape[1:]))
        if self.augment is None:
            image, boxes = _fitted(image, boxes, self.size)
            kept = torch.ones(len(boxes), dtype=torch.bool)
        else:
            with drawing(self.seed, self.epoch, position):
                image, boxes, left = self.augment(image, boxes, self.size)
            kept = left >= LEAST
        labels = objects.labels[wanted][kept]
        return image.as_subclass(Tensor), _rows(labels, boxes.as_subclass(Tensor)[kept] / self.size)


def _fitted(image: Tensor, boxes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Fit an image and its boxes into a square; arguments as for `BoxAugmentations`."""
    from torchvision.transforms.v2 import functional

    fit = Fit.of((image.shape[2], image.shape[1]), size)
    around = [fit.left, fit.upper, size - fit.left - fit.width, size - fit.upper - fit.height]
    image = functional.pad(functional.resize(image, [fit.height, fit.width]), around, fill=GREY)
    return image, functional.pad(functional.resize(boxes, [fit.height, fit.width]), around)


def _areas(boxes: Tensor) -> Tensor:
    left, upper, right, lower = boxes.as_subclass(Tensor).unbind(1)
    return (right - left) * (lower - upper)


def _rows(labels: Tensor, edges: Tensor) -> Tensor:
    centre, size = (edges[:, :2] + edges[:, 2:]) / 2, edges[:, 2:] - edges[:, :2]
    return torch.cat([labels.float()[:, None], centre, size], dim=1)
