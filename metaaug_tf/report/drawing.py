"""Charts as self-contained pictures: Figure objects only, no global state of pyplot."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

# Okabe and Ito's colours, which colour-blind readers distinguish as well.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b6b6b", "#a6761d")
INK, FAINT, PAPER = "#1b2430", "#d5dae1", "#ffffff"
DIVERGING = "RdBu"
_EIGHTFOLD = 8.0


@dataclass(frozen=True)
class Picture:
    """A picture for the page.

    Attributes:
        source: data URI.
        alt: what it shows, with figures.
        caption: how to read it.
    """

    source: str
    alt: str
    caption: str = ""


def blank(width: float, height: float, small: bool = False) -> tuple[Figure, Axes]:
    """A figure of `width` x `height` inches with one plain pair of axes; `small` ones have fixed margins."""
    # Fitting the margins doubles the time of drawing, which small pictures, being many, can't afford.
    figure = Figure(figsize=(width, height), facecolor=PAPER, layout=None if small else "constrained")
    axes = figure.add_axes((0.17, 0.13, 0.79, 0.72)) if small else figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def data_uri(data: bytes, kind: str) -> str:
    """Bytes of an image as a data URI of the media type image/`kind`."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def picture(figure: Figure, alt: str, caption: str = "") -> Picture:
    """The figure as SVG: sharp at any zoom."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return Picture(data_uri(buffer.getvalue(), "svg+xml"), alt, caption)


def ratio_limit(ratios: np.ndarray) -> float:
    """How far a symmetrical scale of ratios has to reach: 1.25 to 8."""
    with np.errstate(divide="ignore"):
        reach = np.abs(np.log(ratios[np.isfinite(ratios)]))
    return float(np.clip(np.exp(np.max(reach, initial=0)), 1.25, _EIGHTFOLD))


def ratio_map(axes: Axes, ratios: np.ndarray, limit: float, texts: Sequence[Sequence[str]] = ()) -> QuadMesh:
    """Draws ratios [rows, columns], white at 1, with `texts` in the cells; returns the mesh."""
    axes.grid(False)
    axes.spines[:].set_visible(False)
    norm = LogNorm(1 / limit, limit)
    shown = np.ma.masked_invalid(np.clip(ratios, 1 / limit, limit))
    axes.set_facecolor("#eef0f3")
    mesh = axes.pcolormesh(shown, cmap=DIVERGING, norm=norm, edgecolors="white", linewidth=0.4)
    axes.invert_yaxis()
    size = 6.5 if ratios.shape[1] > 8 else 8.5
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            cell = norm(np.clip(ratios[row, column], 1 / limit, limit))
            colour = _ink_on(mesh.cmap(float(cell))) if text else INK
            label = axes.text(column + 0.5, row + 0.53, text, ha="center", va="center", color=colour, fontsize=size)
            label.set_in_layout(False)
    return mesh


def ratio_bar(mesh: QuadMesh, axes: Sequence[Axes], label: str) -> None:
    """A colour bar for `mesh` below `axes`, labelled in times."""
    _, limit = mesh.get_clim()
    marks = [limit**power for power in (-1, -0.5, 0, 0.5, 1)]
    bar = mesh.figure.colorbar(mesh, ax=axes, orientation="horizontal", shrink=0.8, pad=0.02, aspect=35)
    bar.ax.xaxis.set_major_locator(FixedLocator(marks))
    bar.ax.xaxis.set_major_formatter(FixedFormatter([f"{mark:.2g}×" for mark in marks]))
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=8, colors=INK, length=2)
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=8.5, color=INK)


def name_cells(axes: Axes, rows: Sequence[str], columns: Sequence[str], angle: float = 90) -> None:
    """Names the rows and columns of a map at the middle of its cells."""
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=8.5)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=8.5, rotation=angle)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")


def shorten(name: str, length: int = 14) -> str:
    """A name that fits a label: of a long one the beginning and, as numbers stand there, the end."""
    if len(name) > length:
        name = f"{name[: length // 2 - 1]}…{name[-(length - length // 2) :]}"
    # A dollar sign would start mathematics in matplotlib.
    return name.replace("$", r"\$")


def _ink_on(colour: tuple[float, float, float, float]) -> str:
    red, green, blue = to_rgb(colour)
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else PAPER
