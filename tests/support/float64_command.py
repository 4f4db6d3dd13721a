"""The ordinary command with both networks in float64, where sums in another order differ by 1e-16 instead of 1e-7.

In float32 that rounding moves some ReLU's input over 0 sooner or later, and the gradient then jumps; runs that do the
same in another order can't be compared beyond that step. Not a setting, as nobody would train so.
"""

import functools
import sys

import keras

from metaaug_tf.main import main
from metaaug_tf.training import build


def in_float64(layer):
    return type(layer).from_config({**layer.get_config(), "dtype": "float64"})


def build_task(*arguments, _build_task=build.build_task):
    return keras.models.clone_model(_build_task(*arguments), clone_function=in_float64)


if __name__ == "__main__":
    build.build_task = build_task
    build.PolicyNetwork = functools.partial(build.PolicyNetwork, dtype="float64")
    sys.exit(main())
