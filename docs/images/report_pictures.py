"""Trains a small study and photographs its report, on a desktop and on a phone: report-*.png beside this file.

Run it again after a change of the report; needs Chromium (`make browser-deps`). The same folder continues:

    python docs/images/report_pictures.py [FOLDER]
"""

import io
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from lerac.cli import run

IMAGES = Path(__file__).parent
STUDY = ("digits", "--regimes", "conventional,warmup,lerac,cbs", "--seeds", "5")


@dataclass(frozen=True)
class Picture:
    """A part of the page, from one heading to the next.

    Args:
        name: of the file.
        width: of the window, CSS pixels.
        scale: pixels of the file for each of them.
        scheme: by day or by night.
        begin: text of the heading with which it begins; None for the top.
        end: text of the heading before which it ends.
    """

    name: str
    width: int
    scale: float
    scheme: Literal["light", "dark"]
    begin: str | None
    end: str


PICTURES = (
    Picture("report-desktop", 1200, 1, "light", None, "Training"),
    Picture("report-dark", 1200, 1, "dark", "Seed by seed", "Smoothing"),
    Picture("report-phone", 360, 1.5, "light", None, "Seed by seed"),
    Picture("report-phone-figures", 360, 1.5, "light", "Seed by seed", "Learning rates as planned"),
)
ABOVE = 28  # CSS pixels that a heading has above it


def photograph(browser: Browser, address: str, picture: Picture) -> None:
    """Open the page and write the picture."""
    page = browser.new_page(
        viewport={"width": picture.width, "height": 1000},
        device_scale_factor=picture.scale,
        color_scheme=picture.scheme,
    )
    page.goto(address)

    def top(heading: str | None) -> int:
        if heading is None:
            return 0
        box = page.get_by_role("heading", name=heading, exact=True).bounding_box()
        if box is None:
            raise SystemExit(f"the report has no heading {heading!r}")
        return round(box["y"]) - ABOVE

    begin, end = (round(picture.scale * top(heading)) for heading in (picture.begin, picture.end))
    image = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    image.crop((0, begin, image.width, end)).save(IMAGES / f"{picture.name}.png", optimize=True)
    page.close()


def main() -> None:
    """Train what is left to train, and write the pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Chromium is not installed: make browser-deps")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="report-"))
    if code := run(["compare", *STUDY, "--out", str(folder)]):
        raise SystemExit(code)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])  # the page is our own
        for picture in PICTURES:
            photograph(browser, (folder / "report.html").resolve().as_uri(), picture)
        browser.close()


if __name__ == "__main__":
    main()
