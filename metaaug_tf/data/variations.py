"""Changes to the training set for fair comparisons and experiments: validation images added, labels replaced."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from metaaug_tf.data.examples import Dataset, Examples

_NOISE_STREAM = 101  # keeps these draws apart from those of the splits


def vary(data: Dataset, settings: Mapping[str, Any]) -> Dataset:
    """The dataset with its training set changed as the settings ask; validation and test set stay.

    Args:
        data: from a source.
        settings: used are seed, train_on_validation (the validation images are trained on as well, as one would
            who needs none for a policy) and label_noise (share of the training labels replaced).
    """
    train = data.train
    if settings["train_on_validation"]:
        images = np.concatenate([train.images, data.validation.images])
        train = Examples(images, np.concatenate([train.labels, data.validation.labels]))
    if settings["label_noise"]:
        train = replace_labels(train, settings["label_noise"], len(data.class_names), settings["seed"])
    return replace(data, train=train)


def replace_labels(examples: Examples, share: float, classes: int, seed: int) -> Examples:
    """Gives a share of the examples, drawn from the seed, another label: any wrong one, evenly.

    Args:
        examples: labels in 0..classes-1.
        share: 0 to 1.
        classes: at least 2.
        seed: any whole number from 0.
    """
    random = np.random.Generator(np.random.PCG64([seed, _NOISE_STREAM]))
    chosen = random.permutation(len(examples))[: round(share * len(examples))]
    labels = examples.labels.copy()
    labels[chosen] = (labels[chosen] + random.integers(1, classes, len(chosen))) % classes
    return Examples(examples.images, labels)
