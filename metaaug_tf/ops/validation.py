"""Checks of what users pass: ValueError eagerly or when a graph is made, InvalidArgumentError when it runs."""

import tensorflow as tf

from metaaug_tf.ops.table import MAX_MAGNITUDE, OPERATIONS


def check_same_batch(images: tf.Tensor, pairs: tf.Tensor, magnitudes: tf.Tensor) -> tf.Tensor:
    """The images, once there are as many pairs and magnitudes; matters where a graph does not know the batch size."""
    if all(tensor.shape[0] is not None for tensor in (images, pairs, magnitudes)):
        return images  # the shapes have been compared
    sizes = [tf.shape(tensor)[0] for tensor in (images, pairs, magnitudes)]
    allowed = (sizes[0] == sizes[1]) & (sizes[0] == sizes[2])
    message = "there must be as many pairs and magnitudes as images"
    with tf.control_dependencies([_assert(allowed, [message + ", got", *sizes])]):
        return tf.identity(images)


def check_name(name: str) -> int:
    """The position of an operation in the table; ValueError for an unknown name."""
    if name not in OPERATIONS:
        raise ValueError(f"unknown operation {name!r}; allowed: {', '.join(OPERATIONS)}")
    return OPERATIONS.index(name)


def check_images(images, rank: int) -> tf.Tensor:
    """Images as a tensor, once they are uint8, of the given rank (3 or 4) and of 1 or 3 channels; else ValueError."""
    images = _tensor(images, "images")
    layout = "[H, W, C]" if rank == 3 else "[B, H, W, C]"
    if images.dtype != tf.uint8:
        raise ValueError(f"images must be uint8, got {images.dtype.name}; scale to 0..255 and cast first")
    if images.shape.rank != rank:
        raise ValueError(f"expected {layout}, got shape {images.shape}")
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"{layout} must have 1 or 3 channels (known when a graph is made), got shape {images.shape}")
    if 0 in images.shape[-3:]:
        raise ValueError(f"images must be at least 1 x 1 pixels, got shape {images.shape}")
    return images


def check_magnitudes(magnitudes, shape) -> tf.Tensor:
    """Magnitudes as float32 of the given shape within [-10, 10]."""
    magnitudes = _tensor(magnitudes, "magnitudes")
    if not (magnitudes.dtype.is_floating or magnitudes.dtype.is_integer):
        raise ValueError(f"magnitudes must be numbers, got {magnitudes.dtype.name}")
    magnitudes = _with_shape(tf.cast(magnitudes, tf.float32), "magnitudes", shape)
    allowed = tf.reduce_all(tf.abs(magnitudes) <= MAX_MAGNITUDE)
    return _checked(magnitudes, allowed, "magnitudes must be numbers in [-10, 10]")


def check_pairs(pairs, shape) -> tf.Tensor:
    """Operation pairs as int32 of the given shape within 0..13."""
    pairs = _with_shape(_integers(pairs, "pairs must be integers"), "pairs", shape)
    allowed = tf.reduce_all((pairs >= 0) & (pairs < len(OPERATIONS)))
    pairs = _checked(pairs, allowed, f"pairs must be positions 0 to {len(OPERATIONS) - 1} in OPERATIONS")
    return tf.cast(pairs, tf.int32)


def check_probabilities(probabilities) -> tf.Tensor:
    """A table of probabilities as float64 [14, 14], once it is finite, not negative and not all zero."""
    table = tf.cast(_tensor(probabilities, "probabilities"), tf.float64)
    table = _with_shape(table, "probabilities", [len(OPERATIONS), len(OPERATIONS)])
    total = tf.reduce_sum(table)
    allowed = tf.reduce_all(table >= 0) & (total > 0) & tf.math.is_finite(total)
    return _checked(table, allowed, "probabilities must be finite, not negative and not all zero")


def checked_fill(fill) -> tf.Tensor:
    """The fill value as a uint8 scalar, once it is an integer in 0..255."""
    if isinstance(fill, int) and 0 <= fill <= 255:
        return tf.constant(fill, tf.uint8)
    fill = _with_shape(_integers(fill, "fill must be an integer in 0..255"), "fill", [])
    fill = _checked(fill, (fill >= 0) & (fill <= 255), "fill must be an integer in 0..255")
    return tf.cast(fill, tf.uint8)


def check_seed(seed) -> tf.Tensor:
    """The seed of stateless draws as an int64 scalar, once it is in [0, 2**60): further bits would be lost."""
    message = "seed must be an integer in [0, 2**60)"
    seed = _with_shape(_integers(seed, message), "seed", [])
    return _checked(seed, (seed >= 0) & (seed < 2**60), message)


def _tensor(values, name: str) -> tf.Tensor:
    try:
        return tf.convert_to_tensor(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} can't be made a tensor: {error}") from error


def _integers(values, message: str) -> tf.Tensor:
    """As int64, in which no value of a narrower type becomes another one; of uint64 the large become negative."""
    values = _tensor(values, message.split()[0])
    if not values.dtype.is_integer:
        raise ValueError(f"{message}, got {values.dtype.name}")
    return tf.cast(values, tf.int64)


def _with_shape(values: tf.Tensor, name: str, shape) -> tf.Tensor:
    if not values.shape.is_compatible_with(shape):
        raise ValueError(f"{name} must have shape {list(shape)}, got {values.shape}")
    return values


def _checked(values, allowed, message):
    if tf.executing_eagerly():
        if not allowed:
            raise ValueError(f"{message}, got {values.numpy()}")
        return values
    with tf.control_dependencies([_assert(allowed, [message + ", got", values])]):
        return tf.identity(values)


def _assert(condition, data) -> tf.Operation:
    """Assert as one op of the graph; tf.debugging.Assert puts it into a tf.cond, which costs as much as an image."""
    return tf.raw_ops.Assert(condition=condition, data=data, summarize=6)
