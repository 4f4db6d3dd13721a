"""Omniglot, 1,623 handwritten characters with 20 images each (method.md, "Protocols").

Per character 15 training images, 2 of them held out as validation, and 5 test images; 105 pixels are averaged
down to 32; paper is white; no flip.

Command: python -m metaaug_tf.main --dataset=omniglot --data_dir=DIR --config.split=small1 --config.epochs=30
Expected time: 10 to 15 minutes on 2 cores.
Expected result: test accuracy 0.85 (seed 0, measured before the policy had a warm-up; --policy=uniform: 0.82), 136
characters.
"""

from metaaug_tf.configs import default


def get_config():
    """The settings for Omniglot."""
    config = default.get_config()
    config.update(
        dataset="omniglot",
        batch_size=32,
        validation_batch_size=64,
        depth=10,
        width=1,
        validation_examples=0,
        train_per_class=15,
        validation_per_class=2,
        test_per_class=5,
        padding=4,
        flip=False,
        fill=255,
    )
    return config
