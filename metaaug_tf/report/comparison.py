"""Several runs side by side: their figures, what their settings differ in, and what can be said of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaaug_tf.policy.table import SamplerTable
from metaaug_tf.report.drawing import Picture, blank, name_cells, picture, ratio_bar, ratio_limit, ratio_map, shorten
from metaaug_tf.report.findings import separated_operations
from metaaug_tf.report.run import Run
from metaaug_tf.report.wording import listed, number, percent_of, rate

# Settings that say where or in which repetition, not how, a run was made.
_PLACES = frozenset({"seed", "workdir", "data_dir"})


@dataclass(frozen=True)
class Row:
    """One run in the table: texts in the order of HEADINGS."""

    cells: tuple[str, ...]
    is_own: bool


HEADINGS = (
    "Run",
    "Policy",
    "Seed",
    "Epochs",
    "Test accuracy",
    "Validation",
    "Images/s",
    "Step ratio",
    "Differs in",
)


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dict as {"a.b": value}."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def rows(runs: Sequence[Run]) -> list[Row]:
    """A row per run; the first run is the page's own, and the others are described by how they differ from it."""
    return [Row(_cells(run, runs[0]), run is runs[0]) for run in runs]


def _cells(run: Run, own: Run) -> tuple[str, ...]:
    epochs, step = run.figure("epochs"), run.figure("step_ratio")
    return (
        run.name,
        run.policy,
        str(run.seed),
        number(epochs, 0),
        percent_of(run.figure("test_accuracy")),
        percent_of(run.figure("validation_accuracy")),
        rate(run.figure("images_per_second")),
        number(step, 1),
        _differences(run, own),
    )


def _differences(run: Run, own: Run) -> str:
    if run is own:
        return ""
    mine, theirs = flat(own.config), flat(run.config)
    keys = [key for key in sorted(mine | theirs) if mine.get(key) != theirs.get(key)]
    return ", ".join(f"{key}={theirs.get(key, 'absent')}" for key in keys if key.split(".")[-1] not in _PLACES)


def comparison_findings(runs: Sequence[Run]) -> list[str]:
    """What the test accuracies of runs[0] and the others on the same data say, repetitions taken together."""
    own = runs[0]
    same = [run for run in runs if run.dataset == own.dataset]
    groups: dict[str, list[Run]] = {}
    for run in same:
        if np.isfinite(run.figure("test_accuracy")):
            groups.setdefault(_settings(run), []).append(run)
    sentences = []
    if len(same) < len(runs):
        others = listed([run.name for run in runs if run not in same])
        sentences.append(f"On other data and so not compared here: {others}.")
    if len(groups) == 1 and len(group := next(iter(groups.values()))) > 1:
        sentences.append(f"The same settings with other seeds; test accuracy: {_described(group)}.")
    if len(groups) > 1:
        described = [_described(group) for group in sorted(groups.values(), key=_mean, reverse=True)]
        sentences.append(f"Test accuracy: {'; '.join(described)}.")
        sentences.append(_verdict(list(groups.values())))
    return sentences


def _settings(run: Run) -> str:
    config = {key: value for key, value in flat(run.config).items() if key.split(".")[-1] not in _PLACES}
    return repr((run.policy, sorted(config.items(), key=lambda item: item[0])))


def _mean(group: Sequence[Run]) -> float:
    return float(np.mean([run.figure("test_accuracy") for run in group]))


def _described(group: Sequence[Run]) -> str:
    values = [run.figure("test_accuracy") for run in group]
    who = f"{group[0].policy} ({listed([run.name for run in group])})"
    if len(values) == 1:
        return f"{who} {percent_of(values[0])}"
    return f"{who} {percent_of(_mean(group))} on average, {percent_of(min(values))} to {percent_of(max(values))}"


def _verdict(groups: Sequence[Sequence[Run]]) -> str:
    if min(len(group) for group in groups) < 2:
        return "Where there is one run of a kind, another seed may turn a small difference round."
    best, *others = sorted(groups, key=_mean, reverse=True)
    lowest = min(run.figure("test_accuracy") for run in best)
    reaches = any(run.figure("test_accuracy") >= lowest for group in others for run in group)
    if reaches:
        return "The ranges overlap: these runs do not show which is better."
    return f"Every run of {best[0].policy} ({best[0].name} and its repetitions) is above every other run."


_MOST_RUNS = 12


def learned_alike(runs: Sequence[Run]) -> list[tuple[Run, SamplerTable]]:
    """Those of the runs that learned a policy over the same operations and data as runs[0]; none where it didn't."""
    own = runs[0]
    return [
        (run, run.sampler)
        for run in runs
        if run.learns and run.sampler and run.dataset == own.dataset and run.operations == own.operations
    ]


def agreement_findings(runs: Sequence[Run]) -> list[str]:
    """Which operations all learning runs draw less or more often than the others, and on which they disagree."""
    alike = learned_alike(runs)
    if len(alike) < 2:
        return []
    less_in, more_in = zip(*(separated_operations(sampler) for _, sampler in alike), strict=True)
    less, more = _in_all(less_in), _in_all(more_in)
    against = _in_any(less_in) & _in_any(more_in)
    names, parts = runs[0].operations, []
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
    ratios = np.stack([sampler.operation_ratios(sampler.table) for _, sampler in alike], axis=1)
    figure, axes = blank(5.0, 4.6)
    texts = [[number(value) for value in row] for row in ratios]
    mesh = ratio_map(axes, ratios, ratio_limit(ratios), texts)
    names = [shorten(run.name) for run, _ in alike]
    name_cells(axes, [shorten(name) for name in runs[0].operations], names, 0 if len(alike) <= 4 else 90)
    ratio_bar(mesh, [axes], "drawn, relative to the start")
    said = "; ".join(_said(run, drawn) for (run, _), drawn in zip(alike, ratios.T, strict=True))
    caption = "How often each run's sampler draws each operation at the end."
    return picture(figure, f"Heat map of operations in {len(alike)} runs, relative to the start. {said}.", caption)


def _said(run: Run, drawn: np.ndarray) -> str:
    low, high = (f"{run.operations[k]} {number(drawn[k])}" for k in (drawn.argmin(), drawn.argmax()))
    return f"{run.name}: least {low}, most {high}"
