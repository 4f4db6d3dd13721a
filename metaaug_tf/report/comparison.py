"""Several runs side by side: their figures, what their settings differ in, and what can be said of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaaug_tf.report.findings import percent_of
from metaaug_tf.report.run import Run
from metaaug_tf.report.wording import listed, number, rate

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
    found = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def rows(runs: Sequence[Run]) -> list[Row]:
    """A row per run; the first run is the page's own and the others are told by how they differ from it."""
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
        return "The ranges overlap: these runs do not tell which is better."
    return f"Every run of {best[0].policy} ({best[0].name} and its repetitions) is above every other run."
