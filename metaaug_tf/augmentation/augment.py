"""What is done to a training image: standard crop and flip, the drawn pair of operations, Cutout."""

from collections.abc import Mapping
from dataclasses import dataclass

from metaaug_tf.augmentation.standard import crop_and_flip, cutout
from metaaug_tf.augmentation.transform import draw_transformations
from metaaug_tf.ops import apply_pairs


@dataclass(frozen=True)
class Augmentation:
    """How a training image is changed before the network sees it.

    Attributes:
        policy: metaaugment, uniform, randaugment, trivialaugment or none.
        padding: standard crop after padding by so many pixels; 0 = no crop.
        flip: horizontal flip with probability one half.
        cutout: side of the square cut out, in pixels; 0 = none.
        fill: 0..255, the value of pixels that come from outside the image.
        randaugment_magnitude: 0..10, for the randaugment policy.
        transforms_per_sample: how often each image is in a batch, each time augmented anew (Hoffer et al., arXiv
            1901.09335); a batch then has batch_size * transforms_per_sample images.
    """

    policy: str = "metaaugment"
    padding: int = 4
    flip: bool = True
    cutout: int = 0
    fill: int = 128
    randaugment_magnitude: float = 9.0
    transforms_per_sample: int = 1


def augment(images, indices, seed, epoch, probabilities, settings: Augmentation):
    """Standard crop and flip, the drawn pair of operations, Cutout (method.md, "Operations").

    Args:
        images: uint8 [B, H, W, C].
        indices: int64 [B], each image's index in its set.
        seed: the run's.
        epoch: number of the epoch.
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
    if settings.policy != "none":
        images = apply_pairs(images, pairs, magnitudes, settings.fill)
    if settings.cutout:
        images = cutout(images, seed, epoch, indices, size=settings.cutout, fill=settings.fill)
    return images, pairs, magnitudes


def augmentation_from(settings: Mapping) -> Augmentation:
    """The Augmentation that a run's settings ask for."""
    return Augmentation(**{name: settings[name] for name in Augmentation.__dataclass_fields__})
