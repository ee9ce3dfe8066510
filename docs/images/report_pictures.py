"""Trains a small study and photographs its report: report-desktop.png, report-phone.png and report-dark.png.

Run it again after a change of the report; needs Chromium (`make browser-deps`). The same folder continues:

    python docs/images/report_pictures.py [FOLDER]
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from lerac.cli import run

IMAGES = Path(__file__).parent
STUDY = ("digits", "--regimes", "conventional,warmup,lerac,cbs", "--seeds", "5")
# Name → width and height in CSS pixels, device pixels for each, colours.
PICTURES = {
    "report-desktop": (1200, 1500, 1.0, "light"),
    "report-phone": (360, 1500, 2.0, "light"),
    "report-dark": (1200, 1500, 1.0, "dark"),
}
COLOURS = 128  # of the files: text and lines need no more


def main() -> None:
    """Train what is left to train, and write the pictures beside this file."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Chromium is not installed: make browser-deps")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="report-"))
    if code := run(["compare", *STUDY, "--out", str(folder)]):
        raise SystemExit(code)
    page_address = (folder / "report.html").resolve().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])  # its one page is ours
        for name, (width, height, scale, scheme) in PICTURES.items():
            page = browser.new_page(
                viewport={"width": width, "height": height},
                device_scale_factor=scale,
                color_scheme="dark" if scheme == "dark" else "light",
            )
            page.goto(page_address)
            image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            image.quantize(COLOURS, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
