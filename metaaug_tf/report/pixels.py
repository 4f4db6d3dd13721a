"""The policy as pixels, for TensorBoard."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metaaug_tf.ops import OPERATIONS
from metaaug_tf.report.drawing import INK, PAPER, blank, name_cells, ratio_bar, ratio_limit, ratio_map

_COLUMNS, _INCHES = 6, 1.5


def table_pixels(ratios: np.ndarray) -> np.ndarray:
    """How often each pair is drawn relative to the start, [14, 14], as uint8 [H, W, 3]."""
    figure, axes = blank(7.0, 7.6)
    mesh = ratio_map(axes, ratios, ratio_limit(ratios), [[f"{value:.1f}" for value in row] for row in ratios])
    name_cells(axes, OPERATIONS, OPERATIONS)
    axes.set_xlabel("second operation", color=INK)
    axes.set_ylabel("first operation", color=INK)
    ratio_bar(mesh, [axes], "drawn, relative to the start")
    return _pixels(figure)


def sample_pixels(images: np.ndarray, weights: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Images with their weights and operations in a grid, as uint8 [H, W, 3].

    Args:
        images: uint8 [N, H, W, C], in the order to show.
        weights: float [N].
        names: [N], what was done to each.
    """
    rows = math.ceil(len(images) / _COLUMNS)
    figure = Figure(figsize=(_COLUMNS * _INCHES, rows * _INCHES * 1.3), facecolor=PAPER, layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, _COLUMNS, squeeze=False)).flat
    for panel in panels:
        panel.axis("off")
    for panel, image, weight, name in zip(figure.axes, images, weights, names, strict=False):
        panel.imshow(image.repeat(3, axis=-1) if image.shape[-1] == 1 else image, interpolation="nearest")
        panel.set_title(f"{weight:.3f}\n{name.replace(' then ', chr(10))}", fontsize=7, color=INK)
    return _pixels(figure)


def _pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
