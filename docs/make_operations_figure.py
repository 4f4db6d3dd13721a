"""Draws docs/images/operations.png: every operation at five magnitudes, by the package.

    python docs/make_operations_figure.py [--output docs/images/operations.png]

The picture is drawn here too, so that the figure needs no data.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from metaaug_tf.ops import TABLE, apply_operation

SIDE, GAP, LABEL, HEADER = 88, 4, 104, 22
SIGNED_MAGNITUDES, UNSIGNED_MAGNITUDES = (-10.0, -5.0, 0.0, 5.0, 10.0), (0.0, 2.5, 5.0, 7.5, 10.0)


def picture():
    """A sailing boat on a lake at dusk, low in contrast so that every operation shows: [SIDE, SIDE, 3] uint8."""
    scale = 4
    side = SIDE * scale
    y = np.mgrid[:side, :side][0] / side
    sky = np.stack([120 + 70 * y, 110 + 50 * y, 160 - 40 * y], -1)
    water = np.stack([45 + 15 * np.sin(90 * y), 80 + 20 * np.sin(90 * y), 110 + 25 * np.sin(90 * y)], -1)
    image = Image.fromarray(np.where((y < 0.62)[..., None], sky, water).astype(np.uint8))
    draw = ImageDraw.Draw(image)

    def polygon(points, color):
        draw.polygon([(px * side, py * side) for px, py in points], fill=color)

    polygon([(0, 0.62), (0.2, 0.42), (0.42, 0.62)], (70, 85, 80))
    polygon([(0.3, 0.62), (0.6, 0.36), (1, 0.62)], (85, 95, 85))
    draw.ellipse([0.7 * side, 0.1 * side, 0.88 * side, 0.28 * side], fill=(205, 170, 110))
    polygon([(0.3, 0.7), (0.8, 0.7), (0.7, 0.82), (0.38, 0.82)], (150, 60, 50))
    polygon([(0.52, 0.2), (0.52, 0.67), (0.26, 0.67)], (200, 195, 180))
    polygon([(0.56, 0.26), (0.56, 0.67), (0.74, 0.67)], (180, 150, 70))
    small = image.filter(ImageFilter.GaussianBlur(1)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    noise = np.random.default_rng(0).normal(0, 3, (SIDE, SIDE, 3))
    return np.clip(np.asarray(small) + noise, 0, 255).astype(np.uint8)


def magnitudes_of(row):
    """The five magnitudes shown of an operation; one None where it takes none."""
    if not row.uses_magnitude:
        return (None,)
    return SIGNED_MAGNITUDES if row.signed else UNSIGNED_MAGNITUDES


def draw_column(rows, original):
    """One block of the figure: a line per operation, the original first."""
    width, height = LABEL + 6 * (SIDE + GAP), len(rows) * (SIDE + GAP + HEADER)
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    for line, row in enumerate(rows):
        top = line * (SIDE + GAP + HEADER)
        draw.text((4, top + HEADER + SIDE / 2 - 8), row.name, fill="black", font_size=14)
        results = [("original", original)] + [
            (
                "after" if magnitude is None else f"m = {magnitude:g}",
                apply_operation(row.name, original, magnitude or 0.0),
            )
            for magnitude in magnitudes_of(row)
        ]
        for column, (title, result) in enumerate(results):
            left = LABEL + column * (SIDE + GAP)
            draw.text((left + 2, top + 5), title, fill="black", font_size=12)
            canvas.paste(Image.fromarray(np.asarray(result)), (left, top + HEADER))
    return canvas


def main():
    """Draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images" / "operations.png")
    output = parser.parse_args().output
    original = picture()
    columns = [draw_column(TABLE[:7], original), draw_column(TABLE[7:], original)]
    figure = Image.new("RGB", (sum(column.width for column in columns), columns[0].height), "white")
    figure.paste(columns[0], (0, 0))
    figure.paste(columns[1], (columns[0].width, 0))
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.save(output, optimize=True)


if __name__ == "__main__":
    main()
