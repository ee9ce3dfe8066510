"""The pictures in the documentation show what is measured."""

import importlib.util
from pathlib import Path

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def test_pictures_show_the_depths_that_are_measured():
    spec = importlib.util.spec_from_file_location("depth_pictures", IMAGES / "depth_pictures.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name, svg in script.pictures().items():
        assert (IMAGES / name).read_text() == svg, "run docs/images/depth_pictures.py"
