"""Figures behind the sentences and the pictures, with the error that says how far to trust them."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from metaaug_tf.report.run import Observations, Run

# Below this many observations a mean says too little to be compared.
ENOUGH = 20
# A difference of less than five per cent is not worth a sentence, however sure.
SMALLEST = math.log(1.05)
# Their result does not depend on the magnitude, so a number beside their name would mislead.
WITHOUT_MAGNITUDE = frozenset({"AutoContrast", "Equalize", "Identity"})
_MOST_GROUPS = 12


@dataclass(frozen=True)
class Groups:
    """A split of the observations by what is in the image.

    Attributes:
        kind: "family" or "class".
        names: G names.
        index: int [N], the group of every observation, -1 for one that is in none of those shown.
        seen: the N observations.
        complete: False where only the classes with the most extreme weights are shown.
    """

    kind: str
    names: tuple[str, ...]
    index: np.ndarray
    seen: Observations
    complete: bool = True


@dataclass(frozen=True)
class Relative:
    """Mean weight with an operation relative to that without it, per operation and group.

    Attributes:
        log_ratio: float64 [K, G], natural logarithm; NaN with too few observations.
        error: float64 [K, G], its standard error.
    """

    log_ratio: np.ndarray
    error: np.ndarray


def log_ratio(inside: np.ndarray, outside: np.ndarray) -> tuple[float, float]:
    """Logarithm of mean(inside) / mean(outside) with its standard error (delta method).

    NaN, NaN with fewer than ENOUGH values on one side or a mean of zero.
    """
    if min(len(inside), len(outside)) < ENOUGH or not (inside.mean() > 0 and outside.mean() > 0):
        return math.nan, math.nan
    squares = [np.var(side, ddof=1) / len(side) / side.mean() ** 2 for side in (inside, outside)]
    return math.log(inside.mean() / outside.mean()), math.sqrt(sum(squares))


def separated(difference: float, error: float, looks: int) -> bool:
    """Whether a logarithm is clear of zero at 5 % after `looks` such comparisons, and not negligible."""
    limit = NormalDist().inv_cdf(1 - 0.025 / looks)
    return abs(difference) > max(SMALLEST, limit * error)


def operation_contrast(ratios: np.ndarray, operation: int) -> tuple[float, float]:
    """Cells [K, K] of one operation, relative to the start, against all others, as `log_ratio`.

    Args:
        ratios: how often each pair is drawn.
        operation: the operation's index.

    The spread among cells is the only noise that a table shows: if it were all noise, the cells of one operation
    would be a random part of the table.
    """
    cells = np.zeros(ratios.shape, dtype=bool)
    cells[operation, :] = cells[:, operation] = True
    return log_ratio(ratios[cells], ratios[~cells])


def presence(pairs: np.ndarray, operations: int) -> np.ndarray:
    """Which operations take part: int [N, 2] -> bool [N, K]."""
    return (pairs[:, :, None] == np.arange(operations)).any(axis=1)


def mean_weights(groups: Groups, operations: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean weight and count per operation and group: two arrays [K, G]; NaN where the count is 0."""
    takes_part = presence(groups.seen.pairs, operations).astype(np.float64)
    member = (groups.index[:, None] == np.arange(len(groups.names))).astype(np.float64)
    counts = takes_part.T @ member
    sums = takes_part.T @ (member * groups.seen.weights[:, None])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), counts


def relative_weights(groups: Groups, operations: int) -> Relative:
    """What each of K operations does to the weight of each group, relative to the same group without it."""
    takes_part, weights = presence(groups.seen.pairs, operations), groups.seen.weights
    found = np.full((2, operations, len(groups.names)), np.nan)
    for group in range(len(groups.names)):
        member = groups.index == group
        for operation in range(operations):
            using = takes_part[:, operation]
            found[:, operation, group] = log_ratio(weights[member & using], weights[member & ~using])
    return Relative(*found)


def strength_contrast(seen: Observations, operation: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the observations with `operation` above magnitude 5 and of those up to 5: [A], [B]."""
    used = seen.pairs == operation
    strength = np.where(used, np.abs(seen.magnitudes), -1).max(axis=1)
    return seen.weights[strength > 5], seen.weights[(strength >= 0) & (strength <= 5)]


def class_weights(seen: Observations) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the classes that were seen [M], their mean weight [M] and its standard error [M] (NaN for one)."""
    labels = np.unique(seen.labels)
    of_class = [seen.weights[seen.labels == label] for label in labels]
    means = np.array([weights.mean() for weights in of_class])
    errors = [np.std(w, ddof=1) / math.sqrt(len(w)) if len(w) > 1 else math.nan for w in of_class]
    return labels, means, np.array(errors)


def groups_of(run: Run) -> Groups | None:
    """Families where the run has them, else classes: all of them or, of many, the most extreme ones."""
    seen = run.observations
    if seen is None or not len(seen.labels):
        return None
    family_of = {label: run.families[label] for label in np.unique(seen.labels)} if run.families else {}
    if 1 < len(set(family_of.values())) <= _MOST_GROUPS:
        names = tuple(dict.fromkeys(family_of.values()))
        return Groups("family", names, np.array([names.index(family_of[label]) for label in seen.labels]), seen)
    labels, means, _ = class_weights(seen)
    chosen, complete = labels, len(labels) <= _MOST_GROUPS
    if not complete:
        order = np.argsort(means, kind="stable")
        half = _MOST_GROUPS // 2
        chosen = labels[np.concatenate([order[:half], order[-half:]])]
    index = np.full(len(seen.labels), -1)
    for group, label in enumerate(chosen):
        index[seen.labels == label] = group
    return Groups("class", tuple(run.class_name(label) for label in chosen), index, seen, complete)
