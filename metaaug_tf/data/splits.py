"""Cutting labelled examples into disjoint training, validation and test sets, stratified per class.

All choices are random but depend on (seed, step of the cutting, class) alone.
"""

from collections.abc import Sequence

import numpy as np

from metaaug_tf.data.examples import Examples, Splits
from metaaug_tf.errors import UserError
from metaaug_tf.settings import DataSettings

# Steps of the cutting, each with random numbers of its own.
_TEST, _TRAIN, _VALIDATION, _SUBSET, THINNING = range(5)


def partition(labels: np.ndarray, counts: np.ndarray, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose `counts[c]` examples of every class c at random.

    Args:
        labels: int [N], class numbers 0..C-1.
        counts: int [C], at most as many as the class has.
        seed: whole number from 0; the same one chooses the same examples.
        step: whole number from 0 that tells choices with the same seed apart.

    Returns:
        Positions int64 of the chosen examples and of the others, each in ascending order.
    """
    chosen = np.zeros(len(labels), bool)
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(_class_sizes(labels, len(counts)))[:-1])
    for number, (members, count) in enumerate(zip(by_class, counts, strict=True)):
        random = np.random.Generator(np.random.PCG64([seed, step, number]))
        chosen[random.permutation(members)[:count]] = True
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def per_class_counts(labels: np.ndarray, count: int, names: Sequence[str], purpose: str) -> np.ndarray:
    """The same `count` for every class, int [C], checked against what there is.

    Raises:
        UserError: a class has fewer than `count` images; names it, `purpose` says what they are for.
    """
    sizes = _class_sizes(labels, len(names))
    if (sizes < count).any():
        short = int(np.argmin(sizes))
        raise UserError(
            f"class {names[short]!r} has too few images for the split: {sizes[short]} there, {count} wanted "
            f"for {purpose} ({(sizes < count).sum()} of {len(names)} classes are short)."
        )
    return np.full(len(names), count)


def stratified_counts(labels: np.ndarray, total: int, names: Sequence[str], purpose: str) -> np.ndarray:
    """How many of every class make up `total` examples in the proportions of `labels`.

    Every class has at least one example among the chosen ones and one among the others.

    Args:
        labels: int [N], class numbers 0..C-1.
        total: how many to choose altogether.
        names: C class names, for errors.
        purpose: what the chosen ones are for, for errors.

    Returns:
        int [C], with the sum `total`.

    Raises:
        UserError: a class has fewer than 2 images, or `total` isn't between C and N - C.
    """
    sizes = _class_sizes(labels, len(names))
    if (sizes < 2).any():
        short = int(np.argmin(sizes))
        raise UserError(
            f"class {names[short]!r} has too few images for the split: {sizes[short]} there, at least 2 "
            f"wanted so that some can be set apart for {purpose}."
        )
    if not len(names) <= total <= len(labels) - len(names):
        raise UserError(
            f"{total} of {len(labels)} images can't be set apart for {purpose}: each of the {len(names)} "
            f"classes needs one on both sides, so {len(names)} to {len(labels) - len(names)} can."
        )
    quota = sizes * total / len(labels)
    counts = np.clip(np.floor(quota).astype(int), 1, sizes - 1)
    while (missing := total - counts.sum()) != 0:
        step = 1 if missing > 0 else -1
        movable = counts < sizes - 1 if step > 0 else counts > 1
        counts[np.argmax(np.where(movable, step * (quota - counts), -np.inf))] += step
    return counts


def cut_dataset(
    pool: Examples,
    test: Examples | None,
    class_names: Sequence[str],
    settings: DataSettings,
    families: Sequence[str] | None = None,
    skipped: int = 0,
    validation: Examples | None = None,
) -> Splits:
    """Cut what a source found into the three sets that the settings ask for.

    Args:
        pool: the training images, or all images where there is no test set.
        test: the test set, or None: it is then cut from `pool`.
        class_names: C names; labels are 0..C-1.
        settings: used are seed, train_per_class (which includes the
            validation images), validation_per_class, validation_examples, validation_fraction,
            test_per_class, test_fraction and train_examples.
        families: passed on to the Splits.
        skipped: passed on to the Splits.
        validation: the validation set where the source has one of its own; it is then not cut from `pool`.

    Raises:
        UserError: a class has too few images for the split; names it.
    """
    seed, per_class = settings.seed, settings.train_per_class
    if test is None:
        counts = _test_counts(pool.labels, settings, class_names)
        chosen, rest = partition(pool.labels, counts, seed, _TEST)
        pool, test = pool.take(rest), pool.take(chosen)
    elif settings.test_per_class:
        counts = per_class_counts(test.labels, settings.test_per_class, class_names, "testing")
        test = test.take(partition(test.labels, counts, seed, _TEST)[0])
    if per_class:
        counts = per_class_counts(pool.labels, per_class, class_names, "training and validation")
        pool = pool.take(partition(pool.labels, counts, seed, _TRAIN)[0])
    train = pool
    if validation is None:
        counts = _validation_counts(pool.labels, settings, class_names)
        chosen, rest = partition(pool.labels, counts, seed, _VALIDATION)
        train, validation = pool.take(rest), pool.take(chosen)
    if 0 < settings.train_examples < len(train):
        counts = stratified_counts(train.labels, settings.train_examples, class_names, "training")
        train = train.take(partition(train.labels, counts, seed, _SUBSET)[0])
    return Splits(
        train,
        validation,
        test,
        tuple(class_names),
        tuple(families) if families is not None else None,
        skipped,
    )


def _class_sizes(labels: np.ndarray, classes: int) -> np.ndarray:
    """How many examples each class has, int [classes]."""
    return np.bincount(labels, minlength=classes)


def _test_counts(labels: np.ndarray, settings: DataSettings, names: Sequence[str]) -> np.ndarray:
    """How many of each class become the test set, int [C], where all sets are cut from one."""
    if count := settings.test_per_class:
        train = settings.train_per_class
        per_class_counts(labels, train + count, names, f"{train or 'some'} of training, {count} of testing")
        return np.full(len(names), count)
    return stratified_counts(labels, _part(settings.test_fraction, labels, names), names, "testing")


def _part(fraction: float, labels: np.ndarray, names: Sequence[str]) -> int:
    """How many examples a fraction stands for: rounded, but at least one per class on both sides."""
    return min(max(round(fraction * len(labels)), len(names)), len(labels) - len(names))


def _validation_counts(labels: np.ndarray, settings: DataSettings, names: Sequence[str]) -> np.ndarray:
    """How many of each class are held out of the training set, int [C]; at least one image must remain."""
    if per_class := settings.validation_per_class:
        per_class_counts(labels, per_class + 1, names, f"{per_class} of validation, 1 of training")
        return np.full(len(names), per_class)
    total = settings.validation_examples
    if fraction := settings.validation_fraction:
        total = _part(fraction, labels, names)
    return stratified_counts(labels, total, names, "validation") if total else np.zeros(len(names), int)
