"""A policy folder as text for a terminal: operations by probability, the pairs on top, the whole table."""

from pathlib import Path

import numpy as np

from metaaug_tf.policy.folder import read_sampler, read_settings
from metaaug_tf.policy.table import relative, start_of

_TOP_PAIRS = 10


def policy_text(folder: Path) -> str:
    """What --show_policy prints: how often things are drawn relative to the start, where 1 is as often.

    Args:
        folder: a policy folder.

    Raises:
        UserError: it is not one, or of another version or other operations.
    """
    sampler, settings = read_sampler(folder), read_settings(folder)
    names = sampler["operations"]
    table = np.asarray(sampler["probabilities"], float)
    table, start = table / table.sum(), start_of(sampler.get("history", []), len(names))
    ratios = relative(table, start)
    return "\n".join(
        [
            f"{folder}: {_origin(sampler, settings)}",
            "Figures tell how often something is drawn relative to the start: 1.00 is as often.",
            "",
            *_operation_lines(names, table, start),
            "",
            f"the {_TOP_PAIRS} pairs with the highest figures",
            *_pair_lines(names, ratios),
            "",
            "rows the first operation, columns the second, numbered as the rows",
            *_table_lines(names, ratios),
        ]
    )


def _origin(sampler: dict, settings: dict) -> str:
    epoch = sampler["history"][-1][0] if sampler.get("history") else "an unknown number of"
    network = f"policy network with head {settings['head']}" if "head" in settings else "no policy network"
    return (
        f"format version {sampler['version']}, after {epoch} epochs, {network}, fill {settings.get('fill', 'unknown')}"
    )


def _shares(table: np.ndarray) -> np.ndarray:
    """How often each operation comes first, second and either: [3, 14]."""
    first, second = table.sum(axis=1), table.sum(axis=0)
    return np.stack([first, second, first + second])


def _operation_lines(names: list[str], table: np.ndarray, start: np.ndarray) -> list[str]:
    first, second, mean = relative(*(_shares(part) for part in (table, start)))
    rows = [f"{names[k]:14}{mean[k]:7.2f}{first[k]:10.2f}{second[k]:10.2f}" for k in np.argsort(-mean, kind="stable")]
    return [f"{'operation':14}{'mean':>7}{'as first':>10}{'as second':>10}", *rows]


def _pair_lines(names: list[str], ratios: np.ndarray) -> list[str]:
    top = np.argsort(-ratios, axis=None, kind="stable")[:_TOP_PAIRS]
    pairs = [divmod(int(at), len(names)) for at in top]
    return [f"{ratios[i, j]:7.2f}  {names[i]} then {names[j]}" for i, j in pairs]


def _table_lines(names: list[str], ratios: np.ndarray) -> list[str]:
    header = " " * 17 + "".join(f"{number:5}" for number in range(len(names)))
    rows = [f"{k:2} {name:14}" + "".join(f"{value:5.1f}" for value in ratios[k]) for k, name in enumerate(names)]
    return [header, *rows]
