"""Arithmetic that gives the bits of plain C doubles and floats, with and without XLA."""

import tensorflow as tf


def rounded(product: tf.Tensor) -> tf.Tensor:
    """Keeps XLA from contracting a product and a following sum into one fused multiply-add.

    C code built for plain x86-64, as Pillow's wheels are, rounds the product before it adds; a fused multiply-add
    rounds once and differs in the last bit, which truncation then makes a whole grey level. A lower bound that
    never binds, between the two, costs one instruction and cannot be removed by the compiler.

    Args:
        product: any shape, float32 or float64, above -1e30.
    """
    lowest = tf.constant(-1e30, product.dtype)
    return tf.where(product > lowest, product, lowest)


def clipped_to_uint8(value: tf.Tensor) -> tf.Tensor:
    """A float32 or float64 tensor clipped to 0..255 and truncated to uint8.

    As two selects: one instruction each, where tf.clip_by_value, which minds NaN, takes three.
    """
    black, white = tf.constant(0.0, value.dtype), tf.constant(255.0, value.dtype)
    value = tf.where(value > black, value, black)
    return tf.cast(tf.where(value < white, value, white), tf.uint8)


def quotient(dividend: tf.Tensor, divisor: float) -> tf.Tensor:
    """dividend / divisor, correctly rounded; XLA would multiply by the reciprocal of a constant instead.

    Args:
        dividend: any shape, float64, below the divisor.
        divisor: a positive constant.
    """
    return dividend / tf.maximum(dividend, tf.constant(divisor, dividend.dtype))


def round_15_digits(value: tf.Tensor) -> tf.Tensor:
    """Python's round(value, 15) for values in [-1, 1], float64: the nearest multiple of 1e-15, as a double.

    value * 1e15 does not fit 53 bits, so it is taken in two parts: 18 leading bits, whose product is exact, and the
    rest, whose product is exact to 1e-6.
    """
    leading = tf.round(value * 2.0**18) * 2.0**-18
    product = leading * 1e15
    whole = tf.floor(product)
    return quotient(whole + tf.round((product - whole) + (value - leading) * 1e15), 1e15)
