"""What was learned, in plain sentences computed from the run; where the data separate nothing they say so.

A difference is stated only where it is at least five per cent and clear of zero at 5 %, corrected for the number of
comparisons (Bonferroni). The noise is that within one run: one run can't say what another seed would learn.
"""

import math
from dataclasses import dataclass

import numpy as np

from metaaug_tf.policy.table import SamplerTable
from metaaug_tf.report.measures import (
    WITHOUT_MAGNITUDE,
    Groups,
    Relative,
    class_weights,
    groups_of,
    log_ratio,
    operation_contrast,
    relative_weights,
    separated,
    strength_contrast,
)
from metaaug_tf.report.run import Observations, Run
from metaaug_tf.report.wording import listed, number, percent, percent_of, rate, times

_MOST_SENTENCES = 3
# Beyond these levels a sigmoid is so flat that the policy hardly learns any more.
_FLAT_LOW, _FLAT_HIGH = 0.05, 0.95


def findings(run: Run) -> list[str]:
    """The sentences of one run, most important first; never empty."""
    if not run.learns:
        learned = [_fixed_rule(run)]
    else:
        groups = groups_of(run)
        harmed = _harmed(run, groups)
        learned = [*_drawn(run, harmed), *_losses(run, groups, harmed), *_strength(run), *_levels(run)]
    return [*_result(run), *learned, *_cost(run)]


def _result(run: Run) -> list[str]:
    sentences = []
    test, epochs = run.figure("test_accuracy"), run.figure("epochs")
    if not run.summary:
        recorded = len(run.curves.get("epoch", ()))
        sentences.append(f"The run is not finished: {recorded} epochs are recorded so far.")
    if math.isfinite(test):
        after = f" after {epochs:.0f} epochs" if math.isfinite(epochs) else ""
        validation = run.figure("validation_accuracy")
        beside = f" (validation{run.validation_note}: {percent_of(validation)})" if math.isfinite(validation) else ""
        sentences.append(f"The classifier gets {percent_of(test)} of the test images right{after}{beside}.")
    accuracy = run.curves.get("val_accuracy", np.array([]))
    if len(accuracy) > 1 and np.isfinite(accuracy[-1]) and np.nanmax(accuracy) > accuracy[-1] + 0.01:
        best = int(np.nanargmax(accuracy))
        sentences.append(
            f"Validation accuracy was highest in epoch {run.curves['epoch'][best]:.0f} "
            f"({percent_of(accuracy[best])}) and ended at {percent_of(accuracy[-1])}."
        )
    return sentences


def _fixed_rule(run: Run) -> str:
    if run.policy == "none":
        return "The images were not augmented by any of the operations, so there is no policy to look at."
    return (
        f"The policy “{run.policy}” draws by a fixed rule: nothing was learned about the augmentation itself."
        " A run with the policy “metaaugment” shows which operations help."
    )


@dataclass(frozen=True)
class _Harm:
    """The groups that an operation hurts most ("the hue classes") and the fraction of their weight it leaves."""

    whom: str
    left: float


def _harmed(run: Run, groups: Groups | None) -> dict[str, _Harm]:
    """Whom each operation hurts most, where some groups stand clear below all others."""
    if groups is None or not groups.complete or len(groups.names) < 2:
        return {}
    relative = relative_weights(groups, len(run.operations))
    found = {name: _harm(groups, relative, operation) for operation, name in enumerate(run.operations)}
    return {name: harm for name, harm in found.items() if harm}


def _harm(groups: Groups, relative: Relative, operation: int) -> _Harm | None:
    logs, errors = relative.log_ratio[operation], relative.error[operation]
    if np.isnan(logs).any():
        return None
    looks, order = relative.log_ratio.size, np.argsort(logs, kind="stable")

    def below(low: int, high: int) -> bool:
        return separated(logs[high] - logs[low], math.hypot(errors[high], errors[low]), looks)

    for count in range(1, len(order)):
        hurt, rest = order[:count], order[count:]
        if logs[hurt[-1]] > 0 or not separated(logs[hurt[-1]], errors[hurt[-1]], looks):
            return None
        if all(below(low, high) for low in hurt for high in rest):
            return _Harm(_members(groups, np.sort(hurt)), math.exp(logs[hurt].mean()))
    return None


def _members(groups: Groups, indices: np.ndarray) -> str:
    names = [groups.names[index] for index in indices]
    if groups.kind == "family":
        return f"the {listed(names)} classes"
    return f"the class{'es' if len(names) > 1 else ''} {listed(names)}"


def separated_operations(sampler: SamplerTable) -> tuple[list[int], list[int]]:
    """Indices of the operations drawn clearly less often than the others (least first) and more often (most first)."""
    drawn, count = sampler.operation_ratios(sampler.table), len(sampler.operations)
    ratios = sampler.pair_ratios(sampler.table)
    clear = [k for k in range(count) if separated(*operation_contrast(ratios, k), looks=count)]
    order = sorted(clear, key=lambda k: drawn[k])
    return [k for k in order if drawn[k] < 1], [k for k in reversed(order) if drawn[k] > 1]


def _drawn(run: Run, harmed: dict[str, _Harm]) -> list[str]:
    """Which operations the sampler draws less or more often than at the start."""
    if run.sampler is None:
        return []
    names, drawn = run.sampler.operations, run.sampler.operation_ratios(run.sampler.table)
    if np.ptp(drawn) < 1e-3:
        return ["The sampler is still as at the start: every operation is drawn as often as then."]
    less, more = separated_operations(run.sampler)
    if not less and not more:
        return [
            f"The sampler separates no operation from the others: they are drawn {number(drawn.min())} to "
            f"{times(drawn.max())} as often as at the start, within the spread of the table."
        ]
    sentences = []
    for k in less[:_MOST_SENTENCES]:
        clause = f"; it hurts {harmed[names[k]].whom} most" if names[k] in harmed else ""
        sentences.append(f"{names[k]} is drawn {times(drawn[k])} as often as at the start{clause}.")
    for some, how in ((less[_MOST_SENTENCES:], "Also drawn less often"), (more, "Drawn more often")):
        if some:
            sentences.append(f"{how}: {listed([f'{names[k]} ({times(drawn[k])})' for k in some])}.")
    return sentences


def _losses(run: Run, groups: Groups | None, harmed: dict[str, _Harm]) -> list[str]:
    """Which operations are hardest on which groups, or that the weights separate nothing."""
    if groups is None:
        return []
    seen = groups.seen
    if np.ptp(seen.weights) < 1e-6:
        return ["The policy gives every image the same weight, whatever the transformation."]
    if not harmed and groups.complete and len(groups.names) > 1:
        kinds = "families" if groups.kind == "family" else "classes"
        return [
            f"No operation sets one of the {kinds} clear of all others, as far as {len(seen.weights):,} observed "
            "images can tell."
        ]
    sentences = []
    for whom in dict.fromkeys(harm.whom for harm in harmed.values()):
        losses = sorted((harm.left, name) for name, harm in harmed.items() if harm.whom == whom)
        phrases = [f"{name} ({number(left)})" for left, name in losses]
        phrases[0] = f"{losses[0][1]} ({times(losses[0][0])} the weight of their other images)"
        sentences.append(f"Hardest on {whom}: {listed(phrases)}.")
    return sentences


def _strength(run: Run) -> list[str]:
    """Operations whose weight falls or rises with the magnitude."""
    seen = run.observations
    if seen is None:
        return []
    falls: list[str] = []
    rises: list[str] = []
    for operation, name in enumerate(run.operations):
        if name in WITHOUT_MAGNITUDE:
            continue
        strong, mild = strength_contrast(seen, operation)
        difference, error = log_ratio(strong, mild)
        if separated(difference, error, looks=len(run.operations)):
            phrase = f"{name} ({number(mild.mean())} up to magnitude 5, {number(strong.mean())} above)"
            (falls if difference < 0 else rises).append(phrase)
    sentences = []
    if falls:
        sentences.append(f"The stronger, the less trusted: the mean weight falls for {listed(falls)}.")
    if rises:
        sentences.append(f"The mean weight rises with the magnitude for {listed(rises)}.")
    return sentences


def _levels(run: Run) -> list[str]:
    """The class that is trusted least, and whether the weights are in a range where the policy can learn."""
    seen = run.observations
    if seen is None or not len(seen.weights):
        return []
    sentences = _least_class(run, seen)
    level = float(seen.weights.mean())
    if not _FLAT_LOW <= level <= _FLAT_HIGH:
        sentences.append(
            f"The mean weight is {number(level, 3)}, where the policy's sigmoid is nearly flat: "
            "it may have stopped learning there."
        )
    if seen.not_finite:
        sentences.append(f"{seen.not_finite:,} observed images have no finite weight and are left out.")
    return sentences


def _least_class(run: Run, seen: Observations) -> list[str]:
    labels, means, _ = class_weights(seen)
    if len(labels) < 2:
        return []
    least = labels[means.argmin()]
    difference, error = log_ratio(seen.weights[seen.labels == least], seen.weights[seen.labels != least])
    if not separated(difference, error, looks=len(labels)):
        return []
    return [
        f"Of all classes {run.class_name(least)} has the lowest mean weight, {number(means.min())} "
        f"(all images: {number(seen.weights.mean())})."
    ]


def _cost(run: Run) -> list[str]:
    pace, ratio = run.figure("images_per_second"), run.figure("step_ratio")
    parts = []
    if math.isfinite(pace):
        waiting = run.figure("input_bound_fraction")
        waited = f", {percent(waiting)} of the time waiting for input" if math.isfinite(waiting) else ""
        parts.append(f"training ran at {rate(pace)} images per second{waited}")
    if math.isfinite(ratio):
        parts.append(f"a step takes {number(ratio, 1)} times as long as a plain one")
    sentence = "; ".join(parts)
    return [f"{sentence[0].upper()}{sentence[1:]}."] if parts else []
