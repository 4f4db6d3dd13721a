"""Where a checkpoint was written: what the last bits of results depend on besides settings, data and code."""

import os
import platform
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import metaaug_tf

_PACKAGES = (metaaug_tf, tf, keras, np)


def environment() -> dict[str, Any]:
    """The number of cores that TensorFlow's threads follow, and the versions of the packages that compute."""
    versions = {package.__name__: package.__version__ for package in _PACKAGES}
    return {"cores": len(os.sched_getaffinity(0)), "Python": platform.python_version(), **versions}


def environment_difference(before: object, now: Mapping[str, Any]) -> str:
    """What differs, as "cores 1 -> 2, keras 3.14 -> 3.15"; "" where nothing does or nothing was noted before."""
    if not isinstance(before, dict):
        return ""
    return ", ".join(
        f"{name} {before[name]} -> {now[name]}" for name in now if name in before and before[name] != now[name]
    )
