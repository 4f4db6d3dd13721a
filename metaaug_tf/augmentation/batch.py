"""The inputs of one training batch, as the input pipelines make them and the training step takes them."""

from typing import NotRequired, TypedDict

import tensorflow as tf


class TrainingInputs(TypedDict):
    """What a training batch holds besides its labels.

    Keys:
        images: uint8 [B, H, W, C], augmented.
        pairs: int32 [B, 2], the indices of the operations that made them.
        magnitudes: float32 [B, 2], signed.
        validation_images: uint8 [M, H, W, C], as they are.
        validation_labels: [M, ...].
        indices: int32 [B], of the images in the training set; left out where they have none.
    """

    images: tf.Tensor
    pairs: tf.Tensor
    magnitudes: tf.Tensor
    validation_images: tf.Tensor
    validation_labels: tf.Tensor
    indices: NotRequired[tf.Tensor]


KEYS = TrainingInputs.__required_keys__
