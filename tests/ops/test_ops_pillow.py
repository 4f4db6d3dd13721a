"""Every operation gives Pillow's bits: over the whole table, at every magnitude, size and kind of image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_images import KINDS, make_batch, make_image
from pillow_reference import PILLOW_CALLS, pillow_operation, pillow_pair

from metaaug_tf.ops import OPERATIONS, TABLE, apply_operation, apply_pairs

SHAPES = [(1, 1), (1, 7), (5, 1), (2, 2), (3, 3), (13, 29), (32, 32), (64, 17), (131, 97), (256, 256)]
magnitudes = st.one_of(
    st.sampled_from([float(m) for m in range(-10, 11)] + [-0.0, 1e-30, -1e-30, 9.999999, 5e-7]),
    st.floats(-10, 10, width=32),
)


def assert_as_pillow(name, image, magnitude, fill):
    expected = pillow_operation(name, image, magnitude, fill)
    result = apply_operation(name, image, magnitude, fill).numpy()
    different = int((result != expected).sum())
    assert not different, f"{name}({magnitude!r}) of {image.shape}: {different} of {image.size} values differ"


def random_case(rng):
    name = OPERATIONS[rng.integers(len(OPERATIONS))]
    height, width = SHAPES[rng.integers(len(SHAPES))] if rng.random() < 0.3 else rng.integers(1, 80, 2)
    image = make_image(KINDS[rng.integers(len(KINDS))], (height, width, rng.choice([1, 3])), rng.integers(2**31))
    magnitude = rng.integers(-10, 11) if rng.random() < 0.3 else rng.uniform(-10, 10)
    return name, image, np.float32(magnitude), int(rng.integers(256))


def test_table_is_the_methods():
    assert tuple(PILLOW_CALLS) == OPERATIONS
    assert len(TABLE) == 14
    unsigned = {"AutoContrast", "Equalize", "Posterize", "Solarize", "Identity"}
    assert {row.name for row in TABLE if not row.signed} == unsigned
    assert {row.name for row in TABLE if not row.uses_magnitude} == unsigned - {"Posterize", "Solarize"}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(OPERATIONS),
    kind=st.sampled_from(KINDS),
    size=st.one_of(st.sampled_from(SHAPES), st.tuples(st.integers(1, 60), st.integers(1, 60))),
    channels=st.sampled_from([1, 3]),
    magnitude=magnitudes,
    fill=st.integers(0, 255),
    seed=st.integers(0, 2**31),
)
def test_any_case_is_as_pillow(name, kind, size, channels, magnitude, fill, seed):
    assert_as_pillow(name, make_image(kind, (*size, channels), seed), magnitude, fill)


@pytest.mark.parametrize("name", OPERATIONS)
def test_whole_and_half_magnitudes_are_as_pillow(name):
    image = make_image("random", (31, 46, 3), 3)
    for magnitude in np.arange(-10, 10.5, 0.5):
        assert_as_pillow(name, image, magnitude, 77)


@pytest.mark.parametrize("shape", [(32, 32, 3), (19, 30, 1)])
def test_compiled_pairs_are_as_pillow(shape):
    """All 196 pairs, seven times, under XLA, where a fused multiply-add would show."""
    pairs = np.tile(np.stack(np.divmod(np.arange(196), 14), 1), [7, 1]).astype(np.int32)
    rng = np.random.default_rng(5)
    images = make_batch(len(pairs), shape)
    strengths = rng.uniform(-10, 10, pairs.shape).astype(np.float32)
    strengths[::3] = np.round(strengths[::3])
    results = apply_pairs(images, pairs, strengths, 200).numpy()
    for image, pair, strength, result in zip(images, pairs, strengths, results, strict=True):
        names = [OPERATIONS[operation] for operation in pair]
        np.testing.assert_array_equal(result, pillow_pair(image, names, strength, 200), f"{names} {strength}")


@pytest.mark.slow
def test_20000_cases_are_as_pillow():
    rng = np.random.default_rng(2024)
    for _ in range(20_000):
        assert_as_pillow(*random_case(rng))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 3), (224, 224, 3), (61, 256, 1), (256, 256, 3)])
def test_20000_compiled_pairs_are_as_pillow(shape):
    """5,000 images of each shape, two operations each."""
    rng = np.random.default_rng(2025)
    for seed in range(50):
        images = make_batch(100, shape, seed)
        pairs = rng.integers(0, 14, (100, 2))
        strengths = rng.uniform(-10, 10, (100, 2)).astype(np.float32)
        results = apply_pairs(images, pairs, strengths).numpy()
        for image, pair, strength, result in zip(images, pairs, strengths, results, strict=True):
            names = [OPERATIONS[operation] for operation in pair]
            np.testing.assert_array_equal(result, pillow_pair(image, names, strength), f"{names} {strength}")
