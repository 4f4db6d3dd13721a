"""Decoding of PNG and JPEG bytes inside a SavedModel, with bounds on the work that are checked beforehand."""

import tensorflow as tf

# 4096 x 4096: 48 MiB decoded. A PNG of 400 kB may claim a thousand megabytes.
MAX_PIXELS = 2**24
# A progressive JPEG goes over the whole image in every scan, and a scan may have 30 bytes: 100 kB with a thousand scans
# of 4096 x 4096 take 25 s. Encoders write some 10; a thumbnail within the file has its own.
MAX_SCANS = 64
_PNG_START, _JPEG_START = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Signature, length and name of the first chunk, then width and height (PNG, third edition, 11.2.1).
_PNG_SIZE_AT, _PNG_HEADER_BYTES = 16, 24


def decode_bounded(image_bytes: tf.Tensor, number: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes one image whose header claims at most MAX_PIXELS pixels, and that has at most MAX_SCANS scans.

    Args:
        image_bytes: scalar string, a PNG or JPEG file.
        number: scalar int, its place in the request, for messages.
        channels: 1 or 3.

    Returns:
        uint8 [H, W, channels].

    Raises:
        tf.errors.InvalidArgumentError: it is neither, is damaged, is larger or has more scans.
    """
    header = tf.strings.substr(image_bytes, 0, _PNG_HEADER_BYTES)
    is_png = tf.equal(tf.strings.substr(header, 0, len(_PNG_START)), _PNG_START)
    is_png &= tf.equal(tf.strings.length(header), _PNG_HEADER_BYTES)
    is_jpeg = tf.equal(tf.strings.substr(header, 0, len(_JPEG_START)), _JPEG_START)
    known = _assert(is_png | is_jpeg, ["image", number, "of the request is neither a PNG nor a JPEG file"])
    with tf.control_dependencies([known]):
        size = tf.cond(is_png, lambda: _png_size(header), lambda: _jpeg_size(image_bytes))
    allowed = (tf.reduce_prod(size) <= MAX_PIXELS) & (tf.reduce_min(size) > 0)
    message = [f"at most {MAX_PIXELS} pixels are allowed; height and width of image", number, "of the request:", size]
    scans = tf.where(is_png, 1, _jpeg_scans(image_bytes))
    few = [f"at most {MAX_SCANS} scans of a JPEG are allowed; image", number, "of the request has", scans]
    with tf.control_dependencies([_assert(allowed, message), _assert(scans <= MAX_SCANS, few)]):
        image = tf.io.decode_image(tf.identity(image_bytes), channels=channels, expand_animations=False)
    return tf.ensure_shape(image, (None, None, channels))


def _png_size(header: tf.Tensor) -> tf.Tensor:
    """Height and width int64 [2]; the file holds width, then height, as big-endian int32."""
    width_and_height = tf.io.decode_raw(tf.strings.substr(header, _PNG_SIZE_AT, 8), tf.int32, little_endian=False)
    return tf.cast(tf.reverse(tf.ensure_shape(width_and_height, [2]), [0]), tf.int64)


def _jpeg_size(image_bytes: tf.Tensor) -> tf.Tensor:
    """Height and width int64 [2], read without decoding."""
    return tf.cast(tf.image.extract_jpeg_shape(image_bytes)[:2], tf.int64)


def _jpeg_scans(image_bytes: tf.Tensor) -> tf.Tensor:
    """How often the marker that begins a scan is there; in the data of a scan it can't be."""
    values = tf.io.decode_raw(image_bytes, tf.uint8)
    return tf.math.count_nonzero((values[:-1] == 0xFF) & (values[1:] == 0xDA), dtype=tf.int32)


def _assert(condition, data) -> tf.Operation:
    return tf.raw_ops.Assert(condition=condition, data=data, summarize=3)
