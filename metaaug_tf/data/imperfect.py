"""Training sets made imperfect on purpose, as published experiments do it: wrong labels, a long tail, rare classes.

Validation and test set stay as they are. All choices depend on the seed alone.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from metaaug_tf.data.examples import Examples, Splits
from metaaug_tf.data.splits import THINNING, partition
from metaaug_tf.errors import UserError
from metaaug_tf.settings import DataSettings

_NOISE_STREAM, _FLIP_STREAM = 101, 102  # keep these draws apart from those of the splits
_RARE_FRACTION = 0.1
# Pairs of similar classes of CIFAR-10 (Patrini et al., CVPR 2017): images of the first get the label of the second.
_CIFAR10_PAIRS = {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}


def vary(data: Splits, settings: DataSettings) -> Splits:
    """Returns the splits with the training set changed as the settings ask; validation and test set stay.

    Images are left out first, then labels replaced. Validation images that are trained on as well keep their labels:
    they are the trusted ones.

    Args:
        data: from a source; in memory where a setting asks for a change.
        settings: used are seed, long_tail, rare_classes, label_noise, label_noise_kind and train_on_validation.

    Raises:
        UserError: a long tail of classes with a single image.
    """
    thinned = settings.long_tail > 1 or settings.rare_classes
    if not (settings.train_on_validation or settings.label_noise or thinned):
        return data
    train, classes = data.train.in_memory(len(data.train)), len(data.class_names)
    if thinned:
        sizes = long_tail_sizes(train.class_sizes(classes), settings.long_tail)
        sizes = rare_class_sizes(sizes, settings.rare_classes)
        train = train.take(partition(train.labels, sizes, settings.seed, THINNING)[0])
    true_labels = train.labels
    if settings.label_noise:
        draw = LABEL_NOISE[settings.label_noise_kind]
        labels = draw(train.labels, settings.label_noise, data.class_names, settings.seed)
        train = Examples(train.images, labels)
    if settings.train_on_validation:
        trusted = data.validation
        train = Examples(*map(np.concatenate, zip(train.arrays, trusted.arrays, strict=True)))
        true_labels = np.concatenate([true_labels, trusted.labels])
    return replace(data, train=train, true_labels=true_labels if settings.label_noise else None)


def uniform_noise(labels: np.ndarray, fraction: float, names: tuple[str, ...], seed: int) -> np.ndarray:
    """Returns labels of which a fraction, drawn at random, are replaced by any other class, evenly.

    Args:
        labels: int [N], class indices 0..C-1.
        fraction: 0 to 1.
        names: C class names, C at least 2.
        seed: any integer from 0.
    """
    random = np.random.Generator(np.random.PCG64([seed, _NOISE_STREAM]))
    chosen = random.permutation(len(labels))[: round(fraction * len(labels))]
    return _replaced(labels, chosen, (labels[chosen] + random.integers(1, len(names), len(chosen))) % len(names))


def flip_noise(labels: np.ndarray, fraction: float, names: tuple[str, ...], seed: int) -> np.ndarray:
    """As `uniform_noise`, but all wrong labels of a class are of one other class (Shu et al., NeurIPS 2019, "flip")."""
    random = np.random.Generator(np.random.PCG64([seed, _FLIP_STREAM]))
    classes = len(names)
    others = (np.arange(classes) + random.integers(1, classes, classes)) % classes
    chosen = random.permutation(len(labels))[: round(fraction * len(labels))]
    return _replaced(labels, chosen, others[labels[chosen]])


def pair_noise(labels: np.ndarray, fraction: float, names: tuple[str, ...], seed: int) -> np.ndarray:
    """As `uniform_noise`, but only some classes have wrong labels, each those of one class that resembles it.

    For the classes of CIFAR-10 these pairs are published (Patrini et al., CVPR 2017); of other data every class with
    an even index has labels of the next one.
    """
    if set(_CIFAR10_PAIRS) <= set(names):
        pairs = {names.index(one): names.index(other) for one, other in _CIFAR10_PAIRS.items()}
    else:
        pairs = {one: one + 1 for one in range(0, len(names) - 1, 2)}
    random = np.random.Generator(np.random.PCG64([seed, _FLIP_STREAM]))
    noisy = labels
    for one, other in pairs.items():
        members = random.permutation(np.flatnonzero(labels == one))
        noisy = _replaced(noisy, members[: round(fraction * len(members))], other)
    return noisy


LABEL_NOISE: dict[str, Callable[[np.ndarray, float, tuple[str, ...], int], np.ndarray]] = {
    "uniform": uniform_noise,
    "flip": flip_noise,
    "pairs": pair_noise,
}


def _replaced(labels: np.ndarray, positions: np.ndarray, values: np.ndarray | int) -> np.ndarray:
    changed = labels.copy()
    changed[positions] = values
    return changed


def long_tail_sizes(sizes: np.ndarray, ratio: float) -> np.ndarray:
    """Returns class sizes that fall exponentially with the class index (Cui et al., CVPR 2019).

    Args:
        sizes: int [C], the number of images there are of each class.
        ratio: the first class's size over the last one's, at least 1.

    Returns:
        int [C], at most `sizes` and at least 1 where there is an image.

    Raises:
        UserError: there is no tail to be made, since no class has two images.
    """
    if ratio > 1 and sizes.max() < 2:
        raise UserError(f"--config.long_tail={ratio:g} needs classes of two images or more, got one image a class")
    ranks = np.arange(len(sizes)) / max(1, len(sizes) - 1)
    return np.minimum(sizes, np.maximum(1, (sizes.max() * ratio**-ranks).astype(int)))


def rare_class_sizes(sizes: np.ndarray, rare: int) -> np.ndarray:
    """Returns class sizes of which the first `rare` are cut to a tenth, at least 1 (Gudovskiy et al., CVPR 2021)."""
    cut = np.maximum(np.minimum(sizes, 1), (sizes * _RARE_FRACTION).astype(int))
    return np.where(np.arange(len(sizes)) < rare, cut, sizes)
