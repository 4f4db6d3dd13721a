"""Wrong labels, long tails and rare classes made on purpose."""

import numpy as np
import pytest
from data_settings import SETTINGS

import metaaug_tf as ma
from metaaug_tf.config import values_out_of_range
from metaaug_tf.data.examples import Splits
from metaaug_tf.data.imperfect import LABEL_NOISE, long_tail_sizes, rare_class_sizes, vary
from metaaug_tf.settings import DataSettings

NAMES = ("a", "b", "c", "d")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LABELS = np.arange(400, dtype=np.int32) % 4


def examples(count, classes, start):
    """Images that hold their own index, with labels in turn."""
    indices = np.arange(start, start + count)
    images = np.stack([indices // 256, indices % 256, 0 * indices], axis=-1).astype(np.uint8)
    return ma.Examples(images.reshape(count, 1, 1, 3), (indices % classes).astype(np.int32))


def splits(count=400, validation=40, classes=4):
    names = tuple("abcdefghij"[:classes])
    return Splits(examples(count, classes, 0), examples(validation, classes, 1000), examples(8, classes, 2000), names)


def index_of(images):
    return images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1]


@pytest.mark.parametrize("kind", LABEL_NOISE)
def test_the_seed_alone_says_which_labels_are_wrong(kind):
    one, again, other = (LABEL_NOISE[kind](LABELS, 0.2, NAMES, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any() and set(one) <= set(range(4))
    np.testing.assert_array_equal(LABEL_NOISE[kind](LABELS, 0.0, NAMES, 1), LABELS)


def test_uniform_noise_gives_a_fraction_any_other_class():
    noisy = LABEL_NOISE["uniform"](LABELS, 0.5, NAMES, 0)
    assert (noisy != LABELS).sum() == 200
    pairs, counts = np.unique(np.stack([LABELS, noisy])[:, noisy != LABELS], axis=1, return_counts=True)
    assert len(pairs.T) == 12 and counts.min() > 5  # 200 / 12 = 17 each on average


def test_flip_noise_gives_each_class_one_other():
    noisy = LABEL_NOISE["flip"](LABELS, 0.4, NAMES, 0)
    assert (noisy != LABELS).sum() == 160
    for k in range(4):
        assert len(set(noisy[(k == LABELS) & (noisy != k)])) == 1


def test_pairs_are_those_published_for_cifar10_and_neighbours_elsewhere():
    labels = np.arange(1000, dtype=np.int32) % 10
    noisy = LABEL_NOISE["pairs"](labels, 0.4, CIFAR10, 0)
    changed = {(CIFAR10[a], CIFAR10[b], 40) for a, b in zip(labels, noisy, strict=True) if a != b}
    assert changed == {
        (one, other, ((labels == CIFAR10.index(one)) & (noisy == CIFAR10.index(other))).sum())
        for one, other in [
            ("truck", "automobile"),
            ("bird", "airplane"),
            ("deer", "horse"),
            ("cat", "dog"),
            ("dog", "cat"),
        ]
    }
    noisy = LABEL_NOISE["pairs"](LABELS, 0.4, NAMES, 0)
    assert {(a, b) for a, b in zip(LABELS, noisy, strict=True) if a != b} == {(0, 1), (2, 3)}
    assert (noisy != LABELS).sum() == 80


def test_a_long_tail_falls_exponentially_from_the_first_class_to_the_last():
    # Cui et al.: 500 * 100 ** -(k / 9), rounded down
    sizes = long_tail_sizes(np.full(10, 500), 100)
    np.testing.assert_array_equal(sizes, [500, 299, 179, 107, 64, 38, 23, 13, 8, 5])
    np.testing.assert_array_equal(long_tail_sizes(np.array([8, 1, 0, 8]), 1), [8, 1, 0, 8])
    np.testing.assert_array_equal(long_tail_sizes(np.array([8, 1, 8]), 100), [8, 1, 1])
    with pytest.raises(ma.UserError, match="long_tail=10 needs classes of two images or more, got one image a class"):
        long_tail_sizes(np.ones(5, int), 10)


def test_rare_classes_keep_a_tenth():
    np.testing.assert_array_equal(rare_class_sizes(np.array([50, 4, 0, 50]), 3), [5, 1, 0, 50])


def test_images_are_left_out_before_labels_are_replaced_and_trusted_ones_keep_theirs():
    settings = DataSettings(label_noise=0.5, long_tail=10.0, rare_classes=1, train_on_validation=True, seed=3)
    data = vary(splits(), settings)
    indices = index_of(data.train.images)
    own = indices < 1000
    np.testing.assert_array_equal(np.bincount(indices[own] % 4), [10, 46, 21, 10])
    np.testing.assert_array_equal(data.true_labels, indices % 4)
    wrong = data.train.labels != data.true_labels
    assert wrong[own].sum() == round(0.5 * own.sum()) and not wrong[~own].any()
    assert (~own).sum() == 40
    assert vary(splits(), DataSettings(long_tail=10.0)).true_labels is None


def test_noise_alone_draws_as_it_always_did():
    """The rows of docs/results.json and old runs depend on it: PCG64 of (seed, 101), a permutation, then shifts."""
    random = np.random.Generator(np.random.PCG64([5, 101]))
    chosen = random.permutation(400)[:80]
    expected = LABELS.copy()
    expected[chosen] = (expected[chosen] + random.integers(1, 4, 80)) % 4
    np.testing.assert_array_equal(vary(splits(), DataSettings(label_noise=0.2, seed=5)).train.labels, expected)


def test_the_settings_reach_a_dataset():
    small = SETTINGS | {"train_per_class": 11, "validation_per_class": 1, "test_per_class": 1, "families": "angle"}
    data = ma.load_dataset(small | {"long_tail": 10.0, "label_noise": 0.4, "label_noise_kind": "flip"}, None)
    assert data.train.class_sizes(len(data.class_names)).sum() < 11 * len(data.class_names) / 2
    assert (data.true_labels != data.train.labels).mean() == pytest.approx(0.4, abs=0.02)


def test_every_kind_of_noise_is_a_setting():
    for kind in LABEL_NOISE:
        assert not values_out_of_range({"label_noise_kind": kind})
    assert "must be one of " + ", ".join(LABEL_NOISE) in values_out_of_range({"label_noise_kind": "salt"})[0]
