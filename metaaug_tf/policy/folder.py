"""The learned policy as a readable folder: the sampler's table, the network's weights and its settings."""

import json
from pathlib import Path

import numpy as np

from metaaug_tf.errors import UserError
from metaaug_tf.files import write_json
from metaaug_tf.ops.table import OPERATIONS
from metaaug_tf.policy.network import PolicyNetwork

FORMAT_VERSION = 1
SAMPLER_FILE, SETTINGS_FILE, WEIGHTS_FILE = "sampler.json", "policy.json", "network.weights.h5"
# Six decimals resolve a thousandth of the uniform probability 1/196.
_DECIMALS = 6


def write_sampler(folder: Path, probabilities: np.ndarray, epoch: int) -> None:
    """Writes sampler.json: operations, probabilities and how the table moved.

    Args:
        folder: the policy folder; made where it is not there.
        probabilities: float [14, 14], rows the first operation.
        epoch: whose images the table draws; the history's rows of this and later epochs are written anew.
    """
    path = folder / SAMPLER_FILE
    history = read_sampler(folder)["history"] if path.is_file() else []
    table = np.round(probabilities.astype(float), _DECIMALS).tolist()
    history = [row for row in history if row[0] < epoch] + [[epoch, table]]
    value = {
        "version": FORMAT_VERSION,
        "operations": list(OPERATIONS),
        "probabilities": table,
        "history": history,
    }
    write_json(path, value, indent=None)


def read_sampler(folder: Path) -> dict:
    """The content of sampler.json, checked.

    Raises:
        UserError: it is absent, damaged, of another version or of other operations.
    """
    path = Path(folder) / SAMPLER_FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        version, operations = value["version"], tuple(value["operations"])
        table = np.asarray(value["probabilities"], float)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a sampler's table: {error}") from error
    if version != FORMAT_VERSION or operations != tuple(OPERATIONS):
        raise UserError(
            f"{path} has version {version} and {len(operations)} operations; this package reads version "
            f"{FORMAT_VERSION} with the operations {', '.join(OPERATIONS)}"
        )
    if table.shape != (len(OPERATIONS),) * 2 or not np.isfinite(table).all() or (table < 0).any():
        raise UserError(f"{path}: probabilities must be a table of 14 x 14 numbers that are not negative")
    return value


def write_network(folder: Path, network: PolicyNetwork, feature_width: int) -> None:
    """Writes the policy network's settings (policy.json) and weights.

    Args:
        folder: the policy folder.
        network: built.
        feature_width: F, the length of the feature vectors it was trained on.
    """
    settings = {"hidden_units": network.hidden_units, "head": network.head, "feature_width": feature_width}
    network.save_weights(folder / WEIGHTS_FILE)
    write_json(folder / SETTINGS_FILE, {"version": FORMAT_VERSION, **settings})
