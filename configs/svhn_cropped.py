"""SVHN's cropped digits, WRN-28-10: 73,257 training images, 1,000 of them held out as validation; no flip.

The settings are this project's choice: the paper has no SVHN. The learning rate and the decay are those that
AutoAugment (Cubuk et al., arXiv 1805.09501, appendix) gives for WRN-28-10 on the core set.

Command: python -m metaaug_tf.main --dataset=svhn_cropped --data_dir=DIR
Expected time: made for a GPU; a first look on 2 cores: --config.model=wide_resnet --config.depth=10 --config.width=1
Expected result: not yet measured by this project.
"""

from metaaug_tf.configs import default


def get_config():
    """The settings for SVHN."""
    config = default.get_config()
    config.update(
        dataset="svhn_cropped",
        model="wrn_28_10",
        epochs=200,
        learning_rate=5e-3,
        weight_decay=5e-3,
        flip=False,
        cutout=20,
        validation_examples=1000,
    )
    return config
