"""What is done to a training image: standard crop and flip, the drawn pair of operations, Cutout."""

from metaaug_tf.augmentation.policies import POLICIES
from metaaug_tf.augmentation.standard import crop_and_flip, cutout
from metaaug_tf.augmentation.transform import draw_transformations
from metaaug_tf.ops import apply_pairs
from metaaug_tf.settings import Augmentation


def augment(images, indices, seed, epoch, probabilities, settings: Augmentation):
    """Standard crop and flip, the drawn pair of operations, Cutout (method.md, "Operations").

    Args:
        images: uint8 [B, H, W, C].
        indices: int64 [B], each image's index in its set.
        seed: the run's.
        epoch: index of the epoch.
        probabilities: float32 [14, 14], the sampler's table.
        settings: what to do.

    Returns:
        (images uint8 [B, H, W, C], pairs int32 [B, 2], magnitudes float32 [B, 2]).
    """
    if settings.padding or settings.flip:
        images = crop_and_flip(
            images, seed, epoch, indices, padding=settings.padding, flip=settings.flip, fill=settings.fill
        )
    pairs, magnitudes = draw_transformations(
        settings.policy, probabilities, seed, epoch, indices, settings.randaugment_magnitude
    )
    if POLICIES[settings.policy].operations:
        images = apply_pairs(images, pairs, magnitudes, settings.fill)
    if settings.cutout:
        images = cutout(images, seed, epoch, indices, size=settings.cutout, fill=settings.fill)
    return images, pairs, magnitudes
