"""Weight against magnitude, one small picture per operation so that they flow on any screen."""

from typing import Literal

import numpy as np

from metaaug_tf.report.drawing import COLOURS, INK, Picture, blank, picture, shorten
from metaaug_tf.report.measures import WITHOUT_MAGNITUDE, Groups
from metaaug_tf.report.run import Run
from metaaug_tf.report.wording import number, signed

_BINS = 5
_MOST_LINES = 4
_ENOUGH = 3
# How the labels of the least, middle and largest magnitude stand to their marks.
_SIDES: tuple[Literal["left", "center", "right"], ...] = ("left", "center", "right")


def strength_charts(run: Run, groups: Groups) -> list[Picture]:
    """Mean weight per fifth of the range of magnitudes, for every operation that has one and was seen.

    Families get a line each; more than four groups are drawn as one line of all images.
    """
    if len(groups.names) > _MOST_LINES:
        groups = Groups("class", ("all images",), np.zeros_like(groups.index), groups.seen)
    curves = {
        name: _curves(groups, operation)
        for operation, name in enumerate(run.operations)
        if name not in WITHOUT_MAGNITUDE
    }
    known = [ups + errors for _, ups, errors in curves.values() if np.isfinite(ups + errors).any()]
    top = float(max(map(np.nanmax, known), default=1))
    return [_chart(name, groups, curve, top) for name, curve in curves.items() if np.isfinite(curve[1]).any()]


def strength_legend(groups: Groups) -> list[tuple[str, str]]:
    """Name and colour of every line; empty where there is one line for all images."""
    if len(groups.names) > _MOST_LINES:
        return []
    return list(zip(groups.names, COLOURS, strict=False))


def _curves(groups: Groups, operation: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middles of the bins [B], mean weight [G, B] and its standard error [G, B]; NaN for too few images."""
    seen = groups.seen
    image, slot = np.nonzero(seen.pairs == operation)
    magnitudes, weights, group = seen.magnitudes[image, slot], seen.weights[image], groups.index[image]
    lowest = -10.0 if (magnitudes < 0).any() else 0.0
    edges = np.linspace(lowest, 10, _BINS + 1)
    place = np.clip(np.digitize(magnitudes, edges) - 1, 0, _BINS - 1)
    found = np.full((2, len(groups.names), _BINS), np.nan)
    for g in range(len(groups.names)):
        for bin_ in range(_BINS):
            inside = weights[(group == g) & (place == bin_)]
            if len(inside) >= _ENOUGH:
                found[:, g, bin_] = inside.mean(), inside.std(ddof=1) / np.sqrt(len(inside))
    return (edges[1:] + edges[:-1]) / 2, *found


def _chart(name: str, groups: Groups, curve: tuple[np.ndarray, np.ndarray, np.ndarray], top: float) -> Picture:
    middles, ups, errors = curve
    figure, axes = blank(2.3, 1.75, small=True)
    for up, error, colour in zip(ups, errors, COLOURS, strict=False):
        axes.fill_between(middles, up - 1.96 * error, up + 1.96 * error, color=colour, alpha=0.15, linewidth=0)
        axes.plot(middles, up, "o-", color=colour, markersize=3.5, linewidth=1.6)
    axes.set_ylim(0, min(top * 1.05, 1))
    ends = (-10, 0, 10) if middles[0] < 0 else (0, 5, 10)
    axes.set_xlim(ends[0], ends[2])
    axes.set_xticks(ends, [signed(end).removesuffix(".0") for end in ends])
    for label, side in zip(axes.get_xticklabels(), _SIDES, strict=True):
        label.set_horizontalalignment(side)  # clear of the axis going up
    axes.set_title(shorten(name), fontsize=10, color=INK, loc="left", fontweight="bold")
    said = "; ".join(
        f"{group} {', '.join(number(value) for value in up)}" for group, up in zip(groups.names, ups, strict=True)
    )
    where = ", ".join(signed(middle).removesuffix(".0") for middle in middles)
    return picture(figure, f"Mean weight under {name} at magnitudes {where}: {said}.")
