"""Sample-aware learned data augmentation for Keras (MetaAugment, AAAI 2021).

Public names are loaded at first use, so that importing the package (and `--help`) does not load TensorFlow.
"""

import importlib
import sys

from metaaug_tf.moved import keep_old_paths

_HOMES = {
    "OPERATIONS": "metaaug_tf.ops.table",
    "apply_operation": "metaaug_tf.ops",
    "apply_pairs": "metaaug_tf.ops",
    "transformation_embedding": "metaaug_tf.augmentation.transform",
    "draw_transformations": "metaaug_tf.augmentation.transform",
    "PolicyNetwork": "metaaug_tf.policy.network",
    "SampleMemory": "metaaug_tf.policy.memory",
    "PairSampler": "metaaug_tf.policy.sampler",
    "LearnedAugment": "metaaug_tf.policy.learned_augment",
    "SamplerUpdate": "metaaug_tf.policy.sampler",
    "PolicyLogger": "metaaug_tf.callbacks.policy_logger",
    "MetaAugment": "metaaug_tf.meta.model",
    "meta_gradient": "metaaug_tf.meta.gradient",
    "meta_gradient_agreement": "metaaug_tf.meta.gradient",
    "Examples": "metaaug_tf.data.examples",
    "Augmentation": "metaaug_tf.settings",
    "training_dataset": "metaaug_tf.data.training_dataset",
    "training_batches": "metaaug_tf.data.training_batches",
    "evaluation_dataset": "metaaug_tf.data.evaluation_dataset",
    "load_dataset": "metaaug_tf.data.sources",
    "wide_resnet": "metaaug_tf.tasks.wide_resnet",
    "Checkpoints": "metaaug_tf.checkpoints.callback",
    "fit_resumably": "metaaug_tf.checkpoints.resume",
    "UserError": "metaaug_tf.errors",
}
__all__ = sorted(_HOMES)
__version__ = "0.1.0"


keep_old_paths()


def __getattr__(name: str):
    """Loads a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'metaaug_tf' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__():
    """The public names, for completion."""
    return __all__


# keras.models.load_model finds classes once they are imported.
if sys.modules.get("keras"):
    for _name in ("MetaAugment", "LearnedAugment"):
        __getattr__(_name)
