"""The learned policy as a readable folder: the sampler's table, the network's weights and its settings.

The files are data, and whoever wrote them is not trusted: JSON that is checked, and weights that are read only after
their checksum and sizes have been compared. The table is read by `table.py`, which needs no TensorFlow.
"""

import warnings
from pathlib import Path

import h5py
import numpy as np

from metaaug_tf.errors import UserError
from metaaug_tf.files import sha256_of, write_json, written_aside
from metaaug_tf.ops.table import OPERATIONS
from metaaug_tf.policy.network import PolicyNetwork, build_on
from metaaug_tf.policy.table import FORMAT_VERSION, SamplerTable, read_table, read_versioned
from metaaug_tf.run_folder import PolicyFolder

# Six decimals resolve a thousandth of the uniform probability 1/196.
_DECIMALS = 6
# Of the history; without a bound, each epoch would read and write a longer file than the one before it.
MOST_TABLES = 256
# The ranges of the whole numbers in policy.json.
_RANGES = {"fill": (0, 255), "hidden_units": (1, 2**16), "feature_width": (1, 2**24)}


def write_sampler(folder: Path, probabilities: np.ndarray, epoch: int) -> None:
    """Writes sampler.json: operations, probabilities and how the table moved.

    The history has the tables of all epochs up to MOST_TABLES, then of every second one, every fourth and so on, and
    always the newest.

    Args:
        folder: the policy folder; made where it is not there.
        probabilities: float [14, 14], rows the first operation.
        epoch: whose images are drawn from the table; the history's rows of this and later epochs are replaced.
    """
    path = PolicyFolder(folder).sampler
    history: list[list] = []
    if path.is_file():
        try:
            kept = range(0, epoch, _stride(epoch))
            history = [[past, table.tolist()] for past, table in read_sampler(folder).history if past in kept]
        except UserError as error:  # no reason to end a training
            warnings.warn(f"{error}; it is written again, without its history", stacklevel=2)
    table = np.round(probabilities.astype(float), _DECIMALS).tolist()
    value = {
        "version": FORMAT_VERSION,
        "operations": list(OPERATIONS),
        "probabilities": table,
        "history": [*history, [epoch, table]],
    }
    write_json(path, value, indent=None)


def _stride(epoch: int) -> int:
    """The smallest power of two for which every such epoch up to `epoch` makes at most MOST_TABLES."""
    stride = 1
    while epoch // stride >= MOST_TABLES:
        stride *= 2
    return stride


def read_sampler(folder: str | Path) -> SamplerTable:
    """Reads sampler.json of a policy folder, to draw from it.

    Raises:
        UserError: it is absent, damaged, of another version or of operations other than this package's.
    """
    sampler = read_table(folder)
    if sampler.operations != tuple(OPERATIONS):
        unknown = [name for name in sampler.operations if name not in OPERATIONS]
        raise UserError(
            f"{PolicyFolder(folder).sampler} was learned with {len(sampler.operations)} operations"
            + (f", of which this package has no {', '.join(unknown)}" if unknown else "")
            + f"; this package reads tables of the operations {', '.join(OPERATIONS)}, in this order"
        )
    return sampler


def write_policy(folder: Path, fill: int, network: PolicyNetwork | None) -> None:
    """Writes policy.json, and the weights of the policy network where there is one.

    Args:
        folder: the policy folder; made where it is not there.
        fill: 0 to 255, the grey level of pixels that come from outside an image.
        network: built, or None where the run had none.
    """
    files = PolicyFolder(folder)
    settings: dict = {"version": FORMAT_VERSION, "fill": fill}
    if network is not None:
        with written_aside(files.weights) as aside:
            network.save_weights(aside)
        settings |= {
            "hidden_units": network.hidden_units,
            "head": network.head,
            "identity_odds": network.identity_odds,
            "evidence": list(network.evidence),
            "feature_width": network.sample_branch.kernel.shape[0],
            "weights_sha256": sha256_of(files.weights),
        }
    write_json(files.settings, settings)


def read_settings(folder: str | Path) -> dict:
    """Reads policy.json, checked; empty where the folder has none, as during training.

    Raises:
        UserError: it is damaged or of another version.
    """
    path = PolicyFolder(folder).settings
    settings = read_versioned(path) if path.is_file() else {}
    for key, (low, high) in _RANGES.items():
        value = settings.get(key, low)
        if type(value) is not int or not low <= value <= high:
            raise UserError(f"{path}: {key} must be a whole number from {low} to {high}, got {value!r}")
    return settings


def read_network(folder: str | Path) -> PolicyNetwork:
    """Reads the policy network of a policy folder, with its weights.

    Raises:
        UserError: the folder holds no network, or one that is damaged or of another version.
    """
    files, settings = PolicyFolder(folder), read_settings(folder)
    if "feature_width" not in settings or not files.weights.is_file():
        raise UserError(
            f"{folder} holds no policy network ({files.settings.name} and {files.weights.name}); only a finished run "
            "with --policy=metaaugment leaves one"
        )
    try:
        _check_weights(files, settings)
        own = settings["hidden_units"], settings["head"], settings.get("identity_odds", 1.0)
        network = PolicyNetwork(*own, settings.get("evidence", ()))
        build_on(network, settings["feature_width"])
        network.load_weights(files.weights)
    except (UserError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(
            f"{files.weights} can't be read as the network that {files.settings.name} describes: {error}"
        ) from error
    return network


def _check_weights(files: PolicyFolder, settings: dict) -> None:
    """Rejects weights that are not as they were written, or whose sizes are more than the file has room for.

    Folders written before there were checksums have none. Keras rejects links, external and virtual data.

    Raises:
        ValueError: they are.
    """
    path = files.weights
    if settings.get("weights_sha256", (found := sha256_of(path))) != found:
        raise ValueError(f"its checksum is not the one in {files.settings.name}, so it is damaged or of another policy")
    there = path.stat().st_size
    claimed = [4 * settings["hidden_units"] * settings["feature_width"]]
    with h5py.File(path) as file:
        file.visititems(lambda _, item: claimed.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
    if max(claimed) > there:
        raise ValueError(f"arrays of {max(claimed)} bytes are not in a file of {there} bytes")
