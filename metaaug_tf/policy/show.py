"""A policy folder as text for a terminal: operations by how often they are drawn, the pairs on top, the whole table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metaaug_tf.policy.folder import read_settings
from metaaug_tf.policy.table import FORMAT_VERSION, SamplerTable, read_table, relative

_TOP_PAIRS = 10


def policy_text(folder: str | Path) -> str:
    """Returns what --show_policy prints: how often things are drawn relative to the start, where 1 is as often.

    Args:
        folder: a policy folder.

    Raises:
        UserError: it is not one, is damaged or of another version.
    """
    sampler, settings = read_table(folder), read_settings(folder)
    names, ratios = sampler.operations, sampler.pair_ratios(sampler.table)
    top = _top_pairs(ratios)
    return "\n".join(
        [
            f"{folder}: {_origin(sampler, settings)}",
            "Figures tell how often something is drawn relative to the start: 1.00 is as often.",
            "",
            *_operation_lines(sampler),
            "",
            f"the {len(top)} pairs with the highest figures",
            *(f"{ratios[i, j]:7.2f}  {names[i]} then {names[j]}" for i, j in top),
            "",
            "rows the first operation, columns the second, numbered as the rows",
            *_table_lines(names, ratios),
        ]
    )


def _origin(sampler: SamplerTable, settings: dict) -> str:
    epochs = sampler.history[-1][0] if sampler.history else "an unknown number of"
    network = f"policy network with head {settings['head']}" if "head" in settings else "no policy network"
    return f"format version {FORMAT_VERSION}, after {epochs} epochs, {network}, fill {settings.get('fill', 'unknown')}"


def _operation_lines(sampler: SamplerTable) -> list[str]:
    first, second = (relative(sampler.table.sum(axis=axis), sampler.initial.sum(axis=axis)) for axis in (1, 0))
    mean = sampler.operation_ratios(sampler.table)
    rows = [
        f"{sampler.operations[k]:14}{mean[k]:7.2f}{first[k]:10.2f}{second[k]:10.2f}"
        for k in np.argsort(-mean, kind="stable")
    ]
    return [f"{'operation':14}{'mean':>7}{'as first':>10}{'as second':>10}", *rows]


def _top_pairs(ratios: np.ndarray) -> list[tuple[int, int]]:
    """Indices of the pairs with the highest ratios [K, K], the highest first."""
    order = np.argsort(-ratios, axis=None, kind="stable")[:_TOP_PAIRS]
    return [divmod(int(position), len(ratios)) for position in order]


def _table_lines(names: Sequence[str], ratios: np.ndarray) -> list[str]:
    header = " " * 17 + "".join(f"{index:5}" for index in range(len(names)))
    rows = [f"{k:2} {name:14}" + "".join(f"{value:5.1f}" for value in ratios[k]) for k, name in enumerate(names)]
    return [header, *rows]
