"""Settings of a run on any TFDS image-classification dataset; every other config starts from these.

Command: python -m metaaug_tf.main --dataset=NAME --data_dir=DIR
Expected time and result: they depend on the dataset; nothing here is tuned to one.
"""

from ml_collections import ConfigDict

from metaaug_tf.config import default_config


def get_config() -> ConfigDict:
    """The defaults in metaaug_tf/settings.py."""
    return default_config()
