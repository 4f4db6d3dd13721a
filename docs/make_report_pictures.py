"""Photographs parts of a run's report with Chromium: docs/images/report_*.png.

python docs/make_report_pictures.py [--workdir runs/demo]
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT, MARGIN = 1000, 3000, 16
# Picture: (the section that holds it, what of the section is left out).
PARTS = {
    "sampler": ("sampler", "#sampler > :not(.charts)"),
    "magnitudes": ("weights", "#weights > :not(.key, .small)"),
    "trusted": ("gallery", "#gallery > :not(.charts), #gallery .charts > :nth-child(-n+2)"),
}


def only(page, section, left_out):
    """The page's HTML with one section shown, and not all of that."""
    hidden = f"<style>header, section:not(#{section}), {left_out} {{ display: none }}</style>"
    return page.replace("</head>", hidden + "</head>")


def photograph(browser, page, folder):
    """The page as Chromium shows it, without the empty rows and columns around."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    shot = folder / "shot.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={shot}"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={WIDTH},{HEIGHT}"]
    subprocess.run([*command, (folder / "page.html").as_uri()], check=True, capture_output=True, timeout=100)
    image = Image.open(shot).convert("RGB")
    pixels = np.asarray(image)
    filled = (pixels != pixels[0, 0]).any(axis=2)
    rows, columns = (np.flatnonzero(filled.any(axis=axis)) for axis in (1, 0))
    around = (columns[0] - MARGIN, rows[0] - MARGIN, columns[-1] + MARGIN, rows[-1] + MARGIN)
    inside = (max(around[0], 0), max(around[1], 0), min(around[2], WIDTH), min(around[3], HEIGHT))
    # A palette makes the file three times smaller; this kind of it moves no value by more than 27 of 255.
    return image.crop(inside).quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)


def main():
    """Makes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("runs/demo"), help="a finished run with a report.html")
    arguments = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is not installed")
    page = (arguments.workdir / "report.html").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        for name, (section, left_out) in PARTS.items():
            picture = photograph(browser, only(page, section, left_out), Path(scratch))
            picture.save(Path(__file__).parent / "images" / f"report_{name}.png", optimize=True)


if __name__ == "__main__":
    main()
