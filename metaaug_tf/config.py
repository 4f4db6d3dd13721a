"""From a dataset's name and the command line's overrides to one checked config."""

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from metaaug_tf.errors import UserError

POLICIES = ("metaaugment", "uniform", "randaugment", "trivialaugment", "none")
DISTRIBUTIONS = ("none", "mirrored", "multi_worker")

# The names in tasks/registry.py, which imports TensorFlow.
NETWORKS = (
    "conv_net",
    "wide_resnet",
    "wrn_40_2",
    "wrn_28_10",
    "shake_shake_26_2x32d",
    "shake_shake_26_2x96d",
    "shake_shake_26_2x112d",
    "pyramidnet_272_a200",
    "resnet_50",
    "resnet_200",
)

Rule = tuple[Callable[[Any], bool], str]


def _between(low: float, high: float) -> Rule:
    return (lambda value: low <= value <= high), f"from {low} to {high}"


def _one_of(*values) -> Rule:
    return (lambda value: value in values), "one of " + ", ".join(str(value) for value in values)


# Upper bounds are far above what anybody trains with; beyond them a mistake would end in a lack of memory.
_MOST = 2**31 - 1
# What a setting may be; the names in default.py without a row here are free, or are checked where they are used.
RULES: dict[str, Rule] = {
    "policy": _one_of(*POLICIES),
    "seed": _between(0, _MOST),
    "epochs": _between(1, 999_999),  # as many digits have the names of checkpoints
    "batch_size": _between(1, 2**20),
    "validation_batch_size": _between(1, 2**20),
    "image_size": _between(0, 4096),
    "channels": _one_of(1, 3),
    "train_examples": _between(0, _MOST),
    "validation_examples": _between(0, _MOST),
    "validation_fraction": _between(0, 0.9),
    "test_fraction": _between(0.01, 0.9),
    "train_per_class": _between(0, _MOST),
    "validation_per_class": _between(0, _MOST),
    "test_per_class": _between(0, _MOST),
    "label_noise": _between(0, 1),
    "padding": _between(0, 1024),
    "cutout": _between(0, 4096),
    "fill": _between(0, 255),
    "randaugment_magnitude": _between(0, 10),
    "model": (
        lambda name: name in NETWORKS or name.startswith("applications/"),
        f"one of {', '.join(NETWORKS)} or applications/NAME with a NAME in keras.applications",
    ),
    "network_image_size": _between(0, 4096),
    "depth": ((lambda depth: 10 <= depth <= 202 and depth % 6 == 4), "6n+4: 10, 16, 22, 28, 34, 40, ..., 202"),
    "width": _between(1, 32),
    "dtype": _one_of("float32", "mixed_bfloat16"),
    "learning_rate": _between(1e-8, 100),
    "momentum": _between(0, 0.999),
    "weight_decay": _between(0, 1),
    "label_smoothing": _between(0, 0.9),
    "ema_momentum": _between(0, 0.99999),
    "transforms_per_sample": _between(1, 64),
    "warmup_epochs": _between(0, 999_999),
    "policy_head": _one_of("contrast", "additive"),
    "policy_hidden_units": _between(1, 2**14),
    "policy_learning_rate": _between(1e-8, 100),
    "meta_gradient": _one_of("exact", "finite_difference", "last_block"),
    "meta_every": _between(1, _MOST),
    "policy_warmup_fraction": _between(0, 1),
    "weighting": _one_of("learned", "equal", "shuffled"),
    "jit_compile": _one_of("auto", "True", "False"),
    "sampler_epsilon": _between(0, 1),
    "sampler_identity_odds": _between(0.01, 100),
    "sampler_history_epochs": _between(1, 1000),
    "checkpoint_minutes": _between(0, 10**6),
    "checkpoints_kept": _between(1, 10**6),
}
_ANY: Rule = (lambda _: True), ""
# They change nothing of what a run comes to, so they may change when it goes on.
FREE_TO_CHANGE = ("checkpoint_minutes", "checkpoints_kept", "data_service")


def config_for(dataset: str) -> ConfigDict:
    """The settings in configs/<dataset>.py, or those of configs/default.py for any other TFDS dataset."""
    module = f"metaaug_tf.configs.{dataset}"
    known = dataset.isidentifier() and dataset[0] != "_" and importlib.util.find_spec(module) is not None
    config = importlib.import_module(module if known else "metaaug_tf.configs.default").get_config()
    config.dataset = dataset
    return config


def check_config(config: Mapping[str, Any]) -> None:
    """Checks every setting before anything starts.

    Raises:
        UserError: names all the settings that are missing, unknown, of another type or out of their range, with what
            is allowed.
    """
    defaults = config_for("default").to_dict()
    missing = sorted(set(defaults) - set(config))
    faults = [f"--config.{key} is missing: a run of an earlier version needs that version" for key in missing]
    faults += [f"--config.{key} is not a setting" for key in sorted(set(config) - set(defaults))]
    for key in sorted(set(config) & set(defaults)):
        value, kind = config[key], type(defaults[key])
        allowed, text = RULES.get(key, _ANY)
        if not (type(value) is kind or (type(value), kind) == (int, float)):
            faults.append(f"--config.{key}={value} is not allowed: it is of type {kind.__name__}")
        elif not allowed(value):
            faults.append(f"--config.{key}={value} is not allowed: it is {text}")
    if faults:
        raise UserError("\n".join(faults))
    if config["warmup_epochs"] >= config["epochs"] > 1:
        raise UserError(f"--config.warmup_epochs={config['warmup_epochs']} leaves nothing of {config['epochs']} epochs")


def describe_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """One line for every setting that differs between two configs and matters; empty when they are the same."""
    keys = sorted((set(old) | set(new)) - set(FREE_TO_CHANGE))
    absent = "(absent)"
    return "\n".join(
        f"  {key}: {old.get(key, absent)} -> {new.get(key, absent)}"
        for key in keys
        if old.get(key, absent) != new.get(key, absent)
    )


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of the settings that matter to what a run comes to, hexadecimal."""
    settings = {key: value for key, value in config.items() if key not in FREE_TO_CHANGE}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
