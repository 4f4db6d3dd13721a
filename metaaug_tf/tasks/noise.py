"""Random coefficients on residual branches whose backward pass has other coefficients than the forward pass.

The draws come from a keras.random.SeedGenerator, which is state of the layer: every pass of one training step sees
the same state and so the same draws, and the state advances once per step (meta/forward.py), as with Dropout.
"""

import keras
from keras import ops

from metaaug_tf.errors import UserError


def scaled(x, forward, backward):
    """forward * x, differentiated as if it were backward * x, to any order.

    The difference of the two enters without a gradient, so no custom gradient is needed: it is differentiable
    again, compiles with XLA and saves like any other operation.

    Args:
        x: float tensor [B, ...].
        forward: coefficients, broadcast against x.
        backward: coefficients, broadcast against x.
    """
    return backward * x + ops.stop_gradient((forward - backward) * x)


@keras.saving.register_keras_serializable("metaaug_tf")
class ShakeShake(keras.layers.Layer):
    """Sum of two branches with random weights a and 1 - a, one draw per image (Gastaldi, arXiv 1705.07485).

    In training a is uniform in [0, 1) for the forward pass and another such draw for the backward pass; in
    evaluation a is 1/2, its expectation. This is the paper's Shake-Shake-Image.
    """

    def __init__(self, **kwargs):
        """Makes the layer; its seed comes from keras.utils.set_random_seed."""
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator()

    def coefficients(self, batch):
        """Forward and backward weights of the first branch, [2, batch, 1, 1, 1] in [0, 1); advances the seed."""
        return keras.random.uniform((2, batch, 1, 1, 1), dtype=self.compute_dtype, seed=self.seed_generator)

    def call(self, branches, training=False):
        """The weighted sum of `branches`, two tensors [B, H, W, C]."""
        first, second = branches
        if not training:
            return (first + second) / 2
        forward, backward = ops.unstack(self.coefficients(ops.shape(first)[0]), num=2)
        return second + scaled(first - second, forward, backward)


@keras.saving.register_keras_serializable("metaaug_tf")
class ShakeDrop(keras.layers.Layer):
    """Multiplies a residual branch by b + a - b a (Yamada et al., arXiv 1802.02375).

    In training b is 1 with probability `survival`, one draw for the batch; a is uniform in [-1, 1) for the forward
    pass and another draw, uniform in [0, 1), for the backward pass, one per image (as in the authors' code).
    In evaluation the factor is `survival`, its expectation.
    """

    def __init__(self, survival: float, **kwargs):
        """Makes the layer.

        Args:
            survival: probability in (0, 1] that the branch is left as it is.
            **kwargs: keras.layers.Layer's.

        Raises:
            UserError: survival is out of its range.
        """
        super().__init__(**kwargs)
        if not 0 < survival <= 1:
            raise UserError(f"ShakeDrop's survival is a probability above 0 and at most 1, not {survival}")
        self.survival = survival
        self.seed_generator = keras.random.SeedGenerator()

    def coefficients(self, batch):
        """Forward and backward factors, each [batch, 1, 1, 1]; advances the seed once."""
        draws = keras.random.uniform((2 * batch + 1, 1, 1, 1), dtype="float32", seed=self.seed_generator)
        keep = draws[:1] < self.survival
        forward = ops.where(keep, 1.0, 2 * draws[1 : batch + 1] - 1)
        backward = ops.where(keep, 1.0, draws[batch + 1 :])
        return ops.cast(forward, self.compute_dtype), ops.cast(backward, self.compute_dtype)

    def call(self, x, training=False):
        """The scaled branch [B, H, W, C]."""
        if not training:
            return self.survival * x
        return scaled(x, *self.coefficients(ops.shape(x)[0]))

    def get_config(self):
        """What __init__ takes."""
        return {**super().get_config(), "survival": self.survival}
