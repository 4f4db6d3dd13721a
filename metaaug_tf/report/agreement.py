"""What several runs learned on the same data, side by side: whether another seed or setting came to the same."""

from collections.abc import Sequence

import numpy as np

from metaaug_tf.report.drawing import Picture, blank, name_cells, picture, ratio_bar, ratio_limit, ratio_map, shorten
from metaaug_tf.report.findings import told_apart
from metaaug_tf.report.measures import shares
from metaaug_tf.report.run import Run
from metaaug_tf.report.wording import listed, number

_MOST_RUNS = 12


def learned_alike(runs: Sequence[Run]) -> list[Run]:
    """Those of the runs that learned a policy over the same operations and data as runs[0]; none where it didn't."""
    own = runs[0]
    return [
        run
        for run in runs
        if run.learns and run.sampler and run.dataset == own.dataset and run.operations == own.operations
    ]


def agreement_findings(runs: Sequence[Run]) -> list[str]:
    """Which operations all learning runs draw less or more often than the others, and on which they disagree."""
    alike = learned_alike(runs)
    if len(alike) < 2:
        return []
    apart = [told_apart(run.sampler) for run in alike]
    less, more = (_in_all([sets[side] for sets in apart]) for side in (0, 1))
    against = _in_any([sets[0] for sets in apart]) & _in_any([sets[1] for sets in apart])
    names, parts = alike[0].operations, []
    for found, how in ((less, "less often than the other operations"), (more, "more often")):
        if found:
            parts.append(f"{listed([names[k] for k in sorted(found)])} {how}")
    sentences = []
    if parts:
        who = "Both" if len(alike) == 2 else f"All {len(alike)}"
        sentences.append(f"{who} runs that learned a policy on these data draw {', and '.join(parts)}.")
    if against:
        sentences.append(f"They disagree on {listed([names[k] for k in sorted(against)])}.")
    return sentences


def _in_all(sets: Sequence[list[int]]) -> set[int]:
    return set.intersection(*map(set, sets))


def _in_any(sets: Sequence[list[int]]) -> set[int]:
    return set.union(*map(set, sets))


def learned_map(runs: Sequence[Run]) -> Picture | None:
    """How often each operation is drawn in each run that learned; None for fewer than two."""
    alike = learned_alike(runs)[:_MOST_RUNS]
    if len(alike) < 2:
        return None
    ratios = np.stack([shares(run.sampler.table, run.sampler.start) for run in alike], axis=1)
    figure, axes = blank(5.0, 4.6)
    texts = [[number(value) for value in row] for row in ratios]
    mesh = ratio_map(axes, ratios, ratio_limit(ratios), texts)
    name_cells(axes, alike[0].operations, [shorten(run.name) for run in alike], 0 if len(alike) <= 4 else 90)
    ratio_bar(mesh, [axes], "drawn, relative to the start")
    said = "; ".join(_said(run, drawn) for run, drawn in zip(alike, ratios.T, strict=True))
    caption = "How often each run's sampler draws each operation at the end."
    return picture(figure, f"Heat map of operations in {len(alike)} runs, relative to the start. {said}.", caption)


def _said(run: Run, drawn: np.ndarray) -> str:
    low, high = (f"{run.operations[k]} {number(drawn[k])}" for k in (drawn.argmin(), drawn.argmax()))
    return f"{run.name}: least {low}, most {high}"
