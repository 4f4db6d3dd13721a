"""The learned policy as a readable folder: the sampler's table, the network's weights and its settings.

The files are data, and whoever wrote them is not trusted: JSON that is checked, and weights that are read only after
their checksum and sizes have been compared.
"""

import operator
import warnings
from pathlib import Path

import h5py
import numpy as np

from metaaug_tf.augmentation.transform import EMBEDDING_SIZE
from metaaug_tf.errors import UserError
from metaaug_tf.files import read_json, sha256_of, write_json, written_aside
from metaaug_tf.ops.table import OPERATIONS
from metaaug_tf.policy.network import PolicyNetwork

FORMAT_VERSION = 1
SAMPLER_FILE, SETTINGS_FILE, WEIGHTS_FILE = "sampler.json", "policy.json", "network.weights.h5"
# Six decimals resolve a thousandth of the uniform probability 1/196.
_DECIMALS = 6
# What the whole numbers of policy.json may be.
_RANGES = {"fill": (0, 255), "hidden_units": (1, 2**16), "feature_width": (1, 2**24)}


def write_sampler(folder: Path, probabilities: np.ndarray, epoch: int) -> None:
    """Writes sampler.json: operations, probabilities and how the table moved.

    Args:
        folder: the policy folder; made where it is not there.
        probabilities: float [14, 14], rows the first operation.
        epoch: whose images the table draws; the history's rows of this and later epochs are written anew.
    """
    path = folder / SAMPLER_FILE
    try:
        history = read_sampler(folder).get("history", []) if path.is_file() else []
    except UserError as error:  # no reason to end a training
        warnings.warn(f"{error}; it is written anew, without how the table moved before", stacklevel=2)
        history = []
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
    value = _read_json(path)
    try:
        operations, table = tuple(value["operations"]), np.asarray(value["probabilities"], float)
        history = [(operator.index(epoch), np.asarray(past, float)) for epoch, past in value.get("history", [])]
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(f"{path} is not a sampler's table: {error!r}") from error
    if operations != tuple(OPERATIONS):
        unknown = [name for name in operations if name not in OPERATIONS]
        raise UserError(
            f"{path} was learned with {len(operations)} operations"
            + (f", of which this package has no {', '.join(map(str, unknown))}" if unknown else "")
            + f"; this package reads tables of the operations {', '.join(OPERATIONS)}, in this order"
        )
    if not all(map(_is_distribution, [table, *(past for _, past in history)])):
        raise UserError(f"{path}: probabilities must be a table of 14 x 14 numbers, not negative and not all zero")
    return value


def _is_distribution(table: np.ndarray) -> bool:
    """Whether it is [14, 14] of numbers that are not negative and have a sum above zero."""
    return table.shape == (len(OPERATIONS),) * 2 and bool((table >= 0).all()) and 0 < table.sum() < np.inf


def write_policy(folder: Path, fill: int, network: PolicyNetwork | None) -> None:
    """Writes policy.json, and the weights of the policy network where there is one.

    Args:
        folder: the policy folder; made where it is not there.
        fill: 0 to 255, the grey level of what comes from outside an image.
        network: built, or None where the run had none.
    """
    settings: dict = {"version": FORMAT_VERSION, "fill": fill}
    if network is not None:
        with written_aside(folder / WEIGHTS_FILE) as aside:
            network.save_weights(aside)
        settings |= {
            "hidden_units": network.hidden_units,
            "head": network.head,
            "identity_odds": network.identity_odds,
            "feature_width": network.sample_branch.kernel.shape[0],
            "weights_sha256": sha256_of(folder / WEIGHTS_FILE),
        }
    write_json(folder / SETTINGS_FILE, settings)


def read_settings(folder: Path) -> dict:
    """The content of policy.json, checked; empty where the folder has none, as during training.

    Raises:
        UserError: it is damaged or of another version.
    """
    path = Path(folder) / SETTINGS_FILE
    settings = _read_json(path) if path.is_file() else {}
    for key, (low, high) in _RANGES.items():
        value = settings.get(key, low)
        if type(value) is not int or not low <= value <= high:
            raise UserError(f"{path}: {key} must be a whole number from {low} to {high}, not {value!r}")
    return settings


def read_network(folder: Path) -> PolicyNetwork:
    """The policy network of a policy folder, with its weights.

    Raises:
        UserError: the folder holds no network, or one that is damaged or of another version.
    """
    settings, path = read_settings(folder), Path(folder) / WEIGHTS_FILE
    if "feature_width" not in settings or not path.is_file():
        raise UserError(
            f"{folder} holds no policy network ({SETTINGS_FILE} and {WEIGHTS_FILE}); only a finished run with "
            "--policy=metaaugment leaves one"
        )
    try:
        _check_weights(path, settings)
        network = PolicyNetwork(settings["hidden_units"], settings["head"], settings.get("identity_odds", 1.0))
        network(np.zeros((1, settings["feature_width"]), np.float32), np.zeros((1, EMBEDDING_SIZE), np.float32))
        network.load_weights(path)
    except (UserError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} can't be read as the network that {SETTINGS_FILE} describes: {error}") from error
    return network


def _check_weights(path: Path, settings: dict) -> None:
    """ValueError unless the file is as it was written and all sizes are what the file has room for.

    Folders written before there were checksums have none. Links, external and virtual data are refused by Keras.
    """
    if settings.get("weights_sha256", (found := sha256_of(path))) != found:
        raise ValueError(f"its checksum is not the one in {SETTINGS_FILE}, so it is damaged or of another policy")
    there = path.stat().st_size
    claimed = [4 * settings["hidden_units"] * settings["feature_width"]]
    with h5py.File(path) as file:
        file.visititems(lambda _, item: claimed.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
    if max(claimed) > there:
        raise ValueError(f"arrays of {max(claimed)} bytes are not in a file of {there} bytes")


def _read_json(path: Path) -> dict:
    """A JSON object of this format's version; UserError for anything else."""
    try:
        value = read_json(path)
        version = value["version"]
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} is not a policy folder: it has no {path.name}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} can't be read as a policy's JSON: {error!r}") from error
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has version {version}; this package reads version {FORMAT_VERSION}. Use the package that wrote it"
        )
    return value
