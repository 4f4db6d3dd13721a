"""CIFAR-100 with 1,000 training images held out as validation, WRN-40-2 (method.md, "Protocols").

Command: python -m metaaug_tf.main --dataset=cifar100 --data_dir=DIR
Expected time: made for a GPU; a first look on 2 cores: --config.depth=10 --config.width=1 --config.epochs=5
Expected result: not yet measured by this project at full size.
"""

from metaaug_tf.configs import cifar10


def get_config():
    """The settings for CIFAR-100: those of CIFAR-10."""
    config = cifar10.get_config()
    config.dataset = "cifar100"
    return config
