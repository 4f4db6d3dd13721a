"""Splits: disjoint, stratified, deterministic, and clear errors where a class has too few images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaaug_tf.data.examples import Examples
from metaaug_tf.data.splits import cut_dataset, partition, per_class_counts, stratified_counts
from metaaug_tf.errors import UserError
from metaaug_tf.settings import DataSettings

RULES = {
    "seed": 3,
    "train_per_class": 0,
    "validation_per_class": 0,
    "validation_examples": 0,
    "validation_fraction": 0.0,
    "test_per_class": 0,
    "test_fraction": 0.2,
    "train_examples": 0,
}


def of(changes=None):
    """Settings of the data with the rules above, some of them changed."""
    return DataSettings.of(RULES | (changes or {}))


class_sizes = st.lists(st.integers(6, 60), min_size=2, max_size=8)


def numbered(sizes, order_seed=0):
    """Examples whose images hold their own number, so that sets can be compared, in mixed order."""
    labels = np.random.default_rng(order_seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = np.arange(len(labels), dtype=np.uint32).view(np.uint8).reshape(-1, 2, 2, 1)
    return Examples(images, labels.astype(np.int32)), [f"class {k}" for k in range(len(sizes))]


def numbers(examples):
    return set(np.ascontiguousarray(examples.images).reshape(-1, 4).view(np.uint32)[:, 0].tolist())


def sizes_of(examples, classes):
    return np.bincount(examples.labels, minlength=classes)


@settings(max_examples=60, deadline=None)
@given(class_sizes, st.integers(0, 2**31), st.data())
def test_sets_are_disjoint_and_hold_the_asked_numbers(sizes, seed, data):
    pool, names = numbered(sizes, seed % 1000)
    test_count = data.draw(st.integers(1, min(sizes) - 3))
    train_count = data.draw(st.integers(2, min(sizes) - test_count))
    held_out = data.draw(st.integers(1, train_count - 1))
    rules = of(
        {
            "seed": seed,
            "train_per_class": train_count,
            "validation_per_class": held_out,
            "test_per_class": test_count,
        }
    )
    cut = cut_dataset(pool, None, names, rules)
    parts = [numbers(part) for part in (cut.train, cut.validation, cut.test)]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert (sizes_of(cut.train, len(sizes)) == train_count - held_out).all()
    assert (sizes_of(cut.validation, len(sizes)) == held_out).all()
    assert (sizes_of(cut.test, len(sizes)) == test_count).all()


@settings(max_examples=60, deadline=None)
@given(class_sizes, st.integers(0, 2**31), st.floats(0.2, 0.6), st.floats(0.2, 0.6))
def test_fractions_keep_the_proportions_and_lose_nothing(sizes, seed, test_fraction, validation_fraction):
    pool, names = numbered(sizes)
    rules = of({"seed": seed, "test_fraction": test_fraction, "validation_fraction": validation_fraction})
    cut = cut_dataset(pool, None, names, rules)
    assert set.union(*(numbers(part) for part in (cut.train, cut.validation, cut.test))) == numbers(pool)
    assert len(cut.train) + len(cut.validation) + len(cut.test) == len(pool)
    assert np.abs(sizes_of(cut.test, len(sizes)) - test_fraction * np.array(sizes)).max() <= 1.5
    assert len(cut.test) == round(test_fraction * len(pool))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(2, 300), min_size=2, max_size=30), st.floats(0, 1))
def test_stratified_counts_add_up_and_leave_one_on_both_sides(sizes, part):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    total = len(sizes) + int(part * (len(labels) - 2 * len(sizes)))
    counts = stratified_counts(labels, total, [str(k) for k in range(len(sizes))], "testing")
    assert counts.sum() == total
    assert (counts >= 1).all() and (counts <= np.array(sizes) - 1).all()


def test_stratified_counts_by_hand():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    assert stratified_counts(labels, 10, "abc", "testing").tolist() == [5, 3, 2]
    assert stratified_counts(labels, 11, "abc", "testing").tolist() == [6, 3, 2]  # quotas 5.5, 3.3, 2.2
    assert stratified_counts(np.repeat([0, 1], [98, 2]), 10, "ab", "testing").tolist() == [9, 1]


def test_same_seed_same_sets_other_seed_others():
    pool, names = numbered([40, 30])
    first, same, other = (
        cut_dataset(pool, None, names, of({"seed": seed, "validation_examples": 10})) for seed in (1, 1, 2)
    )
    for part in ("train", "validation", "test"):
        assert np.array_equal(getattr(first, part).images, getattr(same, part).images)
        assert numbers(getattr(first, part)) != numbers(getattr(other, part))


def test_choice_in_a_class_does_not_depend_on_the_other_classes():
    labels = np.repeat([0, 1], [20, 30])
    alone, _ = partition(labels[:20], np.array([5]), 7, 0)
    both, _ = partition(labels, np.array([5, 9]), 7, 0)
    assert np.array_equal(alone, both[:5])


def test_a_given_test_set_is_kept_or_cut_per_class():
    pool, names = numbered([20, 10])
    test, _ = numbered([9, 8])
    assert numbers(cut_dataset(pool, test, names, of()).test) == numbers(test)
    cut = cut_dataset(pool, test, names, of({"test_per_class": 4, "validation_examples": 6}))
    assert sizes_of(cut.test, 2).tolist() == [4, 4]
    assert sizes_of(cut.validation, 2).tolist() == [4, 2]
    assert len(cut.train) == 24


def test_training_subset_is_taken_after_validation_was_held_out():
    pool, names = numbered([60, 30])
    rules = {"validation_examples": 9, "train_examples": 30, "test_per_class": 5}
    whole, part = (
        cut_dataset(pool, None, names, of(rules | {"train_examples": 0})),
        cut_dataset(pool, None, names, of(rules)),
    )
    assert numbers(whole.validation) == numbers(part.validation)
    assert numbers(part.train) < numbers(whole.train)
    assert sizes_of(part.train, 2).tolist() == [21, 9]  # quotas 20.7, 9.3 of 49 and 22 left
    assert len(cut_dataset(pool, None, names, of(rules | {"train_examples": 10**6})).train) == len(whole.train)


def test_no_rule_for_validation_gives_an_empty_set():
    pool, names = numbered([10, 10])
    cut = cut_dataset(pool, None, names, of())
    assert len(cut.validation) == 0 and cut.validation.images.shape == (0, 2, 2, 1)


def test_errors_name_the_class_and_the_counts():
    pool, names = numbered([20, 7, 20])
    with pytest.raises(UserError, match=r"'class 1' has too few .* 7 there, 9 wanted"):
        cut_dataset(pool, None, names, of({"train_per_class": 6, "test_per_class": 3}))
    with pytest.raises(UserError, match=r"'class 1' has too few .* 7 there, 8 wanted .* 7 of validation"):
        cut_dataset(pool, pool, names, of({"validation_per_class": 7}))
    with pytest.raises(UserError, match=r"2 of 47 images can't be set apart .* 3 to 44"):
        cut_dataset(pool, pool, names, of({"validation_examples": 2}))
    with pytest.raises(UserError, match=r"'c' has too few .* 0 there"):
        per_class_counts(np.array([0, 1]), 1, "abc", "training")
    with pytest.raises(UserError, match=r"'b' has too few .* 1 there, at least 2"):
        stratified_counts(np.array([0, 0, 0, 1]), 2, "ab", "testing")


def test_steps_of_the_cutting_with_one_seed_choose_apart():
    labels = np.zeros(40, int)
    chosen = [partition(labels, np.array([20]), seed=5, step=step)[0].tolist() for step in range(4)]
    assert len({tuple(part) for part in chosen}) == 4
