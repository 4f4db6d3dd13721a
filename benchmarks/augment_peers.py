"""The contenders of benchmarks/augment.py: each turns a batch of images into a function that augments it.

A contender offers `pairs(images, pairs, magnitudes)`, two random operations per image, and `operations(images)`, a
dict of each operation alone at magnitude 5; both return functions without arguments, that run over all images. Image
types are the contender's own (arrays, PIL images, tensors): no conversion is timed. A contender that cannot be
imported raises ImportError.
"""

import random

import numpy as np
import tensorflow as tf
from PIL import Image

from metaaug_tf.ops import OPERATIONS, apply_pairs

MAGNITUDE = 5.0
FILL = 128


def looped(function, items):
    def run():
        for item in items:
            function(item)

    return run


def in_dataset(function, *tensors):
    """Calls a batch function inside tf.data.map as a training pipeline does, but when asked and never ahead."""
    tensors = [tf.constant(tensor) for tensor in tensors]
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False
    iterator = iter(tf.data.Dataset.range(10**9).map(lambda _: function(*tensors)).with_options(options))
    return lambda: next(iterator)


class MetaAug:
    name = "metaaug_tf"

    def pairs(self, images, pairs, magnitudes):
        return in_dataset(apply_pairs, images, pairs, magnitudes)

    def operations(self, images):
        identity = OPERATIONS.index("Identity")
        magnitudes = np.full((len(images), 2), MAGNITUDE, np.float32)
        return {
            name: in_dataset(apply_pairs, images, np.tile(np.int32([[i, identity]]), [len(images), 1]), magnitudes)
            for i, name in enumerate(OPERATIONS)
        }


class Learned:
    name = "LearnedAugment"

    def pairs(self, images, pairs, magnitudes):
        from metaaug_tf import LearnedAugment

        layer = LearnedAugment(np.full((14, 14), 1 / 196), FILL)  # draws pairs and magnitudes of its own
        return in_dataset(layer, images)

    def operations(self, images):
        return {}


class Pillow:
    name = "Pillow"

    def __init__(self):
        from pillow_reference import PILLOW_CALLS

        self.calls = PILLOW_CALLS

    def pairs(self, images, pairs, magnitudes):
        def apply_pair(item):
            im, pair, strengths = item
            for operation, magnitude in zip(pair, strengths, strict=True):
                im = self.calls[OPERATIONS[operation]](im, magnitude, (FILL,) * 3)

        return looped(apply_pair, list(zip(as_pil(images), pairs.tolist(), magnitudes.tolist(), strict=True)))

    def operations(self, images):
        pils = as_pil(images)
        return {
            name: looped(lambda im, call=call: call(im, MAGNITUDE, (FILL,) * 3), pils)
            for name, call in self.calls.items()
        }


class Keras:
    name = "keras.layers"

    def pairs(self, images, pairs, magnitudes):
        import keras

        return in_dataset(keras.layers.RandAugment((0, 255), num_ops=2), images)

    def operations(self, images):
        from keras import layers

        share, signed = MAGNITUDE / 10, (-MAGNITUDE / 32, MAGNITUDE / 32)
        made = {
            "AutoContrast": layers.AutoContrast((0, 255)),
            "Equalize": layers.Equalization((0, 255)),
            "Rotate": layers.RandomRotation(MAGNITUDE * 3 / 360, fill_mode="constant", interpolation="nearest"),
            "Posterize": layers.RandomPosterization(6, (0, 255)),
            "Solarize": layers.Solarization(threshold_factor=share, value_range=(0, 255)),
            "Color": layers.RandomColorDegeneration(share, (0, 255)),
            "Contrast": layers.RandomContrast(share, (0, 255)),
            "Brightness": layers.RandomBrightness(share, (0, 255)),
            "Sharpness": layers.RandomSharpness(share, (0, 255)),
            "ShearX": layers.RandomShear(x_factor=0.15, fill_mode="constant", interpolation="nearest"),
            "ShearY": layers.RandomShear(y_factor=0.15, fill_mode="constant", interpolation="nearest"),
            "TranslateX": layers.RandomTranslation(0.0, signed, fill_mode="constant", interpolation="nearest"),
            "TranslateY": layers.RandomTranslation(signed, 0.0, fill_mode="constant", interpolation="nearest"),
        }
        return {
            name: in_dataset(lambda batch, layer=layer: layer(batch, training=True), images)
            for name, layer in made.items()
        }


class Addons:
    name = "tensorflow-addons"

    def __init__(self):
        from _tfa_reference import load_tfa_image

        self.image = load_tfa_image()
        if self.image is None:
            raise ImportError("tensorflow-addons is not installed")

    def pairs(self, images, pairs, magnitudes):
        return None  # it has 7 of the 14 operations

    def operations(self, images):
        tfa, shift = self.image, MAGNITUDE / 32 * images.shape[1]

        def one_by_one(function):
            return lambda batch: tf.map_fn(function, batch)

        made = {
            "Equalize": tfa.equalize,
            "Rotate": lambda batch: tfa.rotate(batch, np.deg2rad(3 * MAGNITUDE), fill_value=float(FILL)),
            "Sharpness": lambda batch: tfa.sharpness(batch, 1 + 0.09 * MAGNITUDE),
            "ShearX": one_by_one(lambda image: tfa.shear_x(image, 0.03 * MAGNITUDE, FILL)),
            "ShearY": one_by_one(lambda image: tfa.shear_y(image, 0.03 * MAGNITUDE, FILL)),
            "TranslateX": lambda batch: tfa.translate(batch, [-shift, 0.0], fill_value=float(FILL)),
            "TranslateY": lambda batch: tfa.translate(batch, [0.0, -shift], fill_value=float(FILL)),
        }
        return {name: in_dataset(function, images) for name, function in made.items()}


class Albumentations:
    name = "albumentations"

    def __init__(self):
        import albumentations
        import cv2

        cv2.setNumThreads(1)
        self.library = albumentations

    def _made(self):
        lib, one = self.library, {"p": 1.0}
        factor, share, degrees = (1 + 0.09 * MAGNITUDE,) * 2, MAGNITUDE / 32, float(np.degrees(np.arctan(0.15)))
        jitter = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)} | one
        return {
            "AutoContrast": lib.AutoContrast(**one),
            "Equalize": lib.Equalize(mode="pil", **one),
            "Rotate": lib.Rotate(limit=(15, 15), interpolation=0, fill=FILL, **one),
            "Posterize": lib.Posterize(num_bits=6, **one),
            "Solarize": lib.Solarize(threshold_range=(0.5, 0.5), **one),
            "Color": lib.ColorJitter(**jitter | {"saturation": factor}),
            "Contrast": lib.ColorJitter(**jitter | {"contrast": factor}),
            "Brightness": lib.ColorJitter(**jitter | {"brightness": factor}),
            "Sharpness": lib.Sharpen(alpha=(0.45, 0.45), **one),
            "ShearX": lib.Affine(shear={"x": (degrees,) * 2, "y": 0}, interpolation=0, fill=FILL, **one),
            "ShearY": lib.Affine(shear={"x": 0, "y": (degrees,) * 2}, interpolation=0, fill=FILL, **one),
            "TranslateX": lib.Affine(translate_percent={"x": share, "y": 0}, interpolation=0, fill=FILL, **one),
            "TranslateY": lib.Affine(translate_percent={"x": 0, "y": share}, interpolation=0, fill=FILL, **one),
            "Identity": lib.NoOp(**one),
        }

    def pairs(self, images, pairs, magnitudes):
        some = self.library.SomeOf(list(self._made().values()), n=2, replace=True, p=1.0)
        return looped(lambda image: some(image=image), images)

    def operations(self, images):
        return {name: looped(lambda image, made=made: made(image=image), images) for name, made in self._made().items()}


class Torchvision:
    name = "torchvision v2"

    def __init__(self):
        import torch
        from torchvision.transforms import v2

        torch.set_num_threads(1)
        self.torch, self.v2 = torch, v2

    def _tensors(self, images):
        return [self.torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in images]

    def pairs(self, images, pairs, magnitudes):
        return looped(self.v2.RandAugment(num_ops=2, magnitude=15, fill=FILL), self._tensors(images))

    def operations(self, images):
        f, tensors, fill = self.v2.functional, self._tensors(images), [float(FILL)] * 3
        factor, degrees = 1 + 0.09 * MAGNITUDE, float(np.degrees(np.arctan(0.15)))
        shift = int(MAGNITUDE / 32 * images.shape[1])

        def affine(translate, shear):
            return lambda image: f.affine(image, 0.0, translate, 1.0, shear, fill=fill)

        made = {
            "AutoContrast": f.autocontrast,
            "Equalize": f.equalize,
            "Rotate": lambda image: f.rotate(image, 15.0, fill=fill),
            "Posterize": lambda image: f.posterize(image, 6),
            "Solarize": lambda image: f.solarize(image, 128),
            "Color": lambda image: f.adjust_saturation(image, factor),
            "Contrast": lambda image: f.adjust_contrast(image, factor),
            "Brightness": lambda image: f.adjust_brightness(image, factor),
            "Sharpness": lambda image: f.adjust_sharpness(image, factor),
            "ShearX": affine([0, 0], [degrees, 0.0]),
            "ShearY": affine([0, 0], [0.0, degrees]),
            "TranslateX": affine([shift, 0], [0.0, 0.0]),
            "TranslateY": affine([0, shift], [0.0, 0.0]),
        }
        return {name: looped(function, tensors) for name, function in made.items()}


class Timm:
    name = "timm"

    def __init__(self):
        from timm.data import auto_augment

        self.library = auto_augment

    def pairs(self, images, pairs, magnitudes):
        random.seed(0)
        return looped(self.library.rand_augment_transform("rand-m5-n2", {"img_mean": (FILL,) * 3}), as_pil(images))

    def operations(self, images):
        names = {"TranslateX": "TranslateXRel", "TranslateY": "TranslateYRel"}
        pils = as_pil(images)
        made = {
            name: self.library.AugmentOp(names.get(name, name), prob=1.0, magnitude=MAGNITUDE, hparams={})
            for name in OPERATIONS
            if name != "Identity"
        }
        return {name: looped(operation, pils) for name, operation in made.items()}


def as_pil(images):
    return [Image.fromarray(image) for image in images]


CONTENDERS = (MetaAug, Learned, Pillow, Keras, Addons, Albumentations, Torchvision, Timm)
