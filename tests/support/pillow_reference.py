"""The operations as method.md defines them: Pillow's own calls on one image."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps


def _affine(im, matrix, fill):
    return im.transform(im.size, Image.Transform.AFFINE, matrix, fillcolor=fill)


def _enhance(kind):
    return lambda im, m, fill: kind(im).enhance(1 + 0.09 * m)


PILLOW_CALLS = {
    "AutoContrast": lambda im, m, fill: ImageOps.autocontrast(im),
    "Equalize": lambda im, m, fill: ImageOps.equalize(im),
    "Rotate": lambda im, m, fill: im.rotate(3 * m, fillcolor=fill),
    "Posterize": lambda im, m, fill: ImageOps.posterize(im, 8 - round(0.4 * abs(m))),
    "Solarize": lambda im, m, fill: ImageOps.solarize(im, int(256 - 25.6 * abs(m))),
    "Color": _enhance(ImageEnhance.Color),
    "Contrast": _enhance(ImageEnhance.Contrast),
    "Brightness": _enhance(ImageEnhance.Brightness),
    "Sharpness": _enhance(ImageEnhance.Sharpness),
    "ShearX": lambda im, m, fill: _affine(im, (1, 0.03 * m, 0, 0, 1, 0), fill),
    "ShearY": lambda im, m, fill: _affine(im, (1, 0, 0, 0.03 * m, 1, 0), fill),
    "TranslateX": lambda im, m, fill: _affine(im, (1, 0, m / 32 * im.width, 0, 1, 0), fill),
    "TranslateY": lambda im, m, fill: _affine(im, (1, 0, 0, 0, 1, m / 32 * im.height), fill),
    "Identity": lambda im, m, fill: im,
}


def pillow_operation(name, image, magnitude, fill=128):
    """[H, W, C] uint8 numpy in and out; the magnitude is rounded to float32 first, as the package's is."""
    grey = image.shape[-1] == 1
    im = Image.fromarray(image[..., 0] if grey else image)
    result = PILLOW_CALLS[name](im, float(np.float32(magnitude)), fill if grey else (fill,) * 3)
    return np.asarray(result).reshape(image.shape)


def pillow_pair(image, names, magnitudes, fill=128):
    """The two operations one after the other."""
    for name, magnitude in zip(names, magnitudes, strict=True):
        image = pillow_operation(name, image, magnitude, fill)
    return image
