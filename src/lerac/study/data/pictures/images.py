"""Images: read, turned to RGB, resized and normalised; held as bytes where they are small, else read when needed."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from lerac.regimes.drawing import derive
from lerac.study.data.splits import Streamed
from lerac.study.errors import StudyError

__all__ = [
    "HALF",
    "IMAGENET",
    "FilePictures",
    "HubPictures",
    "Normalise",
    "Pictures",
    "Square",
    "StreamedImages",
    "decode",
    "drawing",
    "hold",
    "open_square",
    "to_bytes",
]

# Mean and standard deviation of each channel, of intensities in [0, 1].
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # official: data_handlers.py, all but ImageNet
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # official: data_handlers.py, ImageNet

# What the data sets consist of; a photograph of ImageNet is PNG inside. Pillow reads fifty more, whatever a file is
# called, and has Ghostscript, a program with a language of its own, draw some of them.
FORMATS = ("JPEG", "PNG")

# A damaged header can announce a size that Pillow refuses to allocate. An ImportError comes where Ultralytics has been
# imported: its Image.open then asks for a reader of other formats.
UNREADABLE = (UnidentifiedImageError, ImportError, Image.DecompressionBombError)


class Pictures(Protocol):
    """Images that can be opened, one after the other or from several processes."""

    def __len__(self) -> int:
        """Count them."""

    def open(self, i: int) -> Image.Image:
        """Decode an image to RGB.

        Raises:
            StudyError: if it is missing or damaged; names the file.
        """

    def name(self, i: int) -> str:
        """Say which it is, for messages."""

    def key(self, i: int) -> str:
        """Say which it is on every machine: decides the validation split."""


@dataclass(frozen=True)
class FilePictures:
    """Image files.

    Args:
        folder: of the data set.
        names: paths below it, with slashes.
    """

    folder: Path
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def open(self, i: int) -> Image.Image:
        """Decode an image to RGB."""
        return decode(self.folder / self.names[i], self.name(i))

    def name(self, i: int) -> str:
        """Give the whole path."""
        return str(self.folder / self.names[i])

    def key(self, i: int) -> str:
        """Give the path below the folder."""
        return self.names[i]


@dataclass(frozen=True)
class HubPictures:
    """Images in a column of a table.

    Args:
        table: of `lerac.study.data.hub.hub_table`.
        column: with the encoded images.
        folder: where the files are.
        part: of the data set.
    """

    table: Any
    column: str
    folder: Path
    part: str

    def __len__(self) -> int:
        return len(self.table)

    def open(self, i: int) -> Image.Image:
        """Decode an image to RGB."""
        cell = self.table[i][self.column]
        if not isinstance(cell, dict) or not isinstance(cell.get("bytes"), bytes):
            raise StudyError(f"{self.name(i)}: {self.column!r} has no bytes of an image; download the files again")
        return decode(cell["bytes"], self.name(i))

    def name(self, i: int) -> str:
        """Give folder, part and row."""
        return f"{self.folder}: {self.key(i)}"

    def key(self, i: int) -> str:
        """Give part and row."""
        return f"{self.part} row {i}"


def decode(source: Path | bytes, name: str) -> Image.Image:
    """Decode an image to RGB; grey ones get three equal channels.

    Raises:
        StudyError: if it is missing, truncated or no image of `FORMATS`; names it.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise StudyError(f"{name}: this image is missing; unpack the data set again") from None
    except (*UNREADABLE, OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        reason = "no image, or a damaged one" if isinstance(error, UNREADABLE) else str(error) or type(error).__name__
        raise StudyError(f"{name}: cannot be read as an image ({reason}); unpack the data set again") from None


def to_bytes(image: Image.Image) -> Tensor:
    """Give an image as (3, height, width) uint8."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def hold(pictures: Pictures, size: int, positions: Sequence[int] | None = None) -> Tensor:
    """Read images into memory, all or those at some positions, as (n, 3, size, size) uint8.

    Raises:
        StudyError: if one cannot be read, or has another size.
    """
    positions = range(len(pictures)) if positions is None else positions
    held = torch.empty(len(positions), 3, size, size, dtype=torch.uint8)
    for row, i in enumerate(positions):
        held[row] = to_bytes(open_square(pictures, i, size))
    return held


def open_square(pictures: Pictures, i: int, size: int) -> Image.Image:
    """Decode an image that must have `size` × `size` pixels.

    Raises:
        StudyError: if it cannot be read, or has another size.
    """
    image = pictures.open(i)
    if image.size != (size, size):
        width, height = image.size
        raise StudyError(f"{pictures.name(i)}: {size}×{size} pixels expected, found {width}×{height}")
    return image


@dataclass(frozen=True)
class Normalise:
    """Makes floats from the bytes of a batch, (n, 3, height, width).

    Args:
        mean: of each channel, of intensities in [0, 1].
        std: of each channel, of intensities in [0, 1].
        size: height and width to resize to first, bilinearly; None leaves them.
    """

    mean: Sequence[float]
    std: Sequence[float]
    size: int | None = None

    def __call__(self, batch: Tensor) -> Tensor:
        """Give (n, 3, height, width) float32."""
        if self.size is not None and batch.shape[-2:] != (self.size, self.size):
            from torchvision.transforms.v2.functional import resize  # takes long to load

            batch = resize(batch, [self.size, self.size], antialias=True)
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (batch / 255).sub_(mean).div_(std)  # in place: a new tensor costs as much as the arithmetic


@dataclass(eq=False)
class StreamedImages(Streamed):
    """Images that are read when a batch is asked for.

    Args:
        pictures: where they are.
        labels: (n,), int64 or float32.
        index: (n,), int64: positions in `pictures`.
        transform: makes (3, height, width) uint8 of an image; may draw from torch's generator.
        normalise: makes floats from the bytes of a batch.
        seed: of the augmentation.
    """

    pictures: Pictures
    labels: Tensor
    index: Tensor
    transform: Callable[[Image.Image], Tensor]
    normalise: Normalise
    seed: int = 0

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Read and give a whole batch."""
        images = [self._read(int(self.index[i])) for i in indices]
        return self.normalise(torch.stack(images)), self.labels[indices]

    def _read(self, position: int) -> Tensor:
        image = self.pictures.open(position)
        with drawing(self.seed, self.epoch, position):
            return self.transform(image)


@contextmanager
def drawing(seed: int, epoch: int, position: int) -> Iterator[None]:
    """Let torch's default generator depend on these three alone, and put it back afterwards."""
    # The default generator alone: torch.manual_seed would reach for accelerators, too.
    before = torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(derive(seed, "augment", epoch, position))
        yield
    finally:
        torch.default_generator.set_state(before)


@dataclass(frozen=True)
class Square:
    """Resizes both sides to `size`, bilinearly with Pillow, whatever the proportions (official: Food-101)."""

    size: int

    def __call__(self, image: Image.Image) -> Tensor:
        """Give (3, size, size) uint8."""
        return to_bytes(image.resize((self.size, self.size), Image.Resampling.BILINEAR))
