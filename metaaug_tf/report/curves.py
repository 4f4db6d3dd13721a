"""What happened epoch by epoch: accuracy, loss, the weights, and several runs side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from metaaug_tf.report.drawing import COLOURS, INK, Picture, blank, picture, shorten
from metaaug_tf.report.run import Run
from metaaug_tf.report.wording import number, rate

_WIDTH, _HEIGHT = 4.7, 3.0
_LEGEND_LINE = 0.18
_SHORT_NAME = 14


@dataclass(frozen=True)
class Line:
    """One line of a chart: its name and its points [E], [E]."""

    name: str
    across: np.ndarray
    up: np.ndarray


def training_curves(run: Run) -> list[Picture]:
    """Accuracy and loss over the epochs, each only where it was recorded."""
    charts = [
        ("Accuracy", "accuracy", "val_accuracy", "Fraction of images classified correctly."),
        ("Loss", "loss", "val_loss", "The training loss is that of the augmented images."),
    ]
    found = []
    for title, training, validation, caption in charts:
        lines = _lines(run, {"training": training, "validation": validation})
        if lines:
            found.append(line_chart(title, "epoch", lines, caption))
    return found


def policy_curves(run: Run) -> list[Picture]:
    """How the weights, their effective sample size and the policy's gradient moved."""
    charts = [
        ("Raw weight", {"highest": "weight_max", "mean": "weight_mean", "lowest": "weight_min"}, False),
        ("Effective fraction of the batch", {"effective fraction": "effective_sample_size"}, False),
        ("Validation loss after the virtual step", {"meta loss": "meta_loss"}, False),
        ("Norm of the policy's gradient", {"gradient norm": "policy_gradient_norm"}, True),
    ]
    captions = (
        "Weights that the policy gives to the images of a batch. Near 0 or 1 it learns slowly.",
        "What fraction of a batch, equally weighted, would say as much; 1 when all weights are equal.",
        "What the policy minimises.",
        "A gradient that vanishes means that the policy has stopped learning.",
    )
    drawn = []
    for (title, keys, logarithmic), caption in zip(charts, captions, strict=True):
        lines = _lines(run, keys)
        if lines:
            drawn.append(line_chart(title, "epoch", lines, caption, logarithmic))
    return drawn


def comparison_curves(runs: Sequence[Run]) -> list[Picture]:
    """Validation accuracy of several runs over the epochs and over the time spent."""
    over_epochs = [line for run in runs for line in _lines(run, {run.name: "val_accuracy"})]
    over_time = []
    for run in runs:
        if "seconds" in run.curves:
            minutes = np.cumsum(np.nan_to_num(run.curves["seconds"])) / 60
            over_time += [Line(line.name, minutes, line.up) for line in _lines(run, {run.name: "val_accuracy"})]
    charts = [("epoch", over_epochs, "At equal epochs."), ("minutes", over_time, "At equal time.")]
    return [line_chart("Validation accuracy", across, lines, text) for across, lines, text in charts if lines]


def line_chart(title: str, across: str, lines: Sequence[Line], caption: str, logarithmic: bool = False) -> Picture:
    """Lines over a common axis; the alternative text gives start, end and extremes of each."""
    columns = 3 if max(len(line.name) for line in lines) <= _SHORT_NAME else 2
    lines_below = math.ceil(len(lines) / columns) if len(lines) > 1 else 0
    figure, axes = blank(_WIDTH, _HEIGHT + _LEGEND_LINE * lines_below)
    for index, line in enumerate(lines):
        style = "-" if index < len(COLOURS) else "--"
        marker = "o" if len(line.across) < 3 else None
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(
            line.across,
            line.up,
            style,
            color=colour,
            marker=marker,
            linewidth=1.8,
            label=shorten(line.name, 28),
        )
    if logarithmic and all((line.up[np.isfinite(line.up)] > 0).all() for line in lines):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title(title, fontsize=10.5, color=INK, loc="left", fontweight="bold")
    axes.set_xlabel(across, fontsize=9, color=INK)
    axes.locator_params(axis="x", integer=across == "epoch")
    if len(lines) > 1:
        # Below the axes, where it covers no line.
        figure.legend(fontsize=8.5, frameon=False, labelcolor=INK, loc="outside lower left", ncols=columns)
    said = "; ".join(_said(line, across) for line in lines)
    return picture(figure, f"{title} by {across}. {said}.", caption)


def _said(line: Line, across: str) -> str:
    known = np.isfinite(line.up)
    up, where = line.up[known], line.across[known]
    digits = number if np.abs(up).max() < 100 else lambda value: rate(value)
    top, low = int(up.argmax()), int(up.argmin())
    return (
        f"{line.name}: from {digits(up[0])} to {digits(up[-1])}, highest {digits(up[top])} at {across} "
        f"{rate(where[top])}, lowest {digits(up[low])} at {across} {rate(where[low])}"
    )


def _lines(run: Run, keys: dict[str, str]) -> list[Line]:
    """The metrics of `keys` (name in the legend: metric) that hold at least one number."""
    found = {name: run.curves[key] for name, key in keys.items() if key in run.curves}
    return [Line(name, run.curves["epoch"], up) for name, up in found.items() if np.isfinite(up).any()]
