"""A picture of some training images with the names of their classes."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metaaug_tf.data.examples import Examples
from metaaug_tf.errors import UserError
from metaaug_tf.files import written_aside

_COLUMNS, _ROWS = 8, 5
_CELL_INCHES = 1.1


def draw_contact_sheet(examples: Examples, class_names, path: Path) -> None:
    """Writes a PNG of up to 40 images with the names of their classes, as many classes as there is room for.

    Raises:
        UserError: the file can't be written.
    """
    chosen = one_of_each_class_in_turn(examples.labels, _COLUMNS * _ROWS)
    figure = Figure(figsize=(_COLUMNS * _CELL_INCHES, _ROWS * _CELL_INCHES * 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    for place, index in enumerate(chosen, start=1):
        axes = figure.add_subplot(_ROWS, _COLUMNS, place)
        image = examples.images[index]
        axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(class_names[examples.labels[index]][:16], fontsize=7)
        axes.axis("off")
    try:
        with written_aside(path) as aside:
            figure.savefig(aside, dpi=120, format="png")
    except OSError as error:
        raise UserError(
            f"the contact sheet {path} can't be written: {error.strerror}; give another --workdir"
        ) from error


def one_of_each_class_in_turn(labels: np.ndarray, count: int) -> np.ndarray:
    """Positions of up to `count` examples: the first of every class, then the second of every class, and so on."""
    _, sizes = np.unique(labels, return_counts=True)
    turns = np.empty(len(labels), int)
    turns[np.argsort(labels, kind="stable")] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.lexsort((labels, turns))[:count]
