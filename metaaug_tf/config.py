"""From a dataset's name and the command line's overrides to one checked config, flat or cut into records."""

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, fields
from typing import Any, Self

from ml_collections import ConfigDict

from metaaug_tf.errors import UserError
from metaaug_tf.settings import (
    RECORDS,
    Augmentation,
    DataSettings,
    NetworkSettings,
    OptimizerSettings,
    PolicySettings,
    RunSettings,
)

DISTRIBUTIONS = ("none", "mirrored", "multi_worker")


@dataclass(frozen=True)
class Config:
    """The settings of a run, each part as the record that its functions take."""

    data: DataSettings
    augmentation: Augmentation
    network: NetworkSettings
    optimizer: OptimizerSettings
    policy: PolicySettings
    run: RunSettings

    @classmethod
    def of(cls, flat: Mapping[str, Any]) -> Self:
        """The records of a flat config; settings that it lacks have their defaults."""
        return cls(**{part.name: part.type.of(flat) for part in fields(cls)})  # type: ignore[union-attr]

    @property
    def flat(self) -> dict[str, Any]:
        """All settings by name, as config.json holds them."""
        return {name: value for part in vars(self).values() for name, value in asdict(part).items()}


def settings_table() -> dict[str, Field]:
    """The field of every setting by name, in the order of --help; its metadata holds meaning and rule."""
    return {row.name: row for record in RECORDS for row in fields(record)}


def default_config() -> ConfigDict:
    """The defaults of all settings, flat."""
    return ConfigDict({name: row.default for name, row in settings_table().items()})


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
    table = settings_table()
    faults = [
        f"--config.{name} is missing: use the version that the run was made with"
        for name in table
        if name not in config
    ]
    faults += [f"--config.{name} is not a setting" for name in sorted(set(config) - set(table))]
    faults += values_out_of_range(config)
    if faults:
        raise UserError("\n".join(faults))
    if config["warmup_epochs"] >= config["epochs"] > 1:
        raise UserError(
            f"--config.warmup_epochs must be below --config.epochs={config['epochs']}, got {config['warmup_epochs']}"
        )


def values_out_of_range(config: Mapping[str, Any]) -> list[str]:
    """A line for each known setting in `config` whose value is of another type or not allowed."""
    faults = []
    for name, row in settings_table().items():
        if name not in config:
            continue
        value, kind, rule = config[name], type(row.default), row.metadata["rule"]
        if not (type(value) is kind or (type(value), kind) == (int, float)):
            faults.append(f"--config.{name} must be of type {kind.__name__}, got {value!r}")
        elif rule is not None and not rule.allows(value):
            faults.append(f"--config.{name} must be {rule.words()}, got {value}")
    return faults


def with_settings_of_before(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config from a run's folder, with the settings that did not exist yet at the value that changes nothing."""
    before = {name: row.metadata["before"] for name, row in settings_table().items()}
    return {**{name: value for name, value in before.items() if value is not None}, **config}


def as_begun(config: Config, begun: Mapping[str, Any]) -> Config:
    """The config of a command that resumes a run which was begun before some settings existed.

    Where the command leaves such a setting at its default, it keeps the value that changes nothing.

    Args:
        config: of the command.
        begun: the run's own, as its file holds it.
    """
    flat, rows = config.flat, settings_table()
    for name, row in rows.items():
        before = row.metadata["before"]
        if before is not None and name not in begun and flat[name] == row.default:
            flat[name] = before
    return Config.of(flat)


def describe_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """One line for every setting that differs between two configs and matters; empty when they are the same."""
    old, new = _that_matter(old), _that_matter(new)
    absent = "(absent)"
    return "\n".join(
        f"  {key}: {old.get(key, absent)} -> {new.get(key, absent)}"
        for key in sorted(old | new)
        if old.get(key, absent) != new.get(key, absent)
    )


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256, hexadecimal, of the settings that matter to the result."""
    return hashlib.sha256(json.dumps(_that_matter(config), sort_keys=True).encode()).hexdigest()


def _that_matter(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without settings that may change when a run resumes, and without newer ones that act as if they did not exist."""
    rows = {name: row.metadata for name, row in settings_table().items()}
    return {
        name: value
        for name, value in config.items()
        if name not in rows
        or not (rows[name]["may_change"] or (rows[name]["before"] is not None and value == rows[name]["before"]))
    }
