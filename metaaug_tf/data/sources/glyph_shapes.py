"""Drawing with numpy, many images at once: antialiased strokes, filled blobs, colours of a given luminance.

Coordinates are in pixels, x to the right and y downwards, pixel centres at whole numbers.
"""

import numpy as np

REC601 = np.array([0.299, 0.587, 0.114], np.float32)  # luminance as Pillow's mode "L" weighs it
CURVE_SEGMENTS = 8  # straight pieces per curve: enough to look smooth at 32 pixels


def pixel_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixel centres' coordinates x and y, each float32 [size, size]."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    return x, y


def curve_points(controls: np.ndarray) -> np.ndarray:
    """Points along cubic Bezier curves.

    Args:
        controls: float [..., 4, 2], control points (x, y) in any unit.

    Returns:
        float32 [..., CURVE_SEGMENTS + 1, 2], from the first control point to the last one.
    """
    t = np.linspace(0, 1, CURVE_SEGMENTS + 1)
    basis = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=-1)
    return np.einsum("pc,...cd->...pd", basis, controls).astype(np.float32)


def draw_strokes(points: np.ndarray, widths: np.ndarray, size: int) -> np.ndarray:
    """How much of every pixel round-ended strokes cover.

    Args:
        points: float32 [N, S, P, 2], N images of S polylines of P points (x, y).
        widths: float32 [N], stroke widths in pixels.
        size: height and width of the images.

    Returns:
        float32 [N, size, size] in 0..1, antialiased over one pixel.
    """
    x, y = pixel_grid(size)
    nearest = np.full((len(points), size, size), np.inf, np.float32)
    starts = points[:, :, :-1].reshape(len(points), -1, 2)
    steps = points[:, :, 1:].reshape(len(points), -1, 2) - starts
    for segment in range(starts.shape[1]):
        np.minimum(nearest, _squared_distance(x, y, starts[:, segment], steps[:, segment]), out=nearest)
    return np.clip(widths[:, None, None] / 2 + 0.5 - np.sqrt(nearest), 0, 1)


def _squared_distance(x: np.ndarray, y: np.ndarray, start: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Squared distances [N, size, size] of all pixels from N segments, from `start` to `start + step`."""
    start_x, start_y, step_x, step_y = (v[:, None, None] for v in (*start.T, *step.T))
    length2 = np.maximum(step_x**2 + step_y**2, 1e-6)
    dx, dy = x - start_x, y - start_y
    along = np.clip((dx * step_x + dy * step_y) / length2, 0, 1)
    return (dx - along * step_x) ** 2 + (dy - along * step_y) ** 2


def draw_blobs(centres: np.ndarray, radii: np.ndarray, waves: np.ndarray, phases: np.ndarray, size: int) -> np.ndarray:
    """How much of every pixel filled blobs cover: discs whose radius waves with the direction.

    Args:
        centres: float32 [N, 2], (x, y).
        radii: float32 [N], mean radii in pixels.
        waves: float32 [N, K], amplitudes relative to the radius of 2, 3, ... K + 1 waves around the blob.
        phases: float32 [N, K], in radians.
        size: height and width of the images.

    Returns:
        float32 [N, size, size] in 0..1, antialiased over about one pixel.
    """
    x, y = pixel_grid(size)
    dx, dy = x - centres[:, 0, None, None], y - centres[:, 1, None, None]
    direction = np.arctan2(dy, dx)
    edge = np.ones_like(direction)
    for k in range(waves.shape[1]):
        edge += waves[:, k, None, None] * np.cos((k + 2) * direction + phases[:, k, None, None])
    return np.clip(radii[:, None, None] * edge + 0.5 - np.hypot(dx, dy), 0, 1)


def hue_colours(hues: np.ndarray, luminances: np.ndarray, saturations: np.ndarray) -> np.ndarray:
    """Colours with exactly the given Rec.601 luminance, so that hue leaves no trace in a grey image.

    Args:
        hues: float [N], HSV hue in turns (any number; 1 is a whole turn).
        luminances: float [N] in 0..1.
        saturations: float [N] in 0..1; 1 is the purest colour of that hue and luminance, 0 is grey.

    Returns:
        float32 [N, 3], red, green, blue in 0..1.
    """
    peaks = np.array([0, 2, 4])  # sixths of a turn at which red, green and blue peak
    offset = np.abs((hues[:, None] * 6 - peaks + 3) % 6 - 3)
    pure = np.clip(2 - offset, 0, 1)
    pure_luminance = pure @ REC601
    darker = pure * (luminances / pure_luminance)[:, None]
    whiter = 1 - (1 - pure) * ((1 - luminances) / (1 - pure_luminance))[:, None]
    colour = np.where((luminances < pure_luminance)[:, None], darker, whiter)
    grey = luminances[:, None]
    return (grey + saturations[:, None] * (colour - grey)).astype(np.float32)
