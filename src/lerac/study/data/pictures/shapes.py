"""Generated images that a network can learn from: the class decides shape and colours, the rest is noise."""

import colorsys
import io

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["draw_shape", "jpeg", "shape_image"]

GOLDEN = 0.618033988749895  # of the hue circle from class to class: neighbours differ most


def shape_image(label: int, size: int, generator: np.random.Generator, *, grey: bool = False) -> Image.Image:
    """Draw an image of a class.

    Args:
        label: 0 or more.
        size: width and height, in pixels.
        generator: of place, extent and noise.
        grey: whether it is a grey image, mode L.
    """
    noise = generator.integers(96, 160, size=(max(size // 8, 1), max(size // 8, 1), 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((size, size), Image.Resampling.BILINEAR)
    extent = int(size * generator.uniform(0.5, 0.7))
    left, upper = (int(generator.integers(0, size - extent + 1)) for _ in range(2))
    draw_shape(image, label, (left, upper, left + extent, upper + extent))
    return image.convert("L") if grey else image


def draw_shape(image: Image.Image, label: int, box: tuple[int, int, int, int]) -> None:
    """Draw the shape of a class so that it fills a box.

    Args:
        image: to draw on.
        label: 0 or more.
        box: left, upper, right and lower edge in pixels; the right and lower ones are outside.
    """
    colours = [
        tuple(round(255 * c) for c in colorsys.hsv_to_rgb((label * GOLDEN + turn) % 1, 0.9, value))
        for turn, value in ((0.0, 0.95), (0.35, 0.6))
    ]
    draw, corners = ImageDraw.Draw(image), (box[0], box[1], box[2] - 1, box[3] - 1)
    (draw.ellipse if label % 2 else draw.rectangle)(corners, fill=colours[0])
    width, height = corners[2] - corners[0], corners[3] - corners[1]
    x, y = corners[0] + width * (1 + label % 3) / 6, corners[1] + height * (1 + label % 5) / 8
    draw.rectangle((x, y, x + width / 4, y + height / 4), fill=colours[1])


def jpeg(image: Image.Image) -> bytes:
    """Encode an image, with the same bytes for the same image and version of the library."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
