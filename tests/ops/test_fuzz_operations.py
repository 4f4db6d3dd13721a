"""Any arguments of apply_pairs: images of the same shape, or ValueError."""

import numpy as np
import tensorflow as tf
from fuzzing import few_and_many, fuzz
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import metaaug_tf as ma

SHAPE = (2, 4, 4, 3)  # one, since each is compiled for some seconds
DTYPES = st.sampled_from([bool, "i1", "u1", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "S3", "U3", "O"])
SHAPES = arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
NUMBER = st.integers() | st.floats() | st.sampled_from([2**31, 2**32, 2**64, -(2**63), 1e308])
THING = st.none() | st.booleans() | NUMBER | st.text(max_size=3) | st.binary(max_size=3) | st.complex_numbers()
NESTED = st.recursive(THING, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2))
ANYTHING = arrays.arrays(DTYPES, SHAPES) | NESTED | st.builds(object)


def no_images(value):
    """Whether they are not of a shape that would be compiled again."""
    fits = isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 4
    return not fits or value.shape[-1] not in (1, 3) or 0 in value.shape[1:]


IMAGES = st.just(np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8))
PAIRS = arrays.arrays(st.sampled_from(["i4", "i8", "u1", "u8"]), (2, 2), elements=st.integers(0, 13))
WILD_PAIRS = arrays.arrays(st.sampled_from(["i1", "u4", "i8", "u8"]), (2, 2))
MAGNITUDES = arrays.arrays(st.sampled_from(["f4", "f8"]), (2, 2), elements=st.floats(-10, 10, width=32))
FILL = st.integers(0, 255) | st.integers(0, 255).map(np.uint8)


@few_and_many(60, 400)
def test_any_arguments_of_apply_pairs(cases):
    answers = []

    def applied(images, pairs, magnitudes, fill):
        try:
            result = ma.apply_pairs(images, pairs, magnitudes, fill)
        except ValueError as error:
            assert str(error)
            return
        assert result.shape == images.shape and result.dtype == tf.uint8
        assert np.all((np.asarray(pairs) >= 0) & (np.asarray(pairs) <= 13)) and 0 <= int(fill) <= 255
        assert np.all(np.abs(np.asarray(magnitudes, np.float32)) <= 10)
        answers.append(result)

    fuzz(
        cases,
        applied,
        st.one_of(IMAGES, IMAGES, IMAGES, ANYTHING.filter(no_images)),
        st.one_of(PAIRS, PAIRS, WILD_PAIRS, ANYTHING),
        st.one_of(MAGNITUDES, MAGNITUDES, ANYTHING),
        st.one_of(FILL, FILL, ANYTHING),
    )
    assert answers, "some arguments must be good ones"
