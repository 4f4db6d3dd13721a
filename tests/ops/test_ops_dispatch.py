"""One result whichever way it is computed; the input stays; magnitude 0 changes nothing; nothing is compiled twice."""

import numpy as np
import pytest
import tensorflow as tf
from ops_images import make_batch, make_image

from metaaug_tf.ops import OPERATIONS, TABLE, apply_operation, apply_pairs, dispatch

SHAPE = (32, 32, 3)
BATCH = 56


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    pairs = np.stack([np.arange(BATCH) % 14, rng.integers(0, 14, BATCH)], 1).astype(np.int32)
    magnitudes = rng.uniform(-10, 10, (BATCH, 2)).astype(np.float32)
    return make_batch(BATCH, SHAPE, 9), pairs, magnitudes


@pytest.fixture(scope="module")
def expected(batch):
    return apply_pairs(*batch).numpy()


def one_by_one(image, pair, magnitude):
    for operation, strength in zip(pair, magnitude, strict=True):
        image = apply_operation(OPERATIONS[operation], image, strength)
    return image


def test_one_by_one_is_as_a_batch(batch, expected):
    for image, pair, magnitude, result in zip(*batch, expected, strict=True):
        np.testing.assert_array_equal(one_by_one(image, pair, magnitude), result)


def test_in_a_graph_is_as_eager(batch, expected):
    graph = tf.function(apply_pairs).get_concrete_function(
        tf.TensorSpec([None, *SHAPE], tf.uint8), tf.TensorSpec([None, 2], tf.int32), tf.TensorSpec([None, 2])
    )
    np.testing.assert_array_equal(graph(*map(tf.constant, batch)), expected)


def test_with_unknown_height_and_width_is_as_eager(batch):
    """Outside XLA the size of an image may be known only when the graph runs."""
    images, _, magnitudes = batch
    for name in OPERATIONS:
        graph = tf.function(lambda image, magnitude, name=name: apply_operation(name, image, magnitude))
        graph = graph.get_concrete_function(tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([]))
        for image, magnitude in [(images[0], magnitudes[0, 0]), (images[1, :9, :20], magnitudes[1, 1])]:
            result = graph(tf.constant(image), tf.constant(magnitude))
            np.testing.assert_array_equal(result, apply_operation(name, image, magnitude), name)


def test_inside_another_compiled_function_is_as_eager(batch, expected):
    compiled = tf.function(apply_pairs, jit_compile=True)
    np.testing.assert_array_equal(compiled(*(tf.constant(values[:32]) for values in batch)), expected[:32])


@pytest.mark.parametrize("parallel_calls", [1, 8])
def test_in_a_dataset_is_as_eager(batch, expected, parallel_calls):
    dataset = tf.data.Dataset.from_tensor_slices(batch).batch(10)
    results = list(dataset.map(apply_pairs, num_parallel_calls=parallel_calls).as_numpy_iterator())
    assert [len(result) for result in results] == [10, 10, 10, 10, 10, 6]
    np.testing.assert_array_equal(np.concatenate(results), expected)


def test_input_is_not_changed(batch, expected):
    images, pairs, magnitudes = (tf.constant(values) for values in batch)
    np.testing.assert_array_equal(apply_pairs(images, pairs, magnitudes), expected)
    for tensor, values in zip((images, pairs, magnitudes), batch, strict=True):
        np.testing.assert_array_equal(tensor, values)


@pytest.mark.parametrize("name", [row.name for row in TABLE if row.uses_magnitude] + ["Identity"])
def test_magnitude_0_changes_nothing(name):
    for magnitude in (0.0, -0.0):
        image = make_image("random", (21, 34, 3))
        np.testing.assert_array_equal(apply_operation(name, image, magnitude), image)


@pytest.mark.parametrize("name", [row.name for row in TABLE if row.uses_magnitude])
def test_effect_grows_with_magnitude(name):
    image = make_image("gradient", (32, 32, 3), 4) // 2 + make_image("random", (32, 32, 3), 4) // 4
    effects = [np.abs(apply_operation(name, image, m).numpy().astype(int) - image).mean() for m in (0.0, 5.0, 10.0)]
    assert effects[0] < effects[1] < effects[2]


def test_sign_matters_for_signed_operations_only():
    image = make_image("random", (32, 32, 3))
    for row in TABLE:
        plus, minus = (apply_operation(row.name, image, magnitude).numpy() for magnitude in (7.0, -7.0))
        assert (plus != minus).any() == row.signed, row.name


def test_no_images_give_no_images():
    nothing = [tf.zeros([0, *SHAPE], tf.uint8), tf.zeros([0, 2], tf.int32), tf.zeros([0, 2])]
    graph = tf.function(apply_pairs).get_concrete_function(
        *(tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype) for tensor in nothing)
    )
    assert apply_pairs(*nothing).shape == graph(*nothing).shape == nothing[0].shape


def test_other_batch_sizes_and_values_compile_nothing(batch, expected):
    """XLA compiles when a program meets new shapes or constants; a run then takes seconds."""
    images, pairs, magnitudes = batch
    traced = dispatch._apply_block.experimental_get_tracing_count()
    for size in (56, 30, 7, 1):
        np.testing.assert_array_equal(apply_pairs(images[:size], pairs[:size], magnitudes[:size]), expected[:size])
        apply_pairs(images[:size], pairs[:size][::-1], -magnitudes[:size], size)
    assert dispatch._apply_block.experimental_get_tracing_count() == traced
    # A value that became a constant of the program would show here.
    program = dispatch._apply_block.experimental_get_compiler_ir(
        tf.constant(8),
        tf.constant(images[:32]),
        tf.constant(pairs[:32]),
        tf.constant(magnitudes[:32]),
        tf.constant(8, tf.uint8),
    )(stage="hlo")
    signature = program.split("entry_computation_layout={(")[1].split(")->")[0]
    assert signature == "s32[], u8[32,32,32,3]{3,2,1,0}, s32[32,2]{1,0}, f32[32,2]{1,0}, u8[]"
