"""An untrained model and its three exports, which the tests of exports and servers share."""

import struct
import zlib
from pathlib import Path

import numpy as np
from helpers import tiny_task

import metaaug_tf as ma
from metaaug_tf.export.augment import export_augment
from metaaug_tf.export.policy import export_policy
from metaaug_tf.export.task import export_task

CLASS_NAMES = ["kea", "kaka", "weka", "tui"]


def skewed_table():
    """A 14 x 14 table that favours one pair."""
    table = np.full((14, 14), 0.2 / 196)
    table[2, 4] += 0.8
    return table


def export_all(folder: Path):
    """(model, LearnedAugment), exported below `folder` as task/1, policy/1 and augment/1."""
    model = ma.MetaAugment(tiny_task())
    augment = ma.LearnedAugment(skewed_table(), fill=17)
    export_task(model, folder / "task", CLASS_NAMES, "glyphs")
    export_policy(model, folder / "policy", "glyphs")
    export_augment(augment, folder / "augment", (8, 8, 3), "glyphs")
    return model, augment


def png_header(width, height):
    """The first bytes of a PNG that claims to be so large."""
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13)
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return start + body + struct.pack(">I", zlib.crc32(body))
