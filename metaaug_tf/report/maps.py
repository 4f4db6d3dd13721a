"""Maps of the sampler and of the mean weights: colours show the ratio, white is "as often" or "as much"."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from metaaug_tf.policy.table import SamplerTable
from metaaug_tf.report.drawing import (
    COLOURS,
    INK,
    PAPER,
    Picture,
    blank,
    name_cells,
    picture,
    ratio_bar,
    ratio_limit,
    ratio_map,
    shorten,
)
from metaaug_tf.report.measures import Groups, class_weights, mean_weights
from metaaug_tf.report.run import Observations, Run
from metaaug_tf.report.wording import listed, number, times

_WIDTH = 5.0
_MOST_CLASSES = 24
_MOMENTS = 4


def table_figure(operations: Sequence[str], ratios: np.ndarray, limit: float, width: float = _WIDTH) -> Figure:
    """The table of pairs as a heat map.

    Args:
        operations: K names.
        ratios: float [K, K], how often each pair is drawn relative to the start, rows the first operation.
        limit: the ratio at which the colours end, see `ratio_limit`.
        width: of the figure, in inches.
    """
    figure, axes = blank(width, width + 0.6)
    mesh = ratio_map(axes, ratios, limit, [[f"{value:.1f}" for value in row] for row in ratios])
    names = [shorten(name) for name in operations]
    name_cells(axes, names, names)
    axes.set_xlabel("second operation", fontsize=9, color=INK)
    axes.set_ylabel("first operation", fontsize=9, color=INK)
    ratio_bar(mesh, [axes], "drawn, relative to the start")
    return figure


def sampler_map(sampler: SamplerTable) -> Picture:
    """The table of pairs relative to the start."""
    ratios = sampler.pair_ratios(sampler.table)
    figure = table_figure(sampler.operations, ratios, _sampler_limit(sampler))
    said = [f"{_pair(sampler, at)} {times(ratios.flat[at])}" for at in (ratios.argmin(), ratios.argmax())]
    alt = (
        f"Heat map of {len(ratios)} by {len(ratios)} pairs of operations, relative to the start. "
        f"Least often drawn pair: {said[0]}; most often: {said[1]}. By operation: {_said_frequencies(sampler)}."
    )
    return picture(figure, alt, "Red pairs are drawn less often than at the start, blue ones more often.")


def _sampler_limit(sampler: SamplerTable) -> float:
    """One scale for the tables of all epochs, so that their colours can be compared."""
    tables = [sampler.table, *(table for _, table in sampler.history)]
    return ratio_limit(np.stack([sampler.pair_ratios(table) for table in tables]))


def _pair(sampler: SamplerTable, at: np.intp) -> str:
    row, column = divmod(int(at), len(sampler.operations))
    return f"{sampler.operations[row]} then {sampler.operations[column]}"


def _said_frequencies(sampler: SamplerTable) -> str:
    drawn = sampler.operation_ratios(sampler.table)
    return ", ".join(f"{sampler.operations[k]} {number(drawn[k])}" for k in np.argsort(drawn, kind="stable"))


def movement_map(sampler: SamplerTable) -> Picture | None:
    """How often each operation was drawn, epoch by epoch; None without a history."""
    if len(sampler.history) < 2:
        return None
    epochs = [epoch for epoch, _ in sampler.history]
    ratios = np.stack([sampler.operation_ratios(table) for _, table in sampler.history], axis=1)
    limit = ratio_limit(ratios)
    figure, axes = blank(_WIDTH, 4.3)
    mesh = ratio_map(axes, ratios, limit)
    name_cells(axes, [shorten(name) for name in sampler.operations], [])
    marks = np.unique(np.linspace(0, len(epochs) - 1, 7).round().astype(int))
    axes.set_xticks(marks + 0.5, [str(epochs[mark]) for mark in marks])
    axes.set_xlabel("epochs trained", fontsize=9, color=INK)
    ratio_bar(mesh, [axes], "drawn, relative to the start")
    final = ratios[:, -1]
    low, high = int(final.argmin()), int(final.argmax())
    said = listed(
        [f"{sampler.operations[k]} from {number(ratios[k, 0])} to {number(ratios[k, -1])}" for k in (low, high)]
    )
    alt = f"Heat map of operations after {epochs[0]} to {epochs[-1]} epochs, relative to the start: {said}."
    return picture(figure, alt, "Each row is one operation; follow it to the right to see when it moved.")


def history_maps(sampler: SamplerTable) -> list[Picture]:
    """The whole table at four moments, in the colours of `sampler_map`; empty without a history."""
    if len(sampler.history) < _MOMENTS:
        return []
    chosen = np.linspace(0, len(sampler.history) - 1, _MOMENTS).round().astype(int)
    limit = _sampler_limit(sampler)
    moments = [sampler.history[position] for position in chosen]
    return [_moment(epoch, sampler.pair_ratios(table), limit) for epoch, table in moments]


def _moment(epoch: int, ratios: np.ndarray, limit: float) -> Picture:
    figure = Figure(figsize=(2.4, 2.4), facecolor=PAPER, layout="constrained")
    panel = figure.subplots()
    ratio_map(panel, ratios, limit)
    panel.set(xticks=[], yticks=[], aspect="equal")
    spread = f"{number(ratios.min())} and {times(ratios.max())}"
    after = "at the start" if epoch == 0 else f"after {epoch} epoch{'s' if epoch > 1 else ''}"
    alt = f"The table of pairs {after}: each drawn between {spread} as often as at the start."
    return picture(figure, alt, f"{after[0].upper()}{after[1:]}.")


def weight_table(run: Run, groups: Groups) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Mean weight per operation of all images and of each group.

    Returns:
        names of the columns [1 + G]; mean weights [K, 1 + G], NaN where there are under 3 images; the same
        relative to the mean of the column's images.
    """
    everything = Groups(groups.kind, ("all",), np.zeros_like(groups.index), groups.seen)
    means, ratios = [], []
    for part in (everything, groups):
        mean, counts = mean_weights(part, len(run.operations))
        levels = [groups.seen.weights[part.index == group].mean() for group in range(len(part.names))]
        means.append(np.where(counts >= 3, mean, np.nan))
        ratios.append(means[-1] / np.maximum(levels, 1e-12))
    return ("all", *groups.names), np.hstack(means), np.hstack(ratios)


def group_map(run: Run, groups: Groups) -> Picture:
    """Mean weight per operation and group, coloured by the ratio to the mean of the group."""
    names, means, ratios = weight_table(run, groups)
    figure, axes = blank(_WIDTH, 5.0)
    texts = [[number(value) if np.isfinite(value) else "" for value in row] for row in means]
    mesh = ratio_map(axes, ratios, ratio_limit(ratios), texts)
    operations = [shorten(name) for name in run.operations]
    name_cells(axes, operations, [shorten(name) for name in names], 0 if len(names) <= 5 else 90)
    ratio_bar(mesh, [axes], "weight, relative to the mean of the column")
    said = "; ".join(_said_column(run, *column) for column in zip(names, means.T, strict=True))
    caption = f"The number is the mean weight; red is less, blue more than that {groups.kind} gets on average."
    if not groups.complete:
        caption += " Only the classes with the lowest and the highest mean weight are shown; few images each."
    return picture(figure, f"Heat map of mean weight per operation and {groups.kind}. {said}.", caption)


def _said_column(run: Run, name: str, means: np.ndarray) -> str:
    if not np.isfinite(means).any():
        return f"{name}: too few images"
    low, high = int(np.nanargmin(means)), int(np.nanargmax(means))
    lowest, highest = (f"{run.operations[k]} {number(means[k])}" for k in (low, high))
    return f"{name}: lowest {lowest}, highest {highest}"


def class_chart(run: Run, seen: Observations) -> Picture | None:
    """Mean weight of every class with its 95 % interval, the extreme ones of many; None for one class."""
    labels, means, errors = class_weights(seen)
    if len(labels) < 2:
        return None
    order = np.argsort(means, kind="stable")
    if len(order) > _MOST_CLASSES:
        order = np.concatenate([order[: _MOST_CLASSES // 2], order[-_MOST_CLASSES // 2 :]])
    figure, axes = blank(_WIDTH, 1.0 + 0.21 * len(order))
    places = np.arange(len(order))
    family_of = run.families or ()
    families = list(dict.fromkeys(family_of))
    colours = [COLOURS[families.index(family_of[labels[k]]) % len(COLOURS)] if families else COLOURS[0] for k in order]
    axes.hlines(
        places,
        means[order] - 1.96 * errors[order],
        means[order] + 1.96 * errors[order],
        colours,
        linewidth=1.6,
    )
    axes.scatter(means[order], places, c=colours, s=22, zorder=3)
    axes.axvline(seen.weights.mean(), color=INK, linewidth=0.8, linestyle=":")
    axes.set_yticks(places, [shorten(run.class_name(labels[k]), 22) for k in order], fontsize=8.5)
    axes.invert_yaxis()
    axes.set_xlabel("mean weight", fontsize=9, color=INK)
    for family, colour in zip(families, COLOURS, strict=False):
        axes.scatter([], [], c=colour, s=22, label=shorten(family))
    if families:
        axes.legend(fontsize=8, frameon=False, labelcolor=INK, loc="lower left", ncols=4, bbox_to_anchor=(0, 1))
    named = [f"{run.class_name(labels[k])} {number(means[k])}" for k in (order[0], order[-1])]
    alt = f"Mean weight of {len(labels)} classes with 95 % intervals, from {named[0]} to {named[1]}."
    return picture(figure, alt, _class_caption(len(order), len(labels)))


def _class_caption(shown: int, known: int) -> str:
    part = (
        f" The {shown} most extreme of {known} classes are shown; part of their distance is chance."
        if shown < known
        else ""
    )
    return f"Bars are 95 % intervals over the observed images, the dotted line is the mean of all.{part}"


def columns(values: np.ndarray, rows: Sequence[str]) -> list[tuple[str, list[str]]]:
    """A table [R, C] as rows of text for the page."""
    return [(name, [number(value) for value in line]) for name, line in zip(rows, values, strict=True)]
