"""CIFAR-10 with 1,000 training images held out as validation, WRN-40-2 (method.md, "Protocols").

Command: python -m metaaug_tf.main --dataset=cifar10 --data_dir=DIR
Expected time: made for a GPU; a first look on 2 cores: --config.depth=10 --config.width=1 --config.epochs=5
Expected result: not yet measured by this project at full size.
"""

from metaaug_tf.configs import default


def get_config():
    """The settings for CIFAR-10."""
    config = default.get_config()
    config.update(dataset="cifar10", epochs=200, depth=40, width=2, cutout=16, validation_examples=1000)
    return config
