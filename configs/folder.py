"""Your own images: DIR/train/CLASS/*.png and DIR/test/CLASS/*.png, or only DIR/CLASS/*.png (also JPEG).

Command: python -m metaaug_tf.main --dataset=folder --data_dir=DIR --config.image_size=64
Expected time and result: they depend on the images.
"""

from metaaug_tf.configs import default


def get_config():
    """The settings for a folder of images; a tenth of a small training set is held out with validation_examples."""
    config = default.get_config()
    config.update(dataset="folder", epochs=50, validation_examples=0, validation_fraction=0.1)
    return config
