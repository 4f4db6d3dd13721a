"""Old module paths, kept for one release: importing one gives its new home, with a DeprecationWarning."""

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Old path below metaaug_tf -> new one; to go with version 0.3.
MOVED = {
    "arrays": "files",
    "blocks": "ops.blocks",
    "learned_augment": "policy.learned_augment",
    "replicas": "meta.replicas",
    "standard": "augmentation.standard",
    "stateless": "augmentation.random",
    "transform": "augmentation.transform",
    "data.batches": "data.training_batches",
    "data.check": "data.sources.check",
    "data.folder": "data.sources.folder",
    "data.glyphs": "data.sources.glyphs",
    "data.images": "data.sources.images",
    "data.pipeline": "data.training_dataset",
    "data.share": "data.input_shard",
    "data.stream": "data.streamed_examples",
    "data.stream_source": "data.sources.tfds_streamed",
    "data.tfds_source": "data.sources.tfds",
    "data.variations": "data.splits",
    "meta.agreement": "meta.gradient",
    "meta.weighting": "meta.weights",
    "policy.relative": "policy.table",
    "policy.sampler_update": "policy.sampler",
    "training.averaging": "callbacks.averaging",
    "training.callback_state": "checkpoints.callback_state",
    "training.checkpoint": "checkpoints.callback",
    "training.checkpoint_folder": "checkpoints.folder",
    "training.cluster": "workers.cluster",
    "training.distribution": "workers.start",
    "training.guard": "callbacks.health_guard",
    "training.lock": "run_folder",
    "training.meeting": "workers.rendezvous",
    "training.metrics_log": "callbacks.run_logs",
    "training.model_state": "checkpoints.model_state",
    "training.policy_logger": "callbacks.policy_logger",
    "training.resume": "checkpoints.resume",
    "training.run_folder": "run_folder",
    "training.sampler_log": "callbacks.run_logs",
    "training.stopping": "signals",
    "training.workers": "workers.workers",
}
# New path -> old name in it -> new name.
RENAMED: dict[str, dict[str, str]] = {
    "checkpoints.callback_state": {"read_callbacks": "capture_callbacks", "write_callbacks": "restore_callbacks"},
    "checkpoints.folder": {"FACTS_FILE": "METADATA_FILE", "Saved": "Checkpoint"},
    "checkpoints.model_state": {
        "check_state": "check_variables",
        "read_state": "capture_variables",
        "write_state": "restore_variables",
    },
    "policy.table": {"start_of": "initial_distribution"},
    "workers.cluster": {"addresses_in": "find_addresses"},
    "workers.rendezvous": {"meet": "rendezvous", "tell_refusal": "announce_rejection"},
    "workers.start": {
        "SECONDS_TO_COME": "SECONDS_TO_ARRIVE",
        "check_facts": "check_settings",
        "facts_of": "settings_to_compare",
    },
    "workers.workers": {"loss_of_workers_named": "raising_worker_lost"},
}


class _Alias(ModuleType):
    """A module whose attributes are those of another one."""

    def __init__(self, name: str, home: str):
        super().__init__(name)
        vars(self).update(_home=importlib.import_module(f"metaaug_tf.{home}"), _names=RENAMED.get(home, {}))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._home, self._names.get(name, name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):  # the import system's own
            super().__setattr__(name, value)
        else:
            setattr(self._home, self._names.get(name, name), value)


class _Finder(MetaPathFinder, Loader):
    """Finds what MOVED lists."""

    def find_spec(self, fullname, path=None, target=None):
        old = fullname.removeprefix("metaaug_tf.")
        return ModuleSpec(fullname, self) if old != fullname and old in MOVED else None

    def create_module(self, spec):
        home = MOVED[spec.name.removeprefix("metaaug_tf.")]
        warnings.warn(f"{spec.name} is now metaaug_tf.{home}", DeprecationWarning, stacklevel=2)
        return _Alias(spec.name, home)

    def exec_module(self, module):
        """Nothing: the home is imported already."""


def keep_old_paths() -> None:
    """Lets old paths be imported; the same again changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
