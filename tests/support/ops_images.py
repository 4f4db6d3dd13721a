"""Images for the tests of the operations: random, flat, gradient, two-valued, narrow in range."""

import numpy as np

KINDS = ("random", "flat", "gradient", "two-valued", "narrow")


def make_image(kind, shape, seed=0):
    """A uint8 image of one of KINDS; shape [H, W, C]."""
    rng = np.random.default_rng(seed)
    random = rng.integers(0, 256, shape)
    if kind == "flat":
        random = np.broadcast_to(random[:1, :1], shape)
    elif kind == "gradient":
        height, width, channels = np.ogrid[: shape[0], : shape[1], : shape[2]]
        random = height * 3 + width * rng.integers(1, 9) + channels * 40
    elif kind == "two-valued":
        random = np.where(random > 100, *rng.integers(0, 256, 2))
    elif kind == "narrow":
        random = 90 + random // 8
    return random.astype(np.uint8)


def make_batch(size, shape, seed=0):
    """[size, H, W, C] uint8, all kinds in turn."""
    return np.stack([make_image(KINDS[i % len(KINDS)], shape, seed * size + i) for i in range(size)])
