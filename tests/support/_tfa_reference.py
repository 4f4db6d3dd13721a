"""tensorflow_addons.image on its own: the archived package does not import whole beside Keras 3, this part of it does.

What the part needs of the rest stands in for it in sys.modules while it is imported. tf.keras stays Keras 3.
"""

import contextlib
import importlib
import importlib.util
import sys
import types

import keras


def _normalize_tuple(value, size, name):
    """What tensorflow_addons.utils.keras_utils offers to tensorflow_addons.image."""
    result = (value,) * size if isinstance(value, int) else tuple(value)
    if len(result) != size:
        raise ValueError(f"{name} must be {size} integers, got {value}")
    return result


@contextlib.contextmanager
def _stand_ins(package):
    engine = types.ModuleType("keras.src.engine")
    engine.keras_tensor = types.ModuleType("keras.src.engine.keras_tensor")
    engine.keras_tensor.KerasTensor = keras.KerasTensor
    addons = types.ModuleType("tensorflow_addons")
    addons.__path__ = list(package.submodule_search_locations)
    utils = types.ModuleType("tensorflow_addons.utils.keras_utils")
    utils.normalize_tuple = _normalize_tuple
    for_import = {"keras.src.engine": engine, "keras.src.engine.keras_tensor": engine.keras_tensor}
    sys.modules.update(for_import | {"tensorflow_addons": addons, "tensorflow_addons.utils.keras_utils": utils})
    try:
        yield
    finally:
        for name in for_import:
            del sys.modules[name]


def load_tfa_image():
    """The module tensorflow_addons.image, or None where tensorflow-addons is not installed (`addons` extra)."""
    package = importlib.util.find_spec("tensorflow_addons")
    if package is None:
        return None
    with _stand_ins(package):
        return importlib.import_module("tensorflow_addons.image")
